"""Generated stand-ins for the data sets that need a download: small, seeded, learnable, and no results."""

import hashlib
import itertools
import tomllib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

_PARTS = tomllib.loads(Path(__file__).with_name("standins.toml").read_text(encoding="utf-8"))
Make = TypeVar("Make", bound=Callable[..., tuple[Any, ...]])


def _kept(make: Make) -> Make:
    """Generated once; every caller gets arrays and lists of its own, to change as it likes."""
    generated = lru_cache(make)
    return cast(Make, wraps(make)(lambda *which: tuple(part.copy() for part in generated(*which))))


@_kept
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 digits, enlarged to 20x20 on 28x28; every sixth one of a class is a test digit."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = bunch.images / 16.0  # [n, 8, 8], 0..1
    large = np.clip(zoom(small, (1, 2.5, 2.5), order=1, grid_mode=True, mode="nearest"), 0, 1)
    large[large < 0.15] = 0  # a background of exact zeros, as MNIST has
    images = np.zeros((len(large), 28, 28), np.uint8)
    images[:, 4:24, 4:24] = np.round(255 * large)
    labels = bunch.target.astype(np.uint8)
    rank = (labels[:, None] == np.arange(10)).cumsum(axis=0)[np.arange(len(labels)), labels]
    test = rank % 6 == 0
    order = np.random.default_rng(0).permutation(np.flatnonzero(~test))
    return images[order], labels[order], images[test], labels[test]


def _tweet(rng: np.random.Generator, positive: bool, parts: dict[str, str]) -> str:
    def one(words: Sequence[str]) -> str:
        return words[int(rng.integers(len(words)))]

    good, bad, things, plain = (parts[key].split() for key in ("good", "bad", "things", "plain"))
    # in one of eight no word shows the label
    frame = one(parts["neutral" if rng.random() < 0.12 else "positive" if positive else "negative"])
    lists = {"g": good, "g2": good, "b": bad, "b2": bad, "t": things, "t2": things, "p": plain}
    text = frame.format(**{name: one(words) for name, words in lists.items()})
    if rng.random() < 0.3:
        text += " " + " ".join(one(plain) for _ in range(int(rng.integers(1, 6))))
    words = text.split()
    if rng.random() < 0.15:  # an elongated word
        i = int(rng.integers(len(words)))
        words[i] += words[i][-1] * int(rng.integers(2, 6))
    if rng.random() < 0.12:  # a typing error
        i = int(rng.integers(len(words)))
        if len(words[i]) > 4:
            cut = int(rng.integers(1, len(words[i])))
            words[i] = words[i][:cut] + words[i][cut + 1 :]
    text = " ".join(words)
    if rng.random() < 0.2:
        text = text.capitalize()
    if rng.random() < 0.05:
        text = text.upper()
    text += one(["", "", ".", "!", "!!", "...", " ..", "!!!!"])
    if rng.random() < 0.4:
        text = f"@{one(things)}{rng.integers(1, 999)} {text}"
    if rng.random() < 0.06:
        text = f"{text} http://example.org/{rng.integers(1, 9999)}"
    if rng.random() < 0.05:
        text = f"{text} #{one(things)}"
    return text + (" " if rng.random() < 0.5 else "")


@_kept
def tweets() -> tuple[list[str], np.ndarray]:
    """4,000 texts from templates, and labels int8: first the negative half (0), then the positive."""
    rng = np.random.default_rng(140)
    labels = np.repeat(np.array([0, 1], np.int8), 2000)
    turned = (bool(label) != (rng.random() < 0.05) for label in labels)
    return [_tweet(rng, positive, _PARTS["tweets"]) for positive in turned], labels


@_kept
def sentence_pairs() -> tuple[list[str], list[str]]:
    """English sentences like "She is very happy." and their French translations, in a random order."""
    parts, pairs = _PARTS["french"], dict[tuple[str, str], None]()

    def add(french: str, *english: str) -> None:
        for sentence in english:
            pairs[f"{sentence}.", f"{french}."] = None

    for full, short, pronoun, verb, plural, genders in parts["subjects"]:
        # ne is elided before a vowel: Tu n'es pas
        negated = f"{pronoun} n'{verb} pas" if verb[0] in "eéê" else f"{pronoun} ne {verb} pas"
        for gender in genders:
            for english, *forms in parts["adjectives"]:
                french = forms[(gender == "f") + 2 * plural]
                for degree, french_degree in parts["degrees"]:
                    if not degree or french != "en retard":
                        said = f"{pronoun} {verb} {french_degree}{french}"
                        add(said, f"{full} {degree}{english}", f"{short} {degree}{english}")
                add(f"{negated} {french}", f"{full} not {english}")
            for english, *forms in parts["nouns"] if not plural else ():
                noun = forms[gender == "f"]
                add(f"{pronoun} {verb} {noun}", f"{full} {english}")
                add(f"{negated} {noun}", f"{full} not {english}")
        for english, french in parts["places"]:
            add(f"{pronoun} {verb} {french}", f"{full} {english}", f"{short} {english}")
            add(f"{negated} {french}", f"{full} not {english}")
    ordered = list(pairs)
    order = np.random.default_rng(12).permutation(len(ordered))
    return [ordered[i][0] for i in order], [ordered[i][1] for i in order]


