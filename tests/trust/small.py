"""The experiments, small enough to be killed and run again many times: ``quick`` with smaller numbers.

Everything runs on stand-in data. What is left out is size: every experiment loads, splits, trains all
kinds of networks that it has, and tests.
"""

from __future__ import annotations

from typing import Any

from coursework.experiments import base

SMALL: dict[str, tuple[str, ...]] = {
    "sentiment": (
        "tweets=600", "max_vocabulary=300", "embeddings=random", "embedding_dim=8", "hidden_size=8",
        "word_dropout=0.05", "baselines=false", "batch_size=64", "plan.epochs=2",
    ),
    "sentiment_study": (
        "base.tweets=600", "base.train_tweets=200", "base.embeddings=random", "base.embedding_dim=50",
        "base.hidden_size=6", "variants=base,no label smoothing",
    ),
    "tweets": ("train=600", "validation=300", "leakage=900", "bits=10"),
    "translation": (
        "pairs=60", "batch_size=16", "rnn.width=8", "rnn.hidden=8", "rnn.plan.epochs=2",
        "transformer.width=8", "transformer.d_ff=8", "transformer.plan.epochs=2",
    ),
    "translation_all": (
        "pairs=60", "vocabulary=120", "batch_size=300", "transformer.width=8", "transformer.d_ff=8",
        "transformer.plan.epochs=2",
    ),
    "wikipedia": (
        "splits=random", "networks=gcn,gnn,sign,attention", "hidden=8", "steps_per_epoch=2", "trees=2",
        "candidates=5", "members=1", "attention_plan.epochs=2", "attention_batch=256", "plan.epochs=2",
        "sign_members=1", "sign_plan.epochs=2",
    ),
    "wikipedia_study": (
        "variants=graph network,mean alone,residual attention", "base.hidden=8", "base.trees=2",
        "base.steps_per_epoch=2", "base.candidates=5", "base.attention_plan.epochs=2",
        "base.attention_batch=256", "base.plan.epochs=2",
    ),
    "large_graph": ("nodes=1200", "links=6000", "communities=6", "plan.epochs=2", "hidden=8"),
    "cora": ("models=gcn,gat", "epochs_long=none", "gcn.plan.epochs=5", "gat.plan.epochs=5"),
    "cora_study": ("depths=2", "removed=0.5", "hidden=8", "plan.epochs=6"),
    "segmentation": (
        "down=4,8", "up=8,4", "bottleneck=8", "canvases=24", "batch_size=8", "plan.epochs=2",
        "validation_canvases=100", "test_canvases=100",
    ),
}  # fmt: skip
"""Experiment -> what its ``quick`` preset is changed to, as for ``--set``."""

SMALL["translation_ensemble"] = SMALL["translation"]
WITHOUT_CHECKPOINTS = {"tweets"}
"""Experiments that train nothing that is worth a checkpoint: interrupted, they begin anew."""


WITHOUT_STANDIN = {"minilm"}  # their own tests run them on a model that they make


def config_of(experiment: str) -> Any:
    """The small config of an experiment."""
    return base.override(base.preset_of(experiment, "quick"), SMALL[experiment])
