import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from coursework import settings
from coursework.data import eng_fra, m2nist, mnist, planetoid, sentiment140, sources, wikipedia
from coursework.data.text import clean_tweet, tokenise
from coursework.experiments import digits
from coursework.experiments.wikipedia import Config, task_of
from coursework.experiments.wikipedia_candidates import Inputs
from coursework.report import questions

pytestmark = pytest.mark.real_data
Need = Callable[[str], None]


def test_mnist(real: Need) -> None:
    real("mnist")
    data = mnist.load()
    assert data.train_images.shape == (60_000, 28, 28)
    assert data.test_images.shape == (10_000, 28, 28)
    assert np.bincount(data.train_labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    pools = m2nist.digit_pools()
    sizes = [len(pool.images) for pool in (pools.train, pools.validation, pools.test)]
    assert sizes == [50_000, 10_000, 10_000]
    train, begun = pools.train, time.process_time()
    canvases = m2nist.compose(train.images, train.labels, 2000, np.random.default_rng(0))
    assert time.process_time() - begun < 0.4  # 5,000 canvases a second
    np.testing.assert_array_equal(canvases.images > 0, canvases.masks != m2nist.BACKGROUND)
    assert 0.93 < (canvases.masks == m2nist.BACKGROUND).mean() < 0.96


def test_digits_of_2a_are_as_the_answers_say(real: Need) -> None:
    real("mnist")
    data = mnist.load()
    weights = digits.attend(digits.draw(data, seed=0)).weights
    own = int((weights.argmax(dim=1) == torch.arange(10)).sum())
    measured = digits.measure(data, draws=500, seed=0)
    dot, cosine = (round(100 * measured[name].own_class) for name in ("scaled", "cosine"))
    longest = round(100 * measured["scaled"].longest_picked)
    (question,) = [q for q in questions.QUESTIONS if q.part == "2(a)"]
    chapter = (settings.repo_root() / "writeup" / "2_attention.typ").read_text(encoding="utf-8")
    for said in (f"{own} of 10 targets", f"{dot} % of the rows"):
        assert said in question.answer
        assert said in chapter
    assert f"cosine {cosine} %" in question.answer
    assert f"finds the own class in {cosine} % of the rows" in chapter
    assert f"the longest source is picked in {longest} % of the rows" in chapter


def test_english_french(real: Need) -> None:
    real("eng-fra")
    data = eng_fra.load()
    sizes = [len(data.english), len(set(data.english)), len(set(data.french))]
    assert sizes == [135_842, 93_549, 129_323]
    assert (data.english[0], data.french[0]) == ("Go.", "Va !")
    pairs = eng_fra.tutorial_pairs(data)
    assert len(pairs) == 11_445
    # the tutorial counts SOS and EOS among its words
    words = [len(set(" ".join(side).split())) + 2 for side in zip(*pairs, strict=True)]
    assert words == [4_601, 2_991]
    split = eng_fra.split(pairs)
    assert sum(split.sizes) == 11_445
    for side in zip(*pairs, strict=True):
        train = {side[i] for i in split.train}
        assert train.isdisjoint(side[i] for i in (*split.validation, *split.test))


def raw_for_pyg(tmp_path: Path, name: str, files: Iterable[Path]) -> str:
    folder = tmp_path / name / "raw"
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder)
    return str(tmp_path)


