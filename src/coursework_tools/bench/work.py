"""Whole pieces of work against what would otherwise be written: an epoch, a text, a canvas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework_tools.bench.config import BenchConfig
from coursework_tools.bench.harness import Pair, Step, device_of
from coursework_tools.bench.layers import graph


def cora(config: BenchConfig) -> list[Pair]:
    """An epoch of the size of Cora, training and evaluation, against networks of PyG's layers.

    Both have the same widths, dropout and optimiser. Ours reads the words as a sparse matrix, as in the
    experiment; PyG's layers read the dense one, as in its examples.
    """
    from torch_geometric.nn import GATConv, GCNConv

    from coursework.models.gat import GAT
    from coursework.models.gcn import GCN, normalise_adjacency
    from coursework.models.sparse import sparse_csr

    device = device_of(config.device)
    dense, edge_index = graph(config, config.nodes)
    generator = torch.Generator().manual_seed(1)
    words = torch.rand(dense.shape, generator=generator) < 18 / config.features  # as in Cora
    dense = words.to(device) / words.sum(1, keepdim=True).clamp(min=1).to(device)
    paper, word = dense.nonzero(as_tuple=True)
    sparse = sparse_csr(paper, word, dense[paper, word], (config.nodes, config.features))
    links = edge_index[:, edge_index[0] != edge_index[1]]
    classes = 7
    y = torch.randint(classes, (config.nodes,), generator=generator).to(device)
    known = min(140, config.nodes // 2)  # training nodes, as in Cora
    train, rest = torch.arange(config.nodes).split([known, config.nodes - known])

    class PyG(nn.Module):
        def __init__(self, first: nn.Module, second: nn.Module, act: Any, drop: float) -> None:
            super().__init__()
            self.first, self.second, self.act, self.drop = first, second, act, drop

        def forward(self, x: Tensor, links: Tensor) -> Tensor:
            h = self.act(self.first(F.dropout(x, self.drop, self.training), links))
            logits: Tensor = self.second(F.dropout(h, self.drop, self.training), links)
            return logits

    width, heads, drop = 64, 8, 0.6
    torch.manual_seed(0)
    networks = {
        "gcn": (
            (GCN(config.features, 16, classes, 0.5), normalise_adjacency(links, config.nodes)),
            (
                PyG(
                    GCNConv(config.features, 16, cached=True),
                    GCNConv(16, classes, cached=True),
                    torch.relu,
                    0.5,
                ),
                links,
            ),
        ),
        "gat": (
            (GAT(config.features, width, classes, drop, 0.2, heads), edge_index),
            (
                PyG(
                    GATConv(config.features, width // heads, heads, dropout=drop, bias=False,
                            add_self_loops=False),
                    GATConv(width, classes, 1, dropout=drop, bias=False, add_self_loops=False),
                    F.elu,
                    drop,
                ),
                edge_index,
            ),
        ),
    }  # fmt: skip

    def epoch(model: nn.Module, x: Tensor, links: Tensor) -> Step:
        model = model.to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)

        def step() -> None:
            model.train()
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(x, links)[train], y[train]).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                float((model(x, links)[rest].argmax(1) == y[rest]).double().mean())

        return step

    return [
        Pair(
            f"cora.{name}_epoch_vs_pyg",
            f"{name.upper()}, an epoch on {config.nodes:,} nodes (training and evaluation), against "
            "a network of PyG's layers",
            epoch(ours[0], sparse, ours[1].to(device)),
            epoch(peer[0], dense, peer[1]),
        )
        for name, (ours, peer) in networks.items()
    ]


def attention(config: BenchConfig) -> list[Pair]:
    """Linear against softmax attention: one sequence, 4 heads of 64, forward and backward."""
    n = config.attention_tokens
    linear, softmax = attention_steps(n, device_of(config.device))
    return [
        Pair(
            "attention.linear_vs_softmax",
            f"linear attention, {n:,} tokens, 4 heads of 64, forward and backward, against softmax",
            linear,
            softmax,
            most_rounds=5,
            flops=3 * 2 * 2.0 * 4 * n * 64 * 64,
            bytes=3 * 4 * 4.0 * 4 * n * 64,
        )
    ]


def attention_steps(n: int, device: torch.device) -> tuple[Step, Step]:
    """Forward and backward of linear and of softmax attention on ``n`` tokens."""
    from coursework.models.attention import attention as softmax_attention
    from coursework.models.attention import linear_attention

    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(1, 4, n, 64, generator=generator).to(device).requires_grad_() for _ in range(3)
    )

    def step(function: Callable[[Tensor, Tensor, Tensor], Any]) -> Step:
        def call() -> None:
            result = function(q, k, v)
            first: Tensor = result[0] if isinstance(result, tuple) else result
            first.sum().backward()

        return call

    return step(linear_attention), step(softmax_attention)


def raw_tweets(count: int) -> tuple[list[str], str]:
    """Raw tweets and what they are; the real ones where they are at hand."""
    from coursework.data import sentiment140

    data = sentiment140.load()
    texts = list(data.texts[: min(count, len(data.texts))])
    while len(texts) < count:  # a stand-in has fewer
        texts += texts[: count - len(texts)]
    return texts, "stand-in tweets" if data.source.is_standin else "tweets"


def tokens(config: BenchConfig) -> list[Pair]:
    """Cleaning and tokenising against ``Series.apply`` of the same functions, tweet by tweet."""
    import pandas as pd

    from coursework.data import text
    from coursework.experiments.tweets import as_arrow

    texts, what = raw_tweets(config.tweets)
    series, array = pd.Series(texts), as_arrow(texts)
    return [
        Pair(
            "tokens.vs_apply",
            f"cleaning and tokenising {len(texts):,} {what} on all cores, against pandas apply",
            lambda: text.tokenise_many(array),
            lambda: series.apply(lambda tweet: text.tokenise(text.clean_tweet(tweet))),
            most_rounds=3,
            bytes=float(array.nbytes),
            memory="none",  # most of it is Arrow's and in other processes
        )
    ]


def canvases(config: BenchConfig) -> list[Pair]:
    """Composing canvases against loops over their digits, and over the pixels of these."""
    from coursework.data import m2nist

    images, labels = digits()
    n, few = config.canvases, config.looped_canvases

    def ours(count: int) -> Step:
        return lambda: m2nist.compose(images, labels, count, np.random.default_rng(0))

    def loop(count: int, paste: Paste) -> Step:
        return lambda: compose_in_a_loop(images, labels, count, np.random.default_rng(0), paste)

    read_and_written = 3 * 2 * 64 * 84.0
    return [
        Pair(
            "canvases.vs_pixel_loop",
            f"{few} canvases, against a loop over digits and their pixels",
            ours(few),
            loop(few, paste_pixels),
            most_rounds=5,
            bytes=few * read_and_written,
            memory="python",
        ),
        Pair(
            "canvases.vs_digit_loop",
            f"{n:,} canvases, against a loop over digits (NumPy slices)",
            ours(n),
            loop(n, paste_slice),
            most_rounds=5,
            bytes=n * read_and_written,
            memory="python",
        ),
    ]


def digits(count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Random images of the shape of digits, a fifth of them ink as in MNIST, with labels."""
    rng = np.random.default_rng(1)
    images = rng.integers(1, 256, (count, 28, 28)) * (rng.random((count, 28, 28)) < 0.2)
    return images.astype(np.uint8), rng.integers(0, 10, count)


