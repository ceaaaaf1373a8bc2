"""The two corpora of problem 2(e): sentence pairs, split, as ids of words or subwords.

``subset``: short sentences in the tutorial's normal form, as words; ``all``: all 135,842 pairs, in subwords.
Letters: ``B`` batch, ``S`` source length, ``T`` target length, ``V`` vocabulary, ``w`` width of vectors.
"""

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from coursework.data import embeddings, eng_fra, subwords
from coursework.data.splits import Split
from coursework.data.subwords import Subwords
from coursework.data.text import EOS, EOS_ID, PAD, PAD_ID, SOS, SOS_ID, UNK, UNK_ID, Vocabulary
from coursework.errors import DataError
from coursework.experiments import word2vec
from coursework.experiments.french import WORD, cased, sentences, typed
from coursework.training import engine, seeds

Part = Literal["train", "validation", "test"]
Texts = Sequence[str]
SPECIALS = (PAD, UNK, SOS, EOS)  # ids 0 to 3, in words as in subwords
LONGEST_INPUT = 100  # words or subwords that are translated at a time: few in training are longer


@dataclass(frozen=True)
class Words:
    """A language of the subset: sentences in the tutorial's normal form are lists of words."""

    vocabulary: Vocabulary
    margin = 5  # words; a translation has at most these and 1.5 times the batch's longest source

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, sentences: Iterable[str]) -> list[list[int]]:
        return [self.vocabulary.encode(sentence.split()) for sentence in sentences]

    def decode(self, ids: Iterable[int]) -> str:
        """The sentence without its special words."""
        return " ".join(self.vocabulary.decode(i for i in ids if i > EOS_ID))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        return self.vocabulary.decode(ids)

    def read(self, text: str) -> list[list[int]]:
        """Ids of a text as people type it, with capitals, accents, apostrophes; none if no word is known."""
        (ids,) = self.encode([eng_fra.normalise(typed(text))])
        if max(ids, default=0) <= EOS_ID:
            return []
        return [ids[i : i + LONGEST_INPUT] for i in range(0, len(ids), LONGEST_INPUT)]

    def doubts(self, text: str) -> Iterator[str]:
        """What a reader of the translation has to know."""
        if text.strip() and not self.read(text):
            yield f"No word of {shorten(text, 60)!r} is known; it was not translated."

    def stored(self) -> list[str]:  # what a checkpoint keeps, see :func:`language`
        return self.vocabulary.to_list()


class Pieces(Subwords):
    """Both languages of all pairs: a sentence is a list of subwords."""

    margin = 10

    def read(self, text: str) -> list[list[int]]:
        """Ids of a text as people type it: sentences in known letters, long ones cut between words."""
        usual = (cased(sentence, self._count) for sentence in sentences(typed(text)))
        return [ids for s in usual if self._letters(s) for ids in self._cut(s)]

    def doubts(self, text: str) -> Iterator[str]:
        for sentence in sentences(typed(text)):
            usual = cased(sentence, self._count)
            start, words = shorten(sentence, 60), WORD.findall(usual)
            if not self._letters(usual):
                yield f"No letter of {start!r} is known; it was not translated."
            elif len("".join(words)) > 5 and not any(map(self._whole, words)):
                yield f"No word of {start!r} is known as a whole; its translation may be invented."

    def _count(self, word: str) -> int:
        return len(self.encode([word])[0])

    def _whole(self, word: str) -> bool:
        return len(word) > 1 and min(self._count(word), self._count(word.lower())) == 1

    def _letters(self, sentence: str) -> bool:
        """Whether there is something to translate: a known letter, or no sign that is unknown."""
        (ids,) = self.encode([sentence])
        known = self.pieces(i for i in ids if i != UNK_ID)
        return UNK_ID not in ids or any(map(WORD.search, known))

    def _cut(self, sentence: str) -> list[list[int]]:
        (ids,) = self.encode([sentence])
        words, most = sentence.split(), LONGEST_INPUT
        if len(ids) <= most or len(words) < 2:
            return [ids[i : i + most] for i in range(0, max(len(ids), 1), most)]
        middle = len(words) // 2
        return [*self._cut(" ".join(words[:middle])), *self._cut(" ".join(words[middle:]))]


Language = Words | Pieces


def language(stored: list[str] | Tensor) -> Language:
    """The language whose ``stored()`` this is."""
    if isinstance(stored, Tensor):
        return Pieces(stored.numpy().tobytes())
    return Words(Vocabulary.from_list(stored, SPECIALS))