@pytest.mark.filterwarnings("ignore")  # PyG reads old pickles
@pytest.mark.parametrize(
    ("name", "edges", "isolated"), [("Cora", 10556, 0), ("CiteSeer", 9104, 48)]
)
def test_citation_graph_equals_pyg(
    real: Need, tmp_path: Path, name: planetoid.Name, edges: int, isolated: int
) -> None:
    real(name.lower())
    from torch_geometric.datasets import Planetoid

    graph = planetoid.load(name)
    theirs = Planetoid(raw_for_pyg(tmp_path, name, graph.source.files), name)[0]
    for key in ("x", "edge_index", "y", "train_mask", "val_mask", "test_mask"):
        assert torch.equal(getattr(graph, key), theirs[key]), key
        assert getattr(graph, key).dtype == theirs[key].dtype, key
    assert graph.edge_index.shape == (2, edges)
    assert int(graph.edge_index[0].bincount(minlength=len(graph.y)).eq(0).sum()) == isolated


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "nouns", "in_twins"),
    [
        ("chameleon", 2277, 62742, 3132, 1300),
        ("squirrel", 5201, 396706, 3148, 2581),
        ("crocodile", 11631, 341546, 13183, 7720),
    ],
)
def test_page_networks(
    real: Need, name: wikipedia.Name, nodes: int, edges: int, nouns: int, in_twins: int
) -> None:
    real("wikipedia")
    graph = wikipedia.load(name)
    shapes = [graph.x.shape, graph.edge_index.shape, graph.traffic.shape]
    assert shapes == [(nodes, nouns), (2, edges), (nodes,)]
    sizes = graph.twin_group.bincount()
    assert int(sizes[sizes > 1].sum()) == in_twins
    torch.testing.assert_close(graph.y, graph.traffic.log1p().float())


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("chameleon", 0, 0.05), ("squirrel", 0, 0.05), ("crocodile", 0.9, 1)],
)
def test_nearly_the_same_links_and_the_strict_split(
    real: Need, name: wikipedia.Name, least: float, most: float
) -> None:
    real("wikipedia")
    graph = wikipedia.load(name)
    inputs = Inputs(graph)
    one, other = inputs.near.nonzero()
    pairs = (one < other) & (graph.twin_group[one] != graph.twin_group[other]).numpy()
    same = graph.traffic[one[pairs]] == graph.traffic[other[pairs]]
    assert least <= float(same.double().mean()) <= most  # "seldom", "mostly"
    for seed in range(3):
        task = task_of(inputs, "strict", Config(), seed)
        assert not np.any(np.isin(one, task.rows) & np.isin(other, task.split.test))
        for key in (graph.traffic, graph.twin_group):
            assert not np.isin(key[task.rows], key[task.split.test]).any()


@pytest.mark.filterwarnings("ignore")
def test_chameleon_of_both_sources_agree(real: Need, tmp_path: Path) -> None:
    real("wikipedia")
    real("wikipedia-embedding")
    from torch_geometric.datasets import WikipediaNetwork

    ours = wikipedia.load("chameleon")
    files = sources.find("wikipedia-embedding").files
    root = raw_for_pyg(tmp_path, "chameleon", files)
    theirs = WikipediaNetwork(root, "chameleon", geom_gcn_preprocess=False)[0]
    assert theirs.x.shape == (2277, 128)
    torch.testing.assert_close(theirs.y, ours.y)
    loops = theirs.edge_index[0] == theirs.edge_index[1]
    assert int(loops.sum()) == 50
    assert torch.equal(theirs.edge_index[:, ~loops], ours.edge_index)


def test_all_tweets(real: Need) -> None:
    """Uses the normal cache: the first run cleans and tokenises 1.6 million tweets."""
    real("sentiment140")
    first = sentiment140.load_tokens()
    begun = time.perf_counter()
    tweets = sentiment140.load_tokens()
    assert time.perf_counter() - begun < 2
    assert len(tweets.labels) == 1_600_000
    assert tweets.labels[:800_000].sum() == 0
    assert tweets.labels[800_000:].sum() == 800_000
    assert tweets.tokens[-1] == first.tokens[-1]
    assert tweets.offsets[-1] == len(tweets.tokens)
    assert tweets.tokens[::1000].max() < len(tweets.types)
    data = sentiment140.load()
    assert data.texts[0].as_py().startswith("@switchfoot http://twitpic.com/2y1zl - Awww")
    for i in np.random.default_rng(0).integers(0, 1_600_000, 2000).tolist():
        row = tweets.tokens[tweets.offsets[i] : tweets.offsets[i + 1]]
        assert [tweets.types[t] for t in row] == tokenise(clean_tweet(data.texts[i].as_py()))


@pytest.mark.parametrize("name", list(sources.REGISTRY))
def test_checksums(real: Need, name: str) -> None:
    real(name)
    assert sources.status(name, again=True).ok
    assert sources.find(name).label.startswith("real")
