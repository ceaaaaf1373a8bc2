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

from coursework.data import eng_fra, m2nist, planetoid, sentiment140
from coursework.data import wikipedia as pages
from coursework.data.m2nist import Canvases, Pool
from coursework.data.splits import Split
from coursework.experiments import (
    base,
    cora,
    cora_study,
    corpora,
    large_graph,
    ngrams,
    segmentation,
    sentiment,
    sentiment_study,
    translation,
    tweets,
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
    """An experiment, how its test part is poisoned, and the leaks that are planted.

    Attributes:
        learned: Runs it; what it learned and chose, and its test metrics (empty if it has none).
        poison: Puts other contents into the test part.
        plants: Name of a leak -> plants it.
    """

    learned: Callable[[], tuple[Any, Any]]
    poison: Callable[[Patch], None]
    plants: dict[str, Callable[[Patch], None]]


def with_some(training: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The training rows with the first of them replaced by test rows: a set that is as large."""
    n = min(len(training), len(test)) // 2
    return np.concatenate([test[:n], training[n:]])


def leaky(split: Split, kind: str) -> Split:
    if kind == "test rows in training":
        return dataclasses.replace(split, train=with_some(split.train, split.test))
    return dataclasses.replace(split, validation=split.test)


KINDS = ("test rows in training", "chosen on test")

# ----------------------------------------------------------------------------------------- sentiment


def _sentiment() -> tuple[Any, Any]:
    run = sentiment.train(base.Job("sentiment", config("sentiment", "tweets=300"), log=None))
    classifier = run.artefacts["classifier"]
    words = classifier.vocabulary.to_list()
    return (
        digest(classifier.model),
        curves(run),
        words,
        run.metrics["validation_accuracy"],
    ), on_test(run)


def _other_tweets(rows_of: Callable[[int], np.ndarray]) -> Callable[[Patch], None]:
    """Test tweets with the other label and other words."""

    def poison(patch: Patch) -> None:
        data = sentiment140.load_tokens()
        labels, tokens = np.array(data.labels), np.array(data.tokens)
        test = rows_of(len(labels))
        labels[test] = 1 - labels[test]
        for row in test:
            place = slice(data.offsets[row], data.offsets[row + 1])
            tokens[place] = (tokens[place] + 7) % len(data.types)
        changed = dataclasses.replace(data, labels=labels, tokens=tokens)
        patch.setattr(sentiment140, "load_tokens", lambda: changed)

    return poison


def _plant_split(kind: str, module: Any = sentiment) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        real = module.split_rows
        patch.setattr(module, "split_rows", lambda n, c: leaky(real(n, c), kind))

    return plant


def _plant_vocabulary(patch: Patch) -> None:
    real = sentiment.count_vocabulary
    patch.setattr(
        sentiment,
        "count_vocabulary",
        lambda tweets, rows, *rest: real(tweets, np.arange(len(tweets.labels)), *rest),
    )


SENTIMENT = Case(
    _sentiment,
    _other_tweets(
        lambda n, real=sentiment.split_rows: real(n, config("sentiment", "tweets=300")).test
    ),  # type: ignore[misc]
    {kind: _plant_split(kind) for kind in KINDS} | {"vocabulary of all tweets": _plant_vocabulary},
)


def _sentiment_study() -> tuple[Any, Any]:
    run = sentiment_study.train(base.Job("sentiment_study", config("sentiment_study"), log=None))
    return (curves(run), run.metrics), {}


SENTIMENT_STUDY = Case(
    _sentiment_study,
    _other_tweets(
        lambda n, real=sentiment.split_rows: real(n, config("sentiment_study").base).test
    ),  # type: ignore[misc]
    {kind: _plant_split(kind) for kind in KINDS},
)


def _tweets() -> tuple[Any, Any]:
    return tweets.train(base.Job("tweets", config("tweets"), log=None)).metrics, {}


def _poison_tweets(patch: Patch) -> None:
    data = sentiment140.load()
    labels = np.array(data.labels)
    test = sentiment140.split(len(labels)).test
    grouped = sentiment140.split_grouped(ngrams.text_keys(sentiment140.load_tokens())).test
    both = np.intersect1d(test, grouped)  # the experiment has two splits
    labels[both] = 1 - labels[both]
    changed = dataclasses.replace(data, labels=labels)
    tokens = dataclasses.replace(sentiment140.load_tokens(), labels=labels)
    patch.setattr(sentiment140, "load", lambda: changed)
    patch.setattr(sentiment140, "load_tokens", lambda: tokens)


def _plant_tweets(kind: str) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        real = sentiment140.split
        patch.setattr(sentiment140, "split", lambda n, seed=0: leaky(real(n, seed), kind))

    return plant


TWEETS = Case(_tweets, _poison_tweets, {kind: _plant_tweets(kind) for kind in KINDS})

# --------------------------------------------------------------------------------------- translation


def _translation(experiment: str) -> Callable[[], tuple[Any, Any]]:
    def learned() -> tuple[Any, Any]:
        run = translation.train(base.Job(experiment, config(experiment), log=None))
        weights = [digest(m) for members in run.artefacts["networks"].values() for m in members]
        return (weights, curves(run), chosen(run)), on_test(run)

    return learned


def _poison_pairs(patch: Patch) -> None:
    """After the split, which reads all sentences: it is made of them."""
    real = translation.prepare

    def prepare(wanted: Any) -> Any:
        corpus = real(wanted)
        french, english = list(corpus.french), list(corpus.english)
        for row in corpus.split.test:
            french[row], english[row] = english[row], french[row]
        return dataclasses.replace(corpus, french=french, english=english)

    patch.setattr(translation, "prepare", prepare)


def _plant_pairs(kind: str) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        real = translation.prepare

        def prepare(wanted: Any) -> Any:
            corpus = real(wanted)
            return dataclasses.replace(corpus, split=leaky(corpus.split, kind))

        patch.setattr(translation, "prepare", prepare)

    return plant


PAIRS = {kind: _plant_pairs(kind) for kind in KINDS}
TRANSLATIONS = {
    name: Case(_translation(name), _poison_pairs, PAIRS)
    for name in ("translation", "translation_ensemble", "translation_all")
}

# -------------------------------------------------------------------------------------------- graphs


def _wikipedia() -> tuple[Any, Any]:
    run = wikipedia.train(base.Job("wikipedia", config("wikipedia"), log=None))
    predicted = {
        name: hashlib.sha256(model.predicted.tobytes()).hexdigest()
        for fitted in run.artefacts["fitted"].values()
        for name, model in fitted.items()
    }
    return (predicted, curves(run), chosen(run)), on_test(run)


def _poison_pages(seed: int) -> Callable[[Patch], None]:
    real = pages.load

    def poison(patch: Patch) -> None:
        graph = real("chameleon")
        test = torch.from_numpy(pages.split_random(graph.num_nodes, seed).test)
        y, traffic = graph.y.clone(), graph.traffic.clone()
        y[test], traffic[test] = 30.0, 1e13
        changed = dataclasses.replace(graph, y=y, traffic=traffic)
        patch.setattr(pages, "load", lambda *_: changed)

    return poison


def _plant_pages(kind: str) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        real = wikipedia_splits.split_of
        patch.setattr(wikipedia_splits, "split_of", lambda *given: leaky(real(*given), kind))

    return plant


def _plant_scale(patch: Patch) -> None:
    """The target is standardised with the mean of all pages."""
    real = wikipedia_splits.scale
    patch.setattr(
        wikipedia_splits, "scale", lambda values, rows: real(values, np.arange(len(values)))
    )


PAGES = {kind: _plant_pages(kind) for kind in KINDS} | {"scaled on all pages": _plant_scale}
WIKIPEDIA = Case(_wikipedia, _poison_pages(0), PAGES)


def _wikipedia_study() -> tuple[Any, Any]:
    return wikipedia_study.train(
        base.Job("wikipedia_study", config("wikipedia_study"), log=None)
    ).metrics, {}


WIKIPEDIA_STUDY = Case(_wikipedia_study, _poison_pages(wikipedia_study.FIRST_SEED), PAGES)


def _large_graph() -> tuple[Any, Any]:
    run = large_graph.train(base.Job("large_graph", config("large_graph"), log=None))
    return curves(run), {k: v for k, v in on_test(run).items() if "test_mae" in k}


def _poison_large(patch: Patch) -> None:
    real = large_graph.generate

    def generate(*given: Any) -> Any:
        data = real(*given)
        data.y[data.part == 2] += 100
        return data

    patch.setattr(large_graph, "generate", generate)


def _plant_large(kind: str) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        real = large_graph.generate

        def generate(*given: Any) -> Any:
            data = real(*given)
            test = torch.nonzero(data.part == 2)[:, 0]
            data.part[test[: len(test) // 2]] = 0 if kind == KINDS[0] else 1
            return data

        patch.setattr(large_graph, "generate", generate)

    return plant


LARGE_GRAPH = Case(_large_graph, _poison_large, {kind: _plant_large(kind) for kind in KINDS})

CORA_OPTIONS = (
    "protocol=planetoid",
    "gcn.plan.monitor=validation_loss",
    "gcn.plan.mode=min",
    "gat.plan.monitor=validation_loss",
    "gat.plan.mode=min",
)


def _cora() -> tuple[Any, Any]:
    run = cora.train(base.Job("cora", config("cora", *CORA_OPTIONS), log=None))
    return ([digest(m) for m in run.artefacts["models"].values()], curves(run)), on_test(run)


def _poison_citations(patch: Patch) -> None:
    graph = planetoid.load("Cora")
    y = graph.y.clone()
    y[graph.test_mask] = (y[graph.test_mask] + 1) % graph.num_classes
    changed = dataclasses.replace(graph, y=y)
    patch.setattr(planetoid, "load", lambda _: changed)


def _plant_nodes(kind: str) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        real = cora.split_nodes
        patch.setattr(cora, "split_nodes", lambda *given: leaky(real(*given), kind))

    return plant


CORA = Case(_cora, _poison_citations, {kind: _plant_nodes(kind) for kind in KINDS})


def _cora_study() -> tuple[Any, Any]:
    return cora_study.train(base.Job("cora_study", config("cora_study"), log=None)).metrics, {}


def _plant_masks(kind: str) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        real = planetoid.load

        def load(name: Any) -> Any:
            graph = real(name)
            mask = "train_mask" if kind == KINDS[0] else "val_mask"
            return dataclasses.replace(graph, **{mask: graph.test_mask})

        patch.setattr(planetoid, "load", load)

    return plant


CORA_STUDY = Case(_cora_study, _poison_citations, {kind: _plant_masks(kind) for kind in KINDS})

# -------------------------------------------------------------------------------------- segmentation


def _segmentation() -> tuple[Any, Any]:
    run = segmentation.train(
        base.Job("segmentation", config("segmentation", "skips=true"), log=None)
    )
    kept = {k: v for k, v in chosen(run).items() if k != "source"}
    return ([digest(m) for m in run.artefacts["models"].values()], curves(run), kept), on_test(run)


def _poison_digits(patch: Patch) -> None:
    real = m2nist.digit_pools

    def pools(*given: Any) -> Any:
        found = real(*given)
        labels = ((found.test.labels + 1) % 10).astype(np.uint8)
        return dataclasses.replace(found, test=Pool(found.test.images, labels))

    patch.setattr(m2nist, "digit_pools", pools)


def _plant_digits(patch: Patch) -> None:
    real = m2nist.digit_pools

    def pools(*given: Any) -> Any:
        found = real(*given)
        both = Pool(
            np.concatenate([found.train.images, found.test.images]),
            np.concatenate([found.train.labels, found.test.labels]),
        )
        return dataclasses.replace(found, train=both)

    patch.setattr(m2nist, "digit_pools", pools)


def _plant_canvases(patch: Patch) -> None:
    real = segmentation.prepare

    def prepare(wanted: Any) -> Any:
        data = real(wanted)
        return dataclasses.replace(data, validation=Canvases(data.test.images, data.test.masks))

    patch.setattr(segmentation, "prepare", prepare)


SEGMENTATION = Case(
    _segmentation,
    _poison_digits,
    {KINDS[0]: _plant_digits, KINDS[1]: _plant_canvases},
)

CASES = {
    "sentiment": SENTIMENT,
    "sentiment_study": SENTIMENT_STUDY,
    "tweets": TWEETS,
    **TRANSLATIONS,
    "wikipedia": WIKIPEDIA,
    "wikipedia_study": WIKIPEDIA_STUDY,
    "large_graph": LARGE_GRAPH,
    "cora": CORA,
    "cora_study": CORA_STUDY,
    "segmentation": SEGMENTATION,
}
# The others are as sharp, and seconds long each.
EVERY_DAY = ("sentiment", "translation_all", "cora", "segmentation")


def at_night(name: str, *more: str) -> Any:
    marks = () if name in EVERY_DAY else pytest.mark.nightly
    return pytest.param(name, *more, marks=marks, id="-".join((name, *more)))


def learned(case: Case, *patches: Callable[[Patch], None]) -> tuple[Any, Any]:
    with pytest.MonkeyPatch.context() as patch:
        for each in patches:
            each(patch)
        return case.learned()


def test_every_experiment_has_a_case_with_planted_leaks() -> None:
    assert set(CASES) == set(base.EXPERIMENTS)
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


def shares_a_sentence(pairs: Any, split: Split) -> bool:
    return corpora.shared_with_training(pairs, split)["either"] > 0


def test_shared_sentences_are_found() -> None:
    pairs = eng_fra.tutorial_pairs(eng_fra.load())
    assert not shares_a_sentence(pairs, eng_fra.split_by_component(pairs))
    assert shares_a_sentence(pairs, eng_fra.split_random(pairs))


def test_twins_on_two_sides_are_found() -> None:
    """Copies by equal links, nearly equal links, and equal traffic: one more kind from split to split."""
    inputs = wikipedia_splits.Inputs(pages.load())
    found = {}
    for kind in ("random", "grouped", "strict"):
        groups = inputs.groups(kind)  # type: ignore[arg-type]
        split = wikipedia_splits.split_of(inputs.graph.num_nodes, groups, 0)
        found[kind] = inputs.copies(np.concatenate([split.train, split.validation]), split.test)
    assert min(found["random"].values()) > 0.1
    assert found["grouped"]["twin"] == 0 < found["grouped"]["equal_traffic"]
    assert found["strict"] == {"twin": 0, "near_twin": 0, "equal_traffic": 0}


def test_copied_tweets_are_found() -> None:
    keys = ngrams.text_keys(sentiment140.load_tokens())
    keys = np.concatenate([keys, keys[:600]])  # the stand-in has no copies of its own
    grouped, random = sentiment140.split_grouped(keys), sentiment140.split(len(keys))
    assert not np.isin(keys[grouped.test], keys[grouped.train]).any()
    assert np.isin(keys[random.test], keys[random.train]).any()


def test_digits_on_two_sides_are_found() -> None:
    def shares(pools: m2nist.Pools) -> bool:
        parts = [{image.tobytes() for image in pool.images} for pool in (pools.train, pools.test)]
        return bool(parts[0] & parts[1])

    pools = m2nist.digit_pools()
    assert not shares(pools)
    assert shares(dataclasses.replace(pools, train=pools.test))