@dataclass(frozen=True)
class Corpus:
    """Pairs with their split, and the languages as the training pairs define them."""

    data: eng_fra.EnglishFrench  # the raw sentences
    french: Sequence[str]  # sentences as they are encoded, translated and scored
    english: Sequence[str]
    split: Split
    source: Language  # reads French
    target: Language  # writes English

    def part(self, name: Part) -> tuple[list[str], list[str]]:
        """French and English sentences of a part."""
        rows = getattr(self.split, name)
        return [self.french[row] for row in rows], [self.english[row] for row in rows]

    def batches(self, part: Part, size: int, word_dropout: float = 0.0, seed: int = 0) -> "Batches":
        """Batches of ``size`` sentences of the subset, or of ``size`` subwords of all pairs."""
        french, english = self.part(part)
        ids = self.source.encode(french), self.target.encode(english)
        group = budget_of_tokens if isinstance(self.source, Pieces) else equal_sources
        return Batches(*ids, group, size, word_dropout, seed)

    def references(self, name: Part) -> list[list[str]] | None:
        """All English sentences of the data for each French one, its own first; None for the subset."""
        if not isinstance(self.source, Pieces):
            return None
        known: dict[str, dict[str, None]] = {}
        for french, english in zip(self.french, self.english, strict=True):
            known.setdefault(french, {})[english] = None
        return [list({own: None} | known[f]) for f, own in zip(*self.part(name), strict=True)]


def prepare(
    corpus: Literal["subset", "all"], split: Literal["component", "random"] = "component",
    pairs: int | None = None, vocabulary: int = 4000,
) -> Corpus:  # fmt: skip
    """Load and split the pairs, and learn the vocabularies from (the first ``pairs``) training pairs."""
    data, subset = eng_fra.load(), corpus == "subset"
    raw = zip(data.french, data.english, strict=True)
    chosen = eng_fra.tutorial_pairs(data) if subset else list(raw)
    french, english = ([pair[side] for pair in chosen] for side in (0, 1))
    keys = zip(letters_only(french), letters_only(english), strict=True)
    parts = eng_fra.split(list(keys), split)
    parts = dataclasses.replace(parts, train=parts.train[:pairs])
    if not all(parts.sizes):
        raise DataError(f"A part of the sentence pairs is empty {parts.sizes}; use more pairs.")
    train = [[side[row] for row in parts.train] for side in (french, english)]
    source, target = learn(train[0], train[1], None if subset else vocabulary)
    return Corpus(data, french, english, parts, source, target)


def learn(french: Texts, english: Texts, size: int | None) -> tuple[Language, Language]:
    """The words of both languages, or ``size`` subwords for both together."""
    if size is None:
        counts = [Counter(" ".join(side).split()) for side in (french, english)]
        one, two = (Words(Vocabulary.from_counts(count, SPECIALS)) for count in counts)
        return one, two
    text = [sentence for pair in zip(french, english, strict=True) for sentence in pair]
    shared = Pieces(subwords.learn(text, size).proto)
    return shared, shared


def letters_only(sentences: Sequence[str]) -> list[str]:
    """What makes two sentences the same: the letters without case and accents, and the signs ! and ?."""
    return [eng_fra.normalise(sentence) or sentence for sentence in sentences]


def shared_with_training(pairs: Sequence[eng_fra.Pair], split: Split) -> dict[str, float]:
    """Share of test pairs whose French, English, or either side also occurs in a training pair."""
    seen = [{pairs[row][side] for row in split.train} for side in (0, 1)]
    french, english = (
        np.array([pairs[row][side] in seen[side] for row in split.test]) for side in (0, 1)
    )
    shares = {"french": french, "english": english, "either": french | english}
    return {side: float(share.mean()) for side, share in shares.items()}


Batch = dict[str, Tensor]  # source [B, S], read [B, T] from the start word, write [B, T] to the end
Groups = list[np.ndarray]  # rows of each batch
Rows = Sequence[list[int]]  # ids of sentences


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of ids, padded at the right: ``[B, longest]``."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[PAD_ID] * (width - len(row))] for row in rows])


def equal_sources(lengths: np.ndarray, size: int, rng: np.random.Generator) -> Groups:
    """At most ``size`` sentences with equally long sources, which need no padding."""
    order = rng.permutation(len(lengths))
    order = order[np.lexsort((lengths[order, 1], lengths[order, 0]))]
    alike = np.split(order, np.flatnonzero(np.diff(lengths[order, 0])) + 1)
    return [group[i : i + size] for group in alike for i in range(0, len(group), size)]


def budget_of_tokens(lengths: np.ndarray, size: int, rng: np.random.Generator) -> Groups:
    """Sentences of similar length on both sides, at most ``size`` subwords with the padding."""
    order = rng.permutation(len(lengths))
    order = order[np.lexsort((lengths[order].min(axis=1), lengths[order].max(axis=1)))]
    groups, start, widest = [], 0, np.zeros(2, dtype=int)
    for i, row in enumerate(order):
        wider = np.maximum(widest, lengths[row])
        if i > start and wider.sum() * (i + 1 - start) > size:
            groups.append(order[start:i])
            start, wider = i, lengths[row]
        widest = wider
    return [*groups, order[start:]]


