"""Sizes, repetitions and goals of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass

from coursework_tools.bench.harness import Goal


@dataclass(frozen=True)
class BenchConfig:
    """Sizes and repetitions."""

    rounds: int = 15  # timed rounds; each times both variants once
    warmup: int = 3  # rounds before, not timed
    threads: int = 1  # threads of every row that does not say otherwise
    device: str = "auto"  # where the networks run: ``auto``, ``cpu`` or ``cuda``
    nodes: int = 2708  # nodes of the generated graph (Cora has 2,708)
    edges: int = 5278  # undirected edges of it (Cora has 5,278)
    features: int = 1433  # width of its features (Cora has 1,433)
    # nodes of the graph on which the dense N x N x 2F' attention is timed; its cost grows with
    # the square, 7.6 GB at 2,708 nodes
    dense_nodes: int = 2708
    # hidden sizes H at which the LSTM is timed, on H / 2 inputs
    lstm_sizes: tuple[int, ...] = (64, 128, 256, 512)
    lstm_batch: int = 64  # sequences of its batch
    lstm_steps: int = 32  # time steps of each
    decode_batch: int = 16  # sentences translated side by side
    decode_words: int = 60  # words that every hypothesis is made to have
    attention_tokens: int = 8192  # length at which linear and softmax attention are compared
    tweets: int = 400_000  # tweets that are cleaned by ours and by pandas
    all_tweets: bool = True  # whether all tweets are cleaned, for the seconds that it takes
    canvases: int = 2000  # canvases that are composed
    looped_canvases: int = 500  # canvases that a loop over pixels composes
    buckets: int = 8  # batches of a sentiment training with and without padding
    bucket_size: int = 512  # most tweets of one
    # numbers of edges of the growth curve of the graph layers
    growth_edges: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    growth_bytes: int = 2**31  # largest tensor of the dense curves; they end before it
    # lengths of the growth curve of attention
    growth_tokens: tuple[int, ...] = (256, 512, 1024, 2048, 4096, 8192)
    # sides of the images of the growth curve of the U-Net
    growth_pixels: tuple[int, ...] = (32, 64, 128, 256, 512)
    # vocabularies of the growth curve of the output layer
    growth_words: tuple[int, ...] = (1000, 4000, 16_000, 64_000)
    # numbers of tweets of the growth curve of cleaning
    growth_rows: tuple[int, ...] = (1000, 10_000, 100_000, 1_000_000)
    # experiments whose training is taken apart
    trainings: tuple[str, ...] = ("sentiment", "translation", "wikipedia", "cora", "segmentation")


PRESETS = {
    "full": BenchConfig(),
    "quick": BenchConfig(
        rounds=5,
        warmup=1,
        dense_nodes=700,
        lstm_sizes=(64, 128, 256),
        decode_batch=8,
        decode_words=30,
        attention_tokens=4096,
        tweets=20_000,
        all_tweets=False,
        canvases=500,
        looped_canvases=100,
        buckets=6,
        bucket_size=128,
        growth_edges=(10_000, 100_000, 1_000_000),
        growth_bytes=2**28,
        growth_tokens=(256, 512, 1024, 2048),
        growth_pixels=(32, 64, 128),
        growth_words=(1000, 4000, 16_000),
        growth_rows=(1000, 10_000, 100_000),
        trainings=(),
    ),
}

GOALS: dict[str, Goal] = {
    "lstm.h64_vs_builtin": Goal(0.75),
    "lstm.h128_vs_builtin": Goal(0.75),
    "lstm.vs_builtin": Goal(0.75),
    "lstm.h512_vs_builtin": Goal(0.75),
    "encoder.vs_builtin": Goal(1.0),
    "decode.beam5_vs_uncached": Goal(5.0),
    "gat.vs_pyg": Goal(1.0),
    "gat.vs_dense": Goal(500.0),
    "gcn.vs_pyg": Goal(1.0),
    "tokens.vs_apply": Goal(5.0),
    "tokens.all_tweets_seconds": Goal(15.0, at_most=True),
    "canvases.vs_pixel_loop": Goal(20.0),
    "canvases.per_second": Goal(5000.0),
    "buckets.vs_padded": Goal(4.0),
    "start.import_seconds": Goal(0.3, at_most=True),
    "start.help_seconds": Goal(0.5, at_most=True),
}
"""What the rows should reach. Loading (2 s) and the share of a training that is neither forward nor
backward (10 %) have one goal for all their rows, see :func:`goal_of`."""


def goal_of(key: str) -> Goal | None:
    """The goal of a metric, if it has one."""
    if key.startswith("load."):
        return Goal(2.0, at_most=True)
    if key.startswith("training.") and key.endswith("_outside_share"):
        return Goal(0.1, at_most=True)
    return GOALS.get(key)