Paste = Callable[[np.ndarray, np.ndarray, np.ndarray, int], None]


def paste_slice(window: np.ndarray, mask: np.ndarray, digit: np.ndarray, label: int) -> None:
    """Paste one digit: its ink where it is brighter."""
    ink = digit > window
    window[ink] = digit[ink]
    mask[ink] = label


def paste_pixels(window: np.ndarray, mask: np.ndarray, digit: np.ndarray, label: int) -> None:
    """The same, pixel by pixel."""
    for row in range(28):
        for column in range(28):
            if digit[row, column] > window[row, column]:
                window[row, column] = digit[row, column]
                mask[row, column] = label


def compose_in_a_loop(
    images: np.ndarray, labels: np.ndarray, n: int, rng: np.random.Generator, paste: Paste
) -> tuple[np.ndarray, np.ndarray]:
    """What :func:`coursework.data.m2nist.compose` gives by default, digit by digit."""
    from coursework.data.m2nist import BACKGROUND

    pixels = np.zeros((n, 64, 84), np.uint8)
    masks = np.full((n, 64, 84), BACKGROUND, np.uint8)
    counts = rng.integers(2, 4, n)
    for i in range(3):
        drawn = rng.integers(0, len(images), n)
        left, top = rng.integers(28 * i, 28 * i + 10, n), rng.integers(0, 64 - 28 + 1, n)
        for k in range(n):
            if counts[k] > i and left[k] + 28 <= 84:
                place = (k, slice(top[k], top[k] + 28), slice(left[k], left[k] + 28))
                paste(pixels[place], masks[place], images[drawn[k]], int(labels[drawn[k]]))
    return pixels, masks


