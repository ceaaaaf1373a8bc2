"""Nothing of the test part reaches a training; and each test is shown to see a leak that is planted.

What the test part holds is *poisoned* (other labels, other targets), the experiment runs again, and
everything that it learned or chose must come out the same bit for bit: weights, curves, validation
metrics, vocabulary. Then a leak is planted (test rows in the training part, a choice made on the test
part, statistics fitted on all rows), and the same comparison must find it.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import given
import numpy as np
import pytest
import torch

from coursework.data import m2nist, planetoid, sentiment140
from coursework.data import wikipedia as pages
from coursework.data.m2nist import Canvases, Pool
from coursework.data.splits import Split
from coursework.experiments import (
    base,
    cora,
    large_graph,
    ngrams,
    segmentation,
    sentiment,
    translation,
    wikipedia_splits,
    wikipedia_study,
)

pytestmark = pytest.mark.usefixtures("standin")
Patches = Callable[[pytest.MonkeyPatch], None]
Learned = tuple[Any, dict[str, float]]  # what an experiment learned and chose, and its test metrics


def digest(values: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def weights(*models: torch.nn.Module) -> list[str]:
    return [digest(tensor) for model in models for tensor in model.state_dict().values()]


def training(
    name: str, *more: str, kept: Callable[[base.Run], object] = lambda run: None
) -> Callable[[], Learned]:
    def learned() -> Learned:
        run = base.get(name).train(base.Job(name, given.config_of(name, *more), log=None))
        metrics = {k: v for k, v in run.metrics.items() if not re.search("seconds|peak_gib", k)}
        test = {k: metrics.pop(k) for k in list(metrics) if "test" in k}
        curves = [
            [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]
            for _, rows in sorted(run.curves.items())
        ]
        return (kept(run), metrics, curves), test

    return learned


class Case(NamedTuple):
    learned: Callable[[], Learned]
    poison: Patches
    plants: dict[str, Patches]


def through(module: Any, name: str, change: Callable[[Any], Any]) -> Patches:
    def patched(patch: pytest.MonkeyPatch) -> None:
        real = getattr(module, name)
        patch.setattr(module, name, lambda *given, **more: change(real(*given, **more)))

    return patched


def with_argument(module: Any, name: str, place: int, change: Callable[..., Any]) -> Patches:
    def patched(patch: pytest.MonkeyPatch) -> None:
        real = getattr(module, name)

        def call(*given: Any) -> Any:
            return real(*given[:place], change(*given), *given[place + 1 :])

        patch.setattr(module, name, call)

    return patched


def leaky(split: Split, kind: str) -> Split:
    if kind == "chosen on test":
        return replace(split, validation=split.test)
    n = min(len(split.train), len(split.test)) // 2  # a training part that is as large
    return replace(split, train=np.concatenate([split.test[:n], split.train[n:]]))


KINDS = ("test rows in training", "chosen on test")


def of_kinds(
    module: Any, name: str, change: Callable[[Any, str], Any] = leaky
) -> dict[str, Patches]:
    return {kind: through(module, name, lambda x, kind=kind: change(x, kind)) for kind in KINDS}


def networks(run: base.Run) -> list[str]:
    kept = run.artefacts["networks" if "networks" in run.artefacts else "models"].values()
    return weights(*(m for v in kept for m in (v if isinstance(v, list) else [v])))


# ----------------------------------------------------------------------------------------- sentiment


def _classifier(run: base.Run) -> Any:
    classifier = run.artefacts["classifier"]
    return weights(classifier.model), classifier.vocabulary.to_list()


def _other_tweets(wanted: Any) -> Patches:
    real = sentiment.split_rows

    def changed(data: Any) -> Any:
        labels, tokens = np.array(data.labels), np.array(data.tokens)
        test = real(len(labels), wanted).test
        labels[test] = 1 - labels[test]
        for row in test:
            place = slice(data.offsets[row], data.offsets[row + 1])
            tokens[place] = (tokens[place] + 7) % len(data.types)
        return replace(data, labels=labels, tokens=tokens)

    return through(sentiment140, "load_tokens", changed)


def _poison_tweets(patch: pytest.MonkeyPatch) -> None:
    labels = np.array(sentiment140.load().labels)
    test = sentiment140.split(len(labels)).test
    grouped = sentiment140.split_grouped(ngrams.text_keys(sentiment140.load_tokens())).test
    both = np.intersect1d(test, grouped)  # the experiment has two splits
    labels[both] = 1 - labels[both]
    for load in ("load", "load_tokens"):
        through(sentiment140, load, lambda x: replace(x, labels=labels))(patch)


# --------------------------------------------------------------------------------------- translation


def _turned(corpus: Any) -> Any:
    french, english = list(corpus.french), list(corpus.english)
    for row in corpus.split.test:
        french[row], english[row] = english[row], french[row]
    return replace(corpus, french=french, english=english)


def _translation(name: str) -> Case:
    def planted(corpus: Any, kind: str) -> Any:
        return replace(corpus, split=leaky(corpus.split, kind))

    poison = through(translation, "prepare", _turned)
    return Case(training(name, kept=networks), poison, of_kinds(translation, "prepare", planted))


# -------------------------------------------------------------------------------------------- graphs


def _predicted(run: base.Run) -> Any:
    fitted = run.artefacts["fitted"].values()
    return [{name: digest(m.predicted) for name, m in models.items()} for models in fitted]


def _other_pages(seed: int) -> Patches:
    def changed(graph: Any) -> Any:
        test = torch.from_numpy(pages.split_random(graph.num_nodes, seed).test)
        y, traffic = graph.y.clone(), graph.traffic.clone()
        y[test], traffic[test] = 30.0, 1e13
        return replace(graph, y=y, traffic=traffic)

    return through(pages, "load", changed)


SCALE = with_argument(wikipedia_splits, "scale", 1, lambda values, rows: np.arange(len(values)))
PAGES = of_kinds(wikipedia_splits, "split_of") | {"scaled on all pages": SCALE}


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
    return replace(graph, y=y)


def _leaky_masks(graph: Any, kind: str) -> Any:
    return replace(graph, **{"train_mask" if kind == KINDS[0] else "val_mask": graph.test_mask})


# -------------------------------------------------------------------------------------- segmentation


def _other_digits(found: Any) -> Any:
    labels = ((found.test.labels + 1) % 10).astype(np.uint8)
    return replace(found, test=Pool(found.test.images, labels))


def _both_pools(found: Any) -> Any:
    parts = (found.train, found.test)
    images, labels = (np.concatenate([getattr(p, k) for p in parts]) for k in ("images", "labels"))
    return replace(found, train=Pool(images, labels))


SPLITS_OF_TWEETS = of_kinds(sentiment, "split_rows")
VOCABULARY = with_argument(
    sentiment, "count_vocabulary", 1, lambda tweets, *rest: np.arange(len(tweets.labels))
)
CITATIONS = through(planetoid, "load", _other_topics)

CASES = {
    "sentiment": Case(
        training("sentiment", "tweets=300", kept=_classifier),
        _other_tweets(given.config_of("sentiment", "tweets=300")),
        SPLITS_OF_TWEETS | {"vocabulary of all tweets": VOCABULARY},
    ),
    "sentiment_study": Case(
        training("sentiment_study"), _other_tweets(given.config_of("sentiment_study").base), SPLITS_OF_TWEETS,
    ),
    "distillation": Case(
        training("distillation", kept=_classifier),
        _other_tweets(given.config_of("distillation").student), SPLITS_OF_TWEETS,
    ),
    "tweets": Case(training("tweets"), _poison_tweets, of_kinds(sentiment140, "split")),
    **{
        name: _translation(name)
        for name in ("translation", "translation_ensemble", "translation_all", "translation_taught")
    },
    "wikipedia": Case(training("wikipedia", kept=_predicted), _other_pages(0), PAGES),
    "wikipedia_study": Case(
        training("wikipedia_study"), _other_pages(wikipedia_study.FIRST_SEED), PAGES,
    ),
    "large_graph": Case(
        training("large_graph"), through(large_graph, "generate", _other_targets),
        of_kinds(large_graph, "generate", _leaky_parts),
    ),
    "cora": Case(
        training("cora", *CORA_OPTIONS, kept=networks), CITATIONS, of_kinds(cora, "split_nodes"),
    ),
    "cora_study": Case(
        training("cora_study"), CITATIONS, of_kinds(planetoid, "load", _leaky_masks),
    ),
    "segmentation": Case(
        training("segmentation", "skips=true", kept=networks),
        through(m2nist, "digit_pools", _other_digits),
        {KINDS[0]: through(m2nist, "digit_pools", _both_pools),
         KINDS[1]: through(segmentation, "prepare", lambda data: replace(
             data, validation=Canvases(data.test.images, data.test.masks)))},
    ),
}  # fmt: skip
# The others are as sharp, and seconds long each.
EVERY_DAY = {"sentiment", "translation", "translation_all", "cora", "segmentation", "large_graph"}


def at_night(name: str, *more: str) -> Any:
    marks = () if name in EVERY_DAY else pytest.mark.nightly
    return pytest.param(name, *more, marks=marks, id="-".join((name, *more)))


def learned(case: Case, *patches: Patches) -> Learned:
    with pytest.MonkeyPatch.context() as patch:
        for each in patches:
            each(patch)
        return case.learned()


def test_every_experiment_has_a_case_with_planted_leaks() -> None:
    assert set(CASES) == set(base.TABLES) - given.WITHOUT_STANDIN
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
    case, plant = CASES[name], CASES[name].plants[leak]
    with_leak, poisoned = learned(case, plant), learned(case, case.poison, plant)
    assert with_leak[0] != poisoned[0], "the leak was not noticed"