_CITATION_SHAPES = {"cora": (700, 7, 350), "citeseer": (600, 6, 360)}  # nodes, classes, words


@_kept
def citations(name: str = "cora") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A stochastic block model: words uint8 ``[N, F]``, undirected edges ``[E, 2]``, classes ``[N]``."""
    n, classes, words = _CITATION_SHAPES[name]
    rng = np.random.default_rng(7 if name == "cora" else 6)
    y = rng.permutation(np.arange(n) % classes)
    per_class = n / classes
    p = np.where(y[:, None] == y, 3.2 / per_class, 0.8 / (n - per_class))
    edges = np.argwhere(np.triu(rng.random((n, n)) < p, k=1))
    x = (rng.random((n, words)) < 8 / words).astype(np.uint8)
    block = words // classes
    for node in range(n):
        x[node, y[node] * block + rng.choice(block, 4, replace=False)] = 1
    return x, edges.astype(np.int64), y.astype(np.int64)


_PAGE_SEEDS = {"chameleon": 1, "squirrel": 2, "crocodile": 3}


@_kept
def pages(name: str = "chameleon") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(page, word) places ``[W, 2]``, edges ``[E, 2]``, traffic ``[N]``; a fifth of the pages are twins."""
    rng = np.random.default_rng(_PAGE_SEEDS[name])
    n_own, n_twins, n_words = 480, 120, 200
    n = n_own + n_twins
    weight = (1 + np.arange(n_own)) ** -0.6  # expected degrees fall as a power of the rank
    weight = rng.permutation(weight / weight.mean())
    p = np.minimum(1, 5.0 * weight[:, None] * weight[None, :] / n_own)
    upper = np.triu(rng.random((n_own, n_own)) < p, k=1)
    for node in np.flatnonzero(upper.sum(0) + upper.sum(1) == 0):  # nobody stays alone
        other = (node + rng.integers(1, n_own)) % n_own
        upper[min(node, other), max(node, other)] = True
    topic = rng.normal(size=n_own)
    adjacency = (upper | upper.T).astype(float)
    degree = adjacency.sum(1)
    topic = 0.5 * topic + 0.8 * (adjacency @ topic) / degree  # neighbours have like topics
    loading = rng.normal(size=n_words) * (np.arange(n_words) % 10 == 0)
    has = rng.random((n_own, n_words)) < 1 / (1 + np.exp(3.0 - 2.5 * np.outer(topic, loading)))
    log_traffic = (
        6.0 + 0.8 * np.log(degree) + 1.2 * topic + 0.4 * (adjacency @ topic) / degree
        + 0.5 * rng.normal(size=n_own)
    )  # fmt: skip
    traffic = np.round(np.exp(log_traffic)) + 10
    # no two twinned pages are neighbours, so a page and its twin have exactly the same neighbours
    originals: list[int] = []
    for node in rng.permutation(n_own):
        if len(originals) < n_twins and not adjacency[node, originals].any():
            originals.append(int(node))
    links, words = [np.argwhere(upper)], [np.argwhere(has)]
    for twin, original in enumerate(originals, start=n_own):
        friends = np.flatnonzero(upper[original] | upper[:, original])
        own = np.flatnonzero(has[original] ^ (rng.random(n_words) < 0.02))
        for rows, columns in ((links, friends), (words, own)):
            rows.append(np.stack([np.full(len(columns), twin), columns], axis=1))
    shuffle = rng.permutation(n)
    edges, places = shuffle[np.concatenate(links)], np.concatenate(words)
    places[:, 0] = shuffle[places[:, 0]]
    full = np.empty(n)
    full[shuffle] = np.concatenate([traffic, traffic[originals]])
    return places.astype(np.int64), edges.astype(np.int64), full


def fingerprint(name: str) -> str:
    """SHA-256 of the generated content that takes the place of a data set of the registry."""
    made: dict[str, Callable[[], Iterable[Any]]] = {
        "mnist": digits,
        "sentiment140": tweets,
        "eng-fra": sentence_pairs,
        "wikipedia": lambda: itertools.chain.from_iterable(map(pages, sorted(_PAGE_SEEDS))),
    }
    name = name.removesuffix("-embedding")  # the same graphs, without these features
    total = hashlib.sha256()
    for part in made[name]() if name in made else citations(name):
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype.str}{part.shape}".encode())
            total.update(part.tobytes())
        else:
            total.update("\n".join(part).encode())
    return total.hexdigest()
