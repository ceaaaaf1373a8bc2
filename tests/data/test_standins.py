import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.naive_bayes import BernoulliNB

from coursework.data import (
    eng_fra,
    m2nist,
    mnist,
    planetoid,
    sentiment140,
    sources,
    standins,
    wikipedia,
)

pytestmark = pytest.mark.usefixtures("standin")

LOADERS: dict[str, Callable[[], Any]] = {
    "mnist": mnist.load,
    "m2nist": m2nist.digit_pools,
    "sentiment140": sentiment140.load,
    "sentiment140 tokens": sentiment140.load_tokens,
    "eng-fra": eng_fra.load,
    **{name: functools.partial(planetoid.load, name) for name in ("Cora", "CiteSeer")},
    **{name: functools.partial(wikipedia.load, name) for name in wikipedia.NAMES},
}


@pytest.mark.parametrize("name", list(LOADERS))
def test_every_loader_has_a_standin_and_says_so(
    standin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(sources, "_announced", set())
    data = LOADERS[name]()
    assert data.source.as_record()["standin"] is True
    assert len(data.source.sha256) == 64
    assert data.source.files == ()
    printed = capsys.readouterr().out
    assert printed.count("*** STAND-IN DATA ***") == 1
    assert "coursework data fetch" in printed
    assert LOADERS[name]().source == data.source
    assert capsys.readouterr().out == ""


def test_standins_need_no_writable_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COURSEWORK_CACHE", str(tmp_path / "file" / "cache"))
    for load in LOADERS.values():
        assert load().source.is_standin


FINGERPRINTS = {
    "sentiment140": "ba2a3250f06ad9a8",
    "eng-fra": "2f9c8f5b6dcdce7e",
    "cora": "a50cd17c43d1a052",
    "citeseer": "a2ec835eb78ddb56",
}


def test_generated_content_is_pinned() -> None:  # results on it are compared to the last digit
    assert {name: standins.fingerprint(name)[:16] for name in FINGERPRINTS} == FINGERPRINTS
    assert standins.fingerprint("wikipedia-embedding") == standins.fingerprint("wikipedia")


@pytest.mark.parametrize("name", ["digits", "tweets", "sentence_pairs", "citations", "pages"])
def test_whoever_changes_generated_data_changes_them_for_nobody_else(name: str) -> None:
    first = getattr(standins, name)()
    expected = copy.deepcopy(first)
    for part in first:
        part[:] = part[::-1].copy()
    assert all(map(np.array_equal, getattr(standins, name)(), expected))


def test_digits_have_mnists_form() -> None:
    digits = mnist.load()
    assert digits.train_images.shape == (len(digits.train_labels), 28, 28)
    assert len(digits.train_images) + len(digits.test_images) == 1797
    assert 0.1 < (digits.train_images > 0).mean() < 0.3  # exact zeros around the ink
    assert digits.train_images.max() == 255
    train, test = (x.reshape(len(x), -1) / 255 for x in (digits.train_images, digits.test_images))
    model = RidgeClassifier().fit(train, digits.train_labels)
    assert model.score(test, digits.test_labels) > 0.8


def test_tweets_can_be_told_but_not_perfectly() -> None:
    tweets = sentiment140.load_tokens()
    n, y = len(tweets.labels), tweets.labels.astype(int)
    assert np.bincount(y).tolist() == [2000, 2000]
    present = np.zeros((n, len(tweets.types)), bool)
    present[np.repeat(np.arange(n), np.diff(tweets.offsets)), tweets.tokens] = True
    split = sentiment140.split(n)
    bayes = BernoulliNB().fit(present[split.train], y[split.train])
    assert 0.78 < bayes.score(present[split.test], y[split.test]) < 0.95
    assert {"<user>", "<url>", "<hashtag>", "<long>"} <= set(tweets.types)


def test_french_agrees() -> None:
    data = eng_fra.load()
    pairs = set(zip(data.english, data.french, strict=True))
    assert len(pairs) == len(data.english) == len(eng_fra.tutorial_pairs(data))
    assert pairs >= {
        ("She is happy.", "Elle est heureuse."),
        ("They're very tall.", "Elles sont très grandes."),
        ("We are tired.", "Nous sommes fatigués."),
        ("You are not ready.", "Tu n'es pas prêt."),
        ("She is an actor.", "Elle est actrice."),
    }
    assert ("She is happy.", "Elle est heureux.") not in pairs
    assert len(set(data.english)) < len(data.english) > len(set(data.french))


@pytest.mark.parametrize("name", ["Cora", "CiteSeer"])
def test_citations_can_be_learned_from_words_and_neighbours(name: str) -> None:
    graph = planetoid.load(name)
    n = len(graph.y)
    masks = torch.stack([graph.train_mask, graph.val_mask, graph.test_mask])
    assert (masks.sum(0) == 1).all()
    assert graph.y[graph.train_mask].bincount().tolist() == [20] * graph.num_classes
    assert (graph.edge_index[0] != graph.edge_index[1]).all()
    adjacency = torch.zeros(n, n)
    adjacency[graph.edge_index[0], graph.edge_index[1]] = 1
    assert torch.equal(adjacency, adjacency.T)

    def accuracy(x: torch.Tensor) -> float:
        x = torch.nn.functional.normalize(x)
        model = RidgeClassifier().fit(x[graph.train_mask], graph.y[graph.train_mask])
        return float(model.score(x[graph.test_mask], graph.y[graph.test_mask]))

    words, smooth = accuracy(graph.x), adjacency + torch.eye(n)
    assert words > 1.5 / graph.num_classes
    assert accuracy(smooth @ (smooth @ graph.x)) > words + 0.1


@pytest.mark.parametrize("name", wikipedia.NAMES)
def test_pages_can_be_learned_and_have_twins(name: str) -> None:
    graph = wikipedia.load(name)
    n = graph.num_nodes
    assert graph.x.layout == torch.sparse_csr
    degree = graph.edge_index[0].bincount(minlength=n)
    assert degree.min() >= 1
    assert degree.max() > 5 * degree.float().mean()
    sizes = graph.twin_group.bincount()
    assert 0.2 < float(sizes[sizes > 1].sum()) / n < 0.6
    split = wikipedia.split_grouped(graph.twin_group)
    x = torch.cat([graph.x.to_dense(), degree.float().log()[:, None]], dim=1).numpy()
    train, test, y = np.concatenate([split.train, split.validation]), split.test, graph.y.numpy()
    error = np.abs(Ridge(10.0).fit(x[train], y[train]).predict(x[test]) - y[test]).mean()
    assert error < 0.8 * np.abs(np.median(y[train]) - y[test]).mean()


def test_three_page_networks_differ() -> None:
    traffic = [standins.pages(name)[2].tolist() for name in wikipedia.NAMES]
    assert traffic[0] != traffic[1] != traffic[2] != traffic[0]
