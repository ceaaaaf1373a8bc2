"""Stand-ins: every loader has one, it says so, it is the same every time, and it can be learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

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

LOADERS = {
    "mnist": mnist.load,
    "m2nist": lambda: m2nist.load(4, 2, 2),
    "sentiment140": sentiment140.load,
    "sentiment140 tokens": sentiment140.load_tokens,
    "eng-fra": eng_fra.load,
    "cora": lambda: planetoid.load("Cora"),
    "citeseer": lambda: planetoid.load("CiteSeer"),
    "chameleon": lambda: wikipedia.load("chameleon"),
    "squirrel": lambda: wikipedia.load("squirrel"),
    "crocodile": lambda: wikipedia.load("crocodile"),
}


@pytest.mark.parametrize("name", list(LOADERS))
def test_every_loader_has_a_standin_and_says_so(
    standin: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(sources, "_announced", set())
    data = LOADERS[name]()
    assert data.source.is_standin
    assert data.source.as_record()["standin"] is True
    assert len(data.source.sha256) == 64
    assert data.source.files == ()
    printed = capsys.readouterr().out
    assert printed.count("*** STAND-IN DATA ***") == 1
    assert "coursework data fetch" in printed
    assert LOADERS[name]().source == data.source
    assert capsys.readouterr().out == ""


def test_standins_need_no_writable_cache(
    standin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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


def test_generated_content_is_pinned() -> None:
    """Results on stand-ins are compared to the last digit, so the content is pinned."""
    assert {name: standins.fingerprint(name)[:16] for name in FINGERPRINTS} == FINGERPRINTS


def test_digits_have_mnists_form(standin: Path) -> None:
    digits = mnist.load()
    mnist.validate(digits.train_images, digits.train_labels, "stand-in")
    assert len(digits.train_images) + len(digits.test_images) == 1797
    assert 0.1 < (digits.train_images > 0).mean() < 0.3  # exact zeros around the ink
    assert digits.train_images.max() == 255
    flat = digits.train_images.reshape(len(digits.train_images), -1) / 255
    centres = np.stack([flat[digits.train_labels == d].mean(0) for d in range(10)])
    test = digits.test_images.reshape(len(digits.test_images), -1) / 255
    nearest = ((test[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (nearest == digits.test_labels).mean() > 0.8


def test_tweets_can_be_told_but_not_perfectly(standin: Path) -> None:
    tweets = sentiment140.load_tokens()
    n = len(tweets)
    assert n == 4000
    assert np.bincount(tweets.labels).tolist() == [2000, 2000]
    # naive Bayes with words present or absent
    present = np.zeros((n, len(tweets.types)), bool)
    present[np.repeat(np.arange(n), np.diff(tweets.offsets)), tweets.tokens] = True
    split = sentiment140.split(n)
    x, y = present[split.train], tweets.labels[split.train]
    rates = [(x[y == c].sum(0) + 1) / ((y == c).sum() + 2) for c in (0, 1)]
    score = present[split.test] @ np.log(rates[1] / rates[0])
    accuracy = ((score > 0) == tweets.labels[split.test]).mean()
    assert 0.78 < accuracy < 0.95
    assert {"<user>", "<url>", "<hashtag>", "<long>"} <= set(tweets.types)


def test_french_agrees(standin: Path) -> None:
    data = eng_fra.load()
    pairs = set(zip(data.english, data.french, strict=True))
    assert len(pairs) == len(data) == len(eng_fra.tutorial_pairs(data))
    for pair in [
        ("She is happy.", "Elle est heureuse."),
        ("They're very tall.", "Elles sont très grandes."),
        ("We are tired.", "Nous sommes fatigués."),
        ("You are not ready.", "Tu n'es pas prêt."),
        ("She is an actor.", "Elle est actrice."),
    ]:
        assert pair in pairs
    assert ("She is happy.", "Elle est heureux.") not in pairs
    assert len(set(data.english)) < len(data) > len(set(data.french))


@pytest.mark.parametrize("name", ["Cora", "CiteSeer"])
def test_citations_can_be_learned_from_words_and_neighbours(standin: Path, name: str) -> None:
    graph = planetoid.load(name)  # type: ignore[arg-type]
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
        centres = torch.stack(
            [x[graph.train_mask & (graph.y == c)].mean(0) for c in range(graph.num_classes)]
        )
        return float(
            (x @ centres.T).argmax(1)[graph.test_mask].eq(graph.y[graph.test_mask]).float().mean()
        )

    words = accuracy(graph.x)
    smooth = adjacency + torch.eye(n)
    both = accuracy(smooth @ (smooth @ graph.x))
    assert words > 1.5 / graph.num_classes
    assert both > words + 0.1


@pytest.mark.parametrize("name", wikipedia.NAMES)
def test_pages_can_be_learned_and_have_twins(standin: Path, name: str) -> None:
    graph = wikipedia.load(name)  # type: ignore[arg-type]
    n = graph.num_nodes
    assert graph.x.layout == torch.sparse_csr
    degree = graph.edge_index[0].bincount(minlength=n)
    assert degree.min() >= 1
    assert degree.max() > 5 * degree.float().mean()
    sizes = graph.twin_group.bincount()
    assert 0.2 < float(sizes[sizes > 1].sum()) / n < 0.6
    split = wikipedia.split_grouped(graph.twin_group, 0)
    x = torch.cat([graph.x.to_dense(), degree.float().log()[:, None], torch.ones(n, 1)], dim=1)
    train = torch.from_numpy(np.concatenate([split.train, split.validation]))
    test = torch.from_numpy(split.test)
    ridge = x[train].T @ x[train] + 10 * torch.eye(x.shape[1])
    weights = torch.linalg.solve(ridge, x[train].T @ graph.y[train])
    error = (x[test] @ weights - graph.y[test]).abs().mean()
    constant = (graph.y[train].median() - graph.y[test]).abs().mean()
    assert error < 0.8 * constant


def test_three_page_networks_differ() -> None:
    traffic = [standins.pages(name)[2].tolist() for name in wikipedia.NAMES]
    assert traffic[0] != traffic[1] != traffic[2] != traffic[0]
