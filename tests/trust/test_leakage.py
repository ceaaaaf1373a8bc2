"""Nothing of the test part reaches a training; and each test is shown to see a leak that is planted.

The idea is the same for every experiment. What the test part holds is *poisoned* (other labels, other
targets), the experiment runs again, and everything that it learned or chose must come out the same bit
for bit: weights, curves, validation metrics, vocabulary. Then a leak is planted, and the same comparison
must find it: test rows in the training part, a choice made on the test part, statistics fitted on all
rows. Vocabularies and shared texts are compared directly.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import small
import torch

from coursework.data import m2nist, planetoid, sentiment140
from coursework.data import wikipedia as pages
from coursework.data.m2nist import Canvases, Pool
from coursework.data.splits import Split
from coursework.experiments import (
    base,
    cora,
    corpora,
    large_graph,
    ngrams,
    segmentation,
    sentiment,
    translation,
    wikipedia,
    wikipedia_splits,
    wikipedia_study,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("standin")
Patch = pytest.MonkeyPatch


def digest(model: torch.nn.Module) -> str:
    content = b"".join(t.contiguous().numpy().tobytes() for t in model.state_dict().values())
    return hashlib.sha256(content).hexdigest()


def curves(run: base.Run) -> Any:
    return {
        name: [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]
        for name, rows in run.curves.items()
    }


def chosen(run: base.Run) -> dict[str, float]:
    """Metrics that may not depend on the test part."""
    return {k: v for k, v in run.metrics.items() if "test" not in k and "seconds" not in k}


def on_test(run: base.Run) -> dict[str, float]:
    return {k: v for k, v in run.metrics.items() if "test" in k}


def config(experiment: str, *more: str) -> Any:
    return base.override(small.config_of(experiment), more)


@dataclasses.dataclass(frozen=True)
class Case:
    """An experiment, how its test part is poisoned, and the leaks that are planted."""

    learned: Callable[[], tuple[Any, Any]]  # what it learned and chose, and its test metrics
    poison: Callable[[Patch], None]  # puts other contents into the test part
    plants: dict[str, Callable[[Patch], None]]  # name of a leak -> plants it


def through(module: Any, name: str, change: Callable[[Any], Any]) -> Callable[[Patch], None]:
    """A patch: what a function returns is changed."""

    def patched(patch: Patch) -> None:
        real = getattr(module, name)
        patch.setattr(module, name, lambda *given, **more: change(real(*given, **more)))

    return patched


def with_some(training: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The training rows with the first of them replaced by test rows: a set that is as large."""
    n = min(len(training), len(test)) // 2
    return np.concatenate([test[:n], training[n:]])


def leaky(split: Split, kind: str) -> Split:
    if kind == "test rows in training":
        return dataclasses.replace(split, train=with_some(split.train, split.test))
    return dataclasses.replace(split, validation=split.test)


KINDS = ("test rows in training", "chosen on test")


def of_kinds(
    module: Any, name: str, change: Callable[[Any, str], Any] = leaky
) -> dict[str, Callable[[Patch], None]]:
    """Both leaks, planted into the split that a function returns."""
    return {kind: through(module, name, lambda x, kind=kind: change(x, kind)) for kind in KINDS}


def metrics_of(name: str) -> Callable[[], tuple[Any, Any]]:
    """An experiment that has no test part of its own to report on."""

    def learned() -> tuple[Any, Any]:
        run = base.get(name).train(base.Job(name, config(name), log=None))
        return (curves(run), run.metrics), {}

    return learned


def weights_of(name: str, *more: str, where: str = "models") -> Callable[[], tuple[Any, Any]]:
    """Weights, curves and validation metrics of an experiment, and its test metrics."""

    def learned() -> tuple[Any, Any]:
        run = base.get(name).train(base.Job(name, config(name, *more), log=None))
        models = [
            m for v in run.artefacts[where].values() for m in (v if isinstance(v, list) else [v])
        ]
        kept = {k: v for k, v in chosen(run).items() if k != "source"}
        return ([digest(m) for m in models], curves(run), kept), on_test(run)

    return learned


# ----------------------------------------------------------------------------------------- sentiment


def _sentiment() -> tuple[Any, Any]:
    run = sentiment.train(base.Job("sentiment", config("sentiment", "tweets=300"), log=None))
    classifier = run.artefacts["classifier"]
    accuracy = run.metrics["validation_accuracy"]
    words = classifier.vocabulary.to_list()
    return (digest(classifier.model), curves(run), words, accuracy), on_test(run)


def _other_tweets(wanted: Any) -> Callable[[Patch], None]:
    """Test tweets with the other label and other words."""
    real = sentiment.split_rows

    def changed(data: Any) -> Any:
        labels, tokens = np.array(data.labels), np.array(data.tokens)
        test = real(len(labels), wanted).test
        labels[test] = 1 - labels[test]
        for row in test:
            place = slice(data.offsets[row], data.offsets[row + 1])
            tokens[place] = (tokens[place] + 7) % len(data.types)
        return dataclasses.replace(data, labels=labels, tokens=tokens)

    return through(sentiment140, "load_tokens", changed)


