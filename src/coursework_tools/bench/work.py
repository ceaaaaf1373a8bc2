"""Whole pieces of work against what would otherwise be written: an epoch, a text, a canvas."""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursework.data import m2nist, sentiment140, text
from coursework.experiments import sentiment
from coursework.models.attention import attention as softmax_attention
from coursework.models.attention import linear_attention
from coursework.models.gat import GAT
from coursework.models.gcn import GCN, normalise_adjacency, sparse_kernels
from coursework.models.sparse import sparse_csr
from coursework.training.devices import choose_precision
from coursework_tools.bench.harness import BenchConfig, Pair, Step
from coursework_tools.bench.layers import graph


def cora(config: BenchConfig) -> Iterator[Pair]:
    """An epoch of the size of Cora, against networks of PyG's layers; ours reads the words as a sparse
    matrix, as in the experiment, PyG's layers the dense one, as in its examples."""
    from torch_geometric.nn import GATConv, GCNConv, Sequential

    device = config.device
    dense, edges = graph(config, config.nodes)
    links = edges[:, edges[0] != edges[1]]
    generator = torch.Generator().manual_seed(1)
    words = torch.rand(dense.shape, generator=generator) < 18 / config.features  # as in Cora
    dense = words.to(device) / words.sum(1, keepdim=True).clamp(min=1).to(device)
    paper, word = dense.nonzero(as_tuple=True)
    sparse = sparse_csr(paper, word, dense[paper, word], (config.nodes, config.features))
    y = torch.randint(7, (config.nodes,), generator=generator).to(device)
    known = min(140, config.nodes // 2)  # training nodes, as in Cora
    train, rest = torch.arange(config.nodes).split([known, config.nodes - known])

    def pyg(first: nn.Module, act: nn.Module, second: nn.Module, drop: float) -> nn.Module:
        inner = [(nn.Dropout(drop), "x -> x"), (first, "x, links -> x"), act, nn.Dropout(drop)]
        return Sequential("x, links", [*inner, (second, "x, links -> x")])

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

    torch.manual_seed(0)
    features = config.features
    plain = {"dropout": 0.6, "bias": False, "add_self_loops": False}
    gcn = sparse_kernels(GCN(features, 16, 7, 0.5))
    gat = GAT(features, 64, 7, 0.6, 0.2, 8)
    convolutions = GCNConv(features, 16, cached=True), nn.ReLU(), GCNConv(16, 7, cached=True)
    attentions = GATConv(features, 8, 8, **plain), nn.ELU(), GATConv(64, 7, 1, **plain)
    how = f"an epoch on {config.nodes:,} nodes (training and evaluation)"
    against = "against a network of PyG's layers"
    adjacency = normalise_adjacency(links, config.nodes).to(device)
    steps = epoch(gcn, sparse, adjacency), epoch(pyg(*convolutions, 0.5), dense, links)
    yield Pair("cora.gcn_epoch_vs_pyg", f"GCN, {how}, {against}", *steps)
    steps = epoch(gat, sparse, edges), epoch(pyg(*attentions, 0.6), dense, edges)
    yield Pair("cora.gat_epoch_vs_pyg", f"GAT, {how}, {against}", *steps)


def attention(config: BenchConfig) -> Iterator[Pair]:
    """Linear against softmax attention: one sequence, 4 heads of 64, forward and backward."""
    n = config.attention_tokens
    what = f"linear attention, {n:,} tokens, 4 heads of 64, forward and backward, against softmax"
    flops, moved = 3 * 2 * 2.0 * 4 * n * 64 * 64, 3 * 4 * 4.0 * 4 * n * 64
    steps = attention_steps(n, config.device)
    yield Pair("attention.linear_vs_softmax", what, *steps, 5, flops, moved)


def attention_steps(n: int, device: str) -> tuple[Step, Step]:
    """Forward and backward of linear and of softmax attention on ``n`` tokens."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(1, 4, n, 64, generator=generator).to(device).requires_grad_() for _ in range(3)
    )
    return (
        lambda: linear_attention(q, k, v).sum().backward(),
        lambda: softmax_attention(q, k, v)[0].sum().backward(),
    )


def raw_tweets(count: int) -> tuple[Any, str]:
    """Raw tweets and what they are; the real ones where they are available."""
    data = sentiment140.load()
    texts = data.texts.take(np.arange(count) % len(data.texts))  # a stand-in has fewer
    return texts, "stand-in tweets" if data.source.is_standin else "tweets"


def tokens(config: BenchConfig) -> Iterator[Pair]:
    """Cleaning and tokenising against ``Series.apply`` of the same functions, tweet by tweet."""
    import pandas as pd

    texts, what = raw_tweets(config.tweets)
    series = pd.Series(texts.to_pylist())
    what = f"cleaning and tokenising {len(texts):,} {what} on all cores, against pandas apply"
    yield Pair("tokens.vs_apply", what, lambda: text.tokenise_many(texts),
               lambda: series.apply(lambda tweet: text.tokenise(text.clean_tweet(tweet))),
               most_rounds=3, bytes=float(texts.nbytes),
               memory="none")  # fmt: skip  # most of it is Arrow's and in other processes


def canvases(config: BenchConfig) -> Iterator[Pair]:
    """Composing canvases against loops over their digits, and over the pixels of these."""
    for key, count, how in (("pixel", config.looped_canvases, " and their pixels"),
                            ("digit", config.canvases, " (NumPy slices)")):  # fmt: skip
        what = f"{count:,} canvases, against a loop over digits{how}"
        ours, loop = partial(compose, count), partial(compose_in_a_loop, *digits(), count)
        moved = count * 3 * 2 * 64 * 84.0  # pixels and masks, read and written
        yield Pair(f"canvases.vs_{key}_loop", what, ours, partial(loop, key == "pixel"),
                   most_rounds=5, bytes=moved, memory="python")  # fmt: skip


@functools.cache
def digits(count: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Random images of the shape of digits, a fifth of them ink as in MNIST, with labels."""
    rng = np.random.default_rng(1)
    images = rng.integers(1, 256, (count, 28, 28)) * (rng.random((count, 28, 28)) < 0.2)
    return images.astype(np.uint8), rng.integers(0, 10, count)


def compose(count: int) -> m2nist.Canvases:
    return m2nist.compose(*digits(), count, np.random.default_rng(0))


def compose_in_a_loop(
    images: np.ndarray, labels: np.ndarray, n: int, by_pixel: bool, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """What :func:`coursework.data.m2nist.compose` gives by default, digit by digit."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((n, 64, 84), np.uint8)
    masks = np.full((n, 64, 84), m2nist.BACKGROUND, np.uint8)
    counts = rng.integers(2, 4, n)
    for i in range(3):
        drawn = rng.integers(0, len(images), n)
        left, top = rng.integers(28 * i, 28 * i + 10, n), rng.integers(0, 64 - 28 + 1, n)
        for k in range(n):
            if counts[k] > i and left[k] + 28 <= 84:
                place = (k, slice(top[k], top[k] + 28), slice(left[k], left[k] + 28))
                window, mask = pixels[place], masks[place]
                digit, label = images[drawn[k]], int(labels[drawn[k]])
                if by_pixel:
                    for pixel in itertools.product(range(28), range(28)):
                        if digit[pixel] > window[pixel]:
                            window[pixel], mask[pixel] = digit[pixel], label
                else:
                    ink = digit > window  # where it is brighter
                    window[ink], mask[ink] = digit[ink], label
    return pixels, masks


def buckets(config: BenchConfig) -> Iterator[Pair]:
    """An epoch of the sentiment network in batches of equal length, in bfloat16 where the hardware has
    it, against what would be written first: padding to the longest that is allowed, float32."""
    sizes = replace(sentiment.PRESETS["full"], max_vocabulary=20_000, batch_size=config.bucket_size)
    if config.bucket_size < 256:
        sizes = replace(sizes, embedding_dim=50, hidden_size=64)
    size, most, device = sizes.batch_size, sizes.max_length, config.device
    lengths, what = _lengths(most)
    rng = np.random.default_rng(0)
    ids = rng.integers(2, sizes.max_vocabulary, int(lengths.sum())).astype(np.int32)
    data = sentiment.Encoded.of(ids, lengths, rng.integers(0, 2, len(lengths)))
    # a few batches of a long epoch: in a short one there would be few tweets of each length
    chosen = sentiment.equal_length_batches(data.lengths, size, rng)[: config.buckets]
    tweets = np.concatenate(chosen)
    native = device == "cuda" or not torch.cuda.is_available()
    half = native and choose_precision() == "bf16-mixed"

    def padded(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        tweets = [data.batch(row)[0][0] for row in rows[:, None]]
        tokens = torch.stack([F.pad(tweet, (0, most - len(tweet))) for tweet in tweets])
        return tokens, torch.from_numpy(data.labels[rows])

    torch.manual_seed(0)
    whole = torch.full((size,), most)

    def epoch(bucketed: bool) -> Step:
        model = sentiment.build(sizes, sizes.max_vocabulary).to(device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

        def step() -> None:
            mixed = np.random.default_rng(1).permutation(tweets)
            parts = chosen if bucketed else np.array_split(mixed, -(-len(mixed) // size))
            for rows in parts:
                batch = data.batch(rows) if bucketed else padded(rows)
                tokens, labels = (tensor.to(device) for tensor in batch)
                optimizer.zero_grad(set_to_none=True)
                with torch.autocast(device, torch.bfloat16, enabled=bucketed and half):
                    logits = model(tokens, None if bucketed else whole[: len(rows)])
                F.binary_cross_entropy_with_logits(logits.float(), labels).backward()
                optimizer.step()

        return step

    what = f"{len(tweets):,} {what} of {lengths[tweets].mean():.1f} tokens, equal lengths"
    what = f"sentiment training, {what}{' in bfloat16' if half else ''}"
    what = f"{what}, against padding to {most}, float32"
    yield Pair("buckets.vs_padded", what, epoch(True), epoch(False), most_rounds=3)


def _lengths(most: int) -> tuple[np.ndarray, str]:
    """Numbers of tokens of random tweets."""
    tweets = sentiment140.load_tokens()
    lengths = np.random.default_rng(0).choice(np.diff(tweets.offsets), 200_000)
    what = "stand-in tweets" if tweets.source.is_standin else "tweets"
    return np.clip(lengths, 1, most).astype(np.int64), what
