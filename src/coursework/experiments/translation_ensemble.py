"""Problem 2(e) on the tutorial's subset: how far do several networks and beam search go together?

The members are the networks of :mod:`.translation`, which differ in their seed alone; they translate as
one, by the mean of their probabilities of the next word. Both kinds of network get the same: as many
members, the same beam. The test pairs are translated once by each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coursework.errors import ConfigError
from coursework.experiments import translation
from coursework.experiments.base import Run, as_record
from coursework.models.beam_search import Ensemble
from coursework.training import engine


@dataclass(frozen=True)
class Config:
    """Every number.

    Attributes:
        preset: Preset of ``translation`` whose networks are the members.
        members: How many of each kind, seeds 0, 1, ...
        beam: Width of the beam.
        alpha: Exponent of the length penalty.
    """

    preset: str = "full-pretrained"
    members: int = 3
    beam: int = 5
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.preset not in translation.PRESETS:
            raise ConfigError(
                f"preset is {self.preset!r}; choose from {', '.join(translation.PRESETS)}."
            )
        if self.members < 1 or self.beam < 1:
            raise ConfigError(
                f"members and beam must be at least 1, but are {self.members} and {self.beam}."
            )
        if self.alpha < 0:
            raise ConfigError(f"alpha is {self.alpha}; it must not be negative.")


PRESETS: dict[str, Config] = {
    "full": Config(),
    "quick": Config(preset="quick", members=2, beam=2),
}


def train(
    config: Config,
    *,
    preset: str = "custom",
    seed: int = 0,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = print,
) -> Run:
    """Train the members (finished ones are taken from their folders), translate as one, test once.

    Args:
        config: The members and the search.
        preset: Name of the preset that the config started from.
        seed: Seed of the first member.
        resume: Go on from the folders of the members; they are those of ``coursework train translation``
            with the same preset, so what was trained there is not trained again.
        run_dir: Not needed: the folders are the members' own.
        log: Where lines go, None for silence.

    Returns:
        The run. Metrics are ``MODEL.test_bleu`` and so on of the ensemble by beam search,
        ``MODEL.one.beam.test_...`` and ``MODEL.one.greedy.test_...``, means over the members alone, and
        the same for the validation pairs.
    """
    started = time.perf_counter()
    members = translation.PRESETS[config.preset]
    corpus = translation.prepare(members)
    pretrained = members.embeddings == "pretrained"
    numbers = range(seed, seed + config.members)
    vectors = [translation.pretrained_vectors(corpus, n) if pretrained else None for n in numbers]
    networks: dict[translation.ModelName, list[translation.Network]] = {}
    seconds = 0.0
    # Once for each member, not for each of its networks: a folder that is not resumed is emptied.
    folders = [
        engine.fresh_run_dir(
            f"translation-{config.preset}-seed{number}",
            {"config": as_record(members), "seed": number},
            resume=resume,
        )
        for number in numbers
    ]
    for name in members.models:
        networks[name] = []
        for number, both, folder in zip(numbers, vectors, folders, strict=True):
            model, fit = translation.fit_network(
                members, name, corpus, both, number, resume, folder, log
            )
            networks[name].append(model)
            seconds += fit.seconds

    def judge(
        models: Sequence[translation.Network], part: Any, beam: int
    ) -> tuple[dict[str, float], list[str]]:
        pairs = corpus.part(part)
        found = translation.translate(
            models[0] if len(models) == 1 else Ensemble(models), corpus.french, corpus.english,
            [french for french, _ in pairs], beam=beam, alpha=config.alpha,
        )  # fmt: skip
        return translation.score(found, [english for _, english in pairs]), found

    metrics: dict[str, float] = {}
    translations: dict[str, list[str]] = {}
    intervals: dict[str, tuple[float, float, str]] = {}
    references = [english for _, english in corpus.part("test")]
    for part in ("validation", "test"):
        for name, models in networks.items():
            scores, translations[name] = judge(models, part, config.beam)
            metrics |= {f"{name}.{part}_{key}": value for key, value in scores.items()}
            for how, beam in (("greedy", 1), ("beam", config.beam)):
                alone = [judge([model], part, beam)[0] for model in models]
                metrics |= {
                    f"{name}.one.{how}.{part}_{key}": float(np.mean([one[key] for one in alone]))
                    for key in scores
                }
    for system, found in translations.items():  # of the test pairs, which came last
        spans = translation.intervals(found, references)
        intervals |= {f"{system}.test_{key}": span for key, span in spans.items()}
    notes: dict[str, Any] = {
        "pairs": dict(zip(("train", "validation", "test"), corpus.split.sizes, strict=True)),
        "signatures": translation.signatures(),
        "training_seconds": seconds,
        "intervals": intervals,
    }
    if len(networks) == 2:
        notes["paired_bootstrap_p"] = translation.paired_bootstrap(
            translations["rnn"], translations["transformer"], references
        )
    return Run(
        experiment="translation_ensemble",
        preset=preset,
        config=config,
        seed=seed,
        metrics=metrics,
        source=corpus.source,
        seconds=time.perf_counter() - started,
        notes=notes,
        artefacts={"corpus": corpus, "networks": networks, "translations": translations},
    )


def evaluate(checkpoint: Path) -> dict[str, float]:
    """Test scores of one member; see :func:`.translation.evaluate`."""
    return translation.evaluate(checkpoint)
