"""Sizes, repetitions and goals of the benchmark."""

from __future__ import annotations

import fnmatch
import operator
import tomllib
from pathlib import Path
from typing import Any

from coursework.config import Count, Index, config

Sizes = tuple[Count, ...]


@config
class BenchConfig:
    """Sizes and repetitions."""

    rounds: Count = 15  # timed rounds; each times both variants once
    warmup: Index = 3  # rounds before, not timed
    threads: Count = 1  # threads of every row that does not say otherwise
    device: str = "auto"  # where the networks run: ``auto``, ``cpu`` or ``cuda``
    nodes: Count = 2708  # of the generated graph; nodes, edges and features as Cora has
    edges: Count = 5278  # undirected
    features: Count = 1433
    dense_nodes: Count = 2708  # for the dense attention, which takes 7.6 GB at 2,708 nodes
    lstm_sizes: Sizes = (64, 128, 256, 512)  # hidden sizes H, on H / 2 inputs
    lstm_batch: Count = 64  # sequences of its batch
    lstm_steps: Count = 32  # time steps of each
    decode_batch: Count = 16  # sentences translated side by side
    decode_words: Count = 60  # words that every hypothesis is made to have
    attention_tokens: Count = 8192  # length at which linear and softmax attention are compared
    tweets: Count = 400_000  # tweets that are cleaned by ours and by pandas
    all_tweets: bool = True  # whether all tweets are cleaned, for the seconds that it takes
    canvases: Count = 2000  # canvases that are composed
    looped_canvases: Count = 500  # canvases that a loop over pixels composes
    buckets: Count = 8  # batches of a sentiment training with and without padding
    bucket_size: Count = 512  # most tweets of one
    growth_edges: Sizes = (10_000, 100_000, 1_000_000, 10_000_000)  # curve of the graph layers
    growth_bytes: Count = 2**31  # largest tensor of the dense curves; they end before it
    growth_tokens: Sizes = (256, 512, 1024, 2048, 4096, 8192)  # curve of attention
    growth_pixels: Sizes = (32, 64, 128, 256, 512)  # sides of the images: curve of the U-Net
    growth_words: Sizes = (1000, 4000, 16_000, 64_000)  # curve of the output layer
    growth_rows: Sizes = (1000, 10_000, 100_000, 1_000_000)  # tweets: curve of cleaning
    # experiments whose training is taken apart
    trainings: tuple[str, ...] = ("sentiment", "translation", "wikipedia", "cora", "segmentation")


_TOML = tomllib.loads(Path(__file__).with_name("bench.toml").read_text(encoding="utf-8"))
PRESETS = {"full": BenchConfig(), "quick": BenchConfig(**_TOML["quick"])}


def judged(key: str, value: float) -> dict[str, Any]:
    """What a row of the full benchmark should reach, and whether it does; None where there is no goal."""
    for kind, sign, met in (("at_least", "≥", operator.ge), ("at_most", "≤", operator.le)):
        for pattern, bound in _TOML[kind].items():
            if fnmatch.fnmatchcase(key, pattern):
                return {"goal": f"{sign} {bound:g}", "met": met(value, bound)}
    return {"goal": None, "met": None}