def buckets(config: BenchConfig) -> list[Pair]:
    """An epoch of the sentiment network in batches of equal length, against padding to the longest.

    Ours computes in bfloat16 where the hardware does; the padded variant in float32, as it would be
    written first: every tweet as long as the longest that is allowed.
    """
    from coursework.experiments import sentiment
    from coursework.training.engine import choose_precision

    sizes = replace(sentiment.PRESETS["full"], max_vocabulary=20_000, batch_size=config.bucket_size)
    if config.bucket_size < 256:
        sizes = replace(sizes, embedding_dim=50, hidden_size=64)
    lengths, what = _lengths(sizes.max_length)
    rng = np.random.default_rng(0)
    ids = rng.integers(2, sizes.max_vocabulary, int(lengths.sum())).astype(np.int32)
    data = sentiment.Encoded.of(ids, lengths, rng.integers(0, 2, len(lengths)))
    # a few batches of a long epoch: in a short one there would be few tweets of each length
    chosen = sentiment.equal_length_batches(data.lengths, sizes.batch_size, rng)[: config.buckets]
    tweets = np.concatenate(chosen)
    device = device_of(config.device)
    precision = choose_precision() if device.type == "cuda" or not torch.cuda.is_available() else ""
    half = precision == "bf16-mixed"

    def padded(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        tokens = torch.zeros(len(rows), sizes.max_length, dtype=torch.int64)
        for i, row in enumerate(rows):
            start, length = data.starts[row], data.lengths[row]
            tokens[i, :length] = torch.from_numpy(data.tokens[start : start + length].astype(int))
        return tokens, torch.from_numpy(data.labels[rows])

    torch.manual_seed(0)
    whole = torch.full((sizes.batch_size,), sizes.max_length)

    def epoch(bucketed: bool) -> Step:
        model = sentiment.build(sizes, sizes.max_vocabulary).to(device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

        def step() -> None:
            mixed = np.random.default_rng(1).permutation(tweets)
            parts = (
                chosen if bucketed else np.array_split(mixed, -(-len(mixed) // sizes.batch_size))
            )
            for rows in parts:
                batch = data.batch(rows) if bucketed else padded(rows)
                tokens, labels = (tensor.to(device) for tensor in batch)
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(device.type, torch.bfloat16, enabled=bucketed and half):
                    logits = model(tokens, None if bucketed else whole[: len(rows)])
                F.binary_cross_entropy_with_logits(logits.float(), labels).backward()
                optimizer.step()

        return step

    return [
        Pair(
            "buckets.vs_padded",
            f"sentiment training, {len(tweets):,} {what} of {lengths[tweets].mean():.1f} tokens, equal "
            f"lengths{' in bfloat16' if half else ''}, against padding to {sizes.max_length}, float32",
            epoch(True),
            epoch(False),
            most_rounds=3,
        )
    ]


def _lengths(most: int, count: int = 200_000) -> tuple[np.ndarray, str]:
    """Numbers of tokens of random tweets."""
    from coursework.data import sentiment140

    tweets = sentiment140.load_tokens()
    lengths = np.random.default_rng(0).choice(np.diff(tweets.offsets), count)
    what = "stand-in tweets" if tweets.source.is_standin else "tweets"
    return np.clip(lengths, 1, most).astype(np.int64), what