def _plant_vocabulary(patch: Patch) -> None:
    real = sentiment.count_vocabulary
    patch.setattr(
        sentiment,
        "count_vocabulary",
        lambda tweets, rows, *rest: real(tweets, np.arange(len(tweets.labels)), *rest),
    )


def _poison_tweets(patch: Patch) -> None:
    data = sentiment140.load()
    labels = np.array(data.labels)
    test = sentiment140.split(len(labels)).test
    grouped = sentiment140.split_grouped(ngrams.text_keys(sentiment140.load_tokens())).test
    both = np.intersect1d(test, grouped)  # the experiment has two splits
    labels[both] = 1 - labels[both]
    for load in ("load", "load_tokens"):
        through(sentiment140, load, lambda x: dataclasses.replace(x, labels=labels))(patch)


# --------------------------------------------------------------------------------------- translation


def _turned(corpus: Any) -> Any:
    """Test pairs the other way round; after the split, which is made of the sentences."""
    french, english = list(corpus.french), list(corpus.english)
    for row in corpus.split.test:
        french[row], english[row] = english[row], french[row]
    return dataclasses.replace(corpus, french=french, english=english)


def _translation(name: str) -> Case:
    plants = of_kinds(
        translation,
        "prepare",
        lambda corpus, kind: dataclasses.replace(corpus, split=leaky(corpus.split, kind)),
    )
    return Case(
        weights_of(name, where="networks"), through(translation, "prepare", _turned), plants
    )


# -------------------------------------------------------------------------------------------- graphs


def _wikipedia() -> tuple[Any, Any]:
    run = wikipedia.train(base.Job("wikipedia", config("wikipedia"), log=None))
    predicted = {
        name: hashlib.sha256(model.predicted.tobytes()).hexdigest()
        for fitted in run.artefacts["fitted"].values()
        for name, model in fitted.items()
    }
    return (predicted, curves(run), chosen(run)), on_test(run)


def _other_pages(seed: int) -> Callable[[Patch], None]:
    def changed(graph: Any) -> Any:
        test = torch.from_numpy(pages.split_random(graph.num_nodes, seed).test)
        y, traffic = graph.y.clone(), graph.traffic.clone()
        y[test], traffic[test] = 30.0, 1e13
        return dataclasses.replace(graph, y=y, traffic=traffic)

    return through(pages, "load", changed)


def _plant_scale(patch: Patch) -> None:
    """The target is standardised with the mean of all pages."""
    real = wikipedia_splits.scale
    patch.setattr(
        wikipedia_splits, "scale", lambda values, rows: real(values, np.arange(len(values)))
    )


PAGES = of_kinds(wikipedia_splits, "split_of") | {"scaled on all pages": _plant_scale}


def _large_graph() -> tuple[Any, Any]:
    run = large_graph.train(base.Job("large_graph", config("large_graph"), log=None))
    return curves(run), {k: v for k, v in on_test(run).items() if "test_mae" in k}


def _other_targets(data: Any) -> Any:
    data.y[data.part == 2] += 100
    return data