@dataclass(frozen=True)
class Batches:
    """The batches of an epoch, in random order: a function of (seed, epoch) only."""

    sources: Rows  # ids without marks of beginning and end
    targets: Rows
    group: Callable[[np.ndarray, int, np.random.Generator], Groups]
    size: int
    word_dropout: float = 0.0  # share of words that are hidden from encoder and decoder
    seed: int = 0

    def __call__(self, epoch: int) -> engine.Lazy:
        rng = seeds.numpy_generator(self.seed, "batches", epoch)
        sides = self.sources, self.targets
        lengths = np.array([[len(ids) + 1 for ids in side] for side in sides]).T  # [n, 2]
        groups = self.group(lengths, self.size, rng)
        groups = [groups[i] for i in rng.permutation(len(groups))]
        if not self.word_dropout:
            return engine.Lazy(groups, self.batch)
        made = {rows[0]: self.batch(rows, rng) for rows in groups}  # in order: they share rng
        return engine.Lazy(groups, lambda rows: made[rows[0]])

    def batch(self, rows: np.ndarray, rng: np.random.Generator | None = None) -> Batch:
        """Tensors of these pairs; ``rng`` decides which words, not marks and padding, are hidden."""
        source = pad([[*self.sources[row], EOS_ID] for row in rows])  # [B, S]
        read = pad([[SOS_ID, *self.targets[row]] for row in rows])  # [B, T]
        write = pad([[*self.targets[row], EOS_ID] for row in rows])  # [B, T]
        inputs = {"source": source, "read": read}
        if rng is not None:
            for name, ids in inputs.items():
                hidden = torch.from_numpy(rng.random(ids.shape) < self.word_dropout)
                inputs[name] = ids.masked_fill(hidden & (ids > EOS_ID), UNK_ID)
        return inputs | {"write": write}


def word_vectors(corpus: Corpus, width: int, seed: int) -> tuple[list[Tensor], dict[str, Any]]:
    """Vectors ``[V, w]`` of words (GloVe, spaCy) or subwords (word2vec), and what is recorded of them."""
    if isinstance(corpus.source, Pieces):
        vectors = subword_vectors(corpus, width, seed)
        return [vectors, vectors], {}
    spelling = accented_forms(corpus.data, corpus.part("train")[0])
    french = embeddings.french([spelling.get(word, word) for word in corpus.source.stored()])
    english = embeddings.glove(cast(Words, corpus.target).stored())
    filled, notes = [], {}
    for name, known in (("french", french), ("english", english)):
        found = torch.tensor(known.found)  # [V]
        found[: len(SPECIALS)] = False
        table = torch.tensor(known.vectors, dtype=torch.float32)  # [V, w]
        filled.append(fill(table, found, seeds.generator(seed, "vectors", name)))
        coverage = {"coverage": float(known.found[len(SPECIALS) :].mean())}
        notes[name] = coverage | known.source.as_record()
    return filled, notes


def subword_vectors(corpus: Corpus, width: int, seed: int) -> Tensor:
    """word2vec vectors ``[V, w]`` of the subwords, one space for both languages."""
    sentences = [
        [str(i) for i in ids] for side in corpus.part("train") for ids in corpus.source.encode(side)
    ]
    ids = list(map(str, range(len(corpus.source))))
    table = torch.from_numpy(word2vec.skip_gram(sentences, ids, width, seed))
    return fill(table, table.any(dim=1), seeds.generator(seed, "vectors"))


def fill(vectors: Tensor, found: Tensor, generator: torch.Generator) -> Tensor:
    """The found vectors scaled to unit variance, and random ones for the others: ``[V, w]``."""
    if bool(found.any()):
        vectors = vectors / vectors[found].std().clamp(min=1e-6)
    return torch.where(found.unsqueeze(1), vectors, torch.randn(vectors.shape, generator=generator))


def accented_forms(data: eng_fra.EnglishFrench, sentences: Sequence[str]) -> dict[str, str]:
    """Word in normal form -> its most frequent spelling with accents: ``etes`` -> ``êtes``."""
    wanted = set(sentences)
    counts = Counter[tuple[str, str]]()
    for english, raw in zip(data.english, data.french, strict=True):
        # the English side decides what belongs to the subset
        if not eng_fra.normalise(english).startswith(eng_fra.PREFIXES):
            continue
        if (normal := eng_fra.normalise(raw)) not in wanted:
            continue
        # composed letters: a letter and its accent are one character, as in the vectors
        composed = unicodedata.normalize("NFC", raw.lower().strip())
        words = re.sub(r"[^\w!?]+", " ", re.sub(r"([!?])", r" \1", composed)).split()
        if len(words) == len(normal.split()):
            counts.update(zip(normal.split(), words, strict=True))
    # of each word the last one stays: the most frequent, of equals the first in the alphabet
    return dict(sorted(sorted(counts, reverse=True), key=counts.__getitem__))