def _leaky_parts(data: Any, kind: str) -> Any:
    test = torch.nonzero(data.part == 2)[:, 0]
    data.part[test[: len(test) // 2]] = KINDS.index(kind)
    return data


CORA_OPTIONS = ("protocol=planetoid", "models=gcn,gat,grand", "grand.plan.epochs=4", *(
    f"{network}.plan.{choice}"
    for network in ("gcn", "gat") for choice in ("monitor=validation_loss", "mode=min")
))  # fmt: skip


def _other_topics(graph: Any) -> Any:
    y = graph.y.clone()
    y[graph.test_mask] = (y[graph.test_mask] + 1) % graph.num_classes
    return dataclasses.replace(graph, y=y)


def _leaky_masks(graph: Any, kind: str) -> Any:
    mask = "train_mask" if kind == KINDS[0] else "val_mask"
    return dataclasses.replace(graph, **{mask: graph.test_mask})


# -------------------------------------------------------------------------------------- segmentation


def _other_digits(found: Any) -> Any:
    labels = ((found.test.labels + 1) % 10).astype(np.uint8)
    return dataclasses.replace(found, test=Pool(found.test.images, labels))


def _both_pools(found: Any) -> Any:
    parts = (found.train, found.test)
    images, labels = (np.concatenate([getattr(p, k) for p in parts]) for k in ("images", "labels"))
    return dataclasses.replace(found, train=Pool(images, labels))


def _validated_on_test(data: Any) -> Any:
    return dataclasses.replace(data, validation=Canvases(data.test.images, data.test.masks))


SPLITS_OF_TWEETS = of_kinds(sentiment, "split_rows")
CITATIONS = through(planetoid, "load", _other_topics)

CASES = {
    "sentiment": Case(
        _sentiment, _other_tweets(config("sentiment", "tweets=300")),
        SPLITS_OF_TWEETS | {"vocabulary of all tweets": _plant_vocabulary},
    ),
    "sentiment_study": Case(
        metrics_of("sentiment_study"), _other_tweets(config("sentiment_study").base), SPLITS_OF_TWEETS,
    ),
    "tweets": Case(metrics_of("tweets"), _poison_tweets, of_kinds(sentiment140, "split")),
    **{name: _translation(name) for name in ("translation", "translation_ensemble", "translation_all")},
    "wikipedia": Case(_wikipedia, _other_pages(0), PAGES),
    "wikipedia_study": Case(
        metrics_of("wikipedia_study"), _other_pages(wikipedia_study.FIRST_SEED), PAGES,
    ),
    "large_graph": Case(
        _large_graph, through(large_graph, "generate", _other_targets),
        of_kinds(large_graph, "generate", _leaky_parts),
    ),
    "cora": Case(weights_of("cora", *CORA_OPTIONS), CITATIONS, of_kinds(cora, "split_nodes")),
    "cora_study": Case(
        metrics_of("cora_study"), CITATIONS, of_kinds(planetoid, "load", _leaky_masks),
    ),
    "segmentation": Case(
        weights_of("segmentation", "skips=true"), through(m2nist, "digit_pools", _other_digits),
        {KINDS[0]: through(m2nist, "digit_pools", _both_pools),
         KINDS[1]: through(segmentation, "prepare", _validated_on_test)},
    ),
}  # fmt: skip
# The others are as sharp, and seconds long each.
EVERY_DAY = (
    "sentiment", "translation", "translation_all", "cora", "segmentation", "large_graph",
)  # fmt: skip


def at_night(name: str, *more: str) -> Any:
    marks = () if name in EVERY_DAY else pytest.mark.nightly
    return pytest.param(name, *more, marks=marks, id="-".join((name, *more)))


def learned(case: Case, *patches: Callable[[Patch], None]) -> tuple[Any, Any]:
    with pytest.MonkeyPatch.context() as patch:
        for each in patches:
            each(patch)
        return case.learned()


def test_every_experiment_has_a_case_with_planted_leaks() -> None:
    assert set(CASES) == set(base.EXPERIMENTS) - small.WITHOUT_STANDIN
    assert all(set(KINDS) <= set(case.plants) for case in CASES.values())


@pytest.mark.parametrize("name", [at_night(name) for name in CASES])
def test_the_test_part_reaches_nothing(name: str) -> None:
    case = CASES[name]
    honest, poisoned = learned(case), learned(case, case.poison)
    assert honest[0] == poisoned[0]
    assert not honest[1] or honest[1] != poisoned[1], "the poison did not reach the test part"


@pytest.mark.parametrize(
    ("name", "leak"), [at_night(name, leak) for name, case in CASES.items() for leak in case.plants]
)
def test_a_planted_leak_is_found(name: str, leak: str) -> None:
    case = CASES[name]
    plant = case.plants[leak]
    with_leak, poisoned = learned(case, plant), learned(case, case.poison, plant)
    assert with_leak[0] != poisoned[0], "the leak was not noticed"


# ------------------------------------------------------------------- vocabularies, twins, copied texts


def learned_on_training_only(corpus: corpora.Corpus, size: int) -> bool:
    """Whether the vocabularies are those of the training sentences."""
    languages = corpora.learn(*corpus.part("train"), size if corpus.several else None)
    return languages == (corpus.source, corpus.target)


@pytest.mark.parametrize("experiment", ["translation", "translation_all"])
def test_a_vocabulary_of_all_pairs_is_found(experiment: str) -> None:
    wanted = config(experiment)
    corpus = translation.prepare(wanted)
    assert learned_on_training_only(corpus, wanted.vocabulary)
    planted = corpora.learn(
        corpus.french, corpus.english, wanted.vocabulary if corpus.several else None
    )
    changed = dataclasses.replace(corpus, source=planted[0], target=planted[1])
    assert not learned_on_training_only(changed, wanted.vocabulary)


def test_twins_on_two_sides_are_found() -> None:
    """Copies by equal links, nearly equal links, and equal traffic: one more kind from split to split."""
    inputs, found = wikipedia_splits.Inputs(pages.load()), {}
    for kind in wikipedia_splits.KINDS:
        task = wikipedia.task_of(inputs, kind, wikipedia.FULL, 0)
        for name, share in wikipedia_splits.copies(task).items():
            found[kind, name.rpartition("_")[2]] = share
    assert min(found["random", name] for name in ("twin", "traffic")) > 0.1
    assert found["grouped", "twin"] == 0 < found["grouped", "traffic"]
    assert found["strict", "twin"] == found["strict", "traffic"] == 0
