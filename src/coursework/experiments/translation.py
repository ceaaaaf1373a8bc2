r"""Problem 2(e): French to English, an attentive recurrent network against a Transformer.

The data are the sentence pairs of the PyTorch tutorial (short sentences that begin with "i am",
"he is", ...), in the tutorial's normal form: lower case, no accents, no apostrophes. One run trains
every model of ``config.models`` on the same training pairs and judges all on the same test pairs:

* The split keeps pairs that share a sentence (directly or over a chain of pairs) on one side. A
  random split would put a sentence of half of the test pairs into the training set.
* Vocabularies come from the training pairs; every other word is ``<unk>``, which is learned by
  hiding words at random.
* The loss is the sum over real words (padding is ignored), divided by their number.
* The weights kept are those with the best validation BLEU; the test pairs are translated once.

Scores are corpus BLEU (sacreBLEU, its signature in the notes) and chrF2 against one reference in
the tutorial's normal form, so they compare with each other and not with scores on cased text. Two
baselines need no training: the source copied, and the translation of the nearest training sentence.

Letters: `B` batch, `S` source length, `T` target length, `L` length of the output, `V` vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from coursework.data.text import EOS, PAD, SOS, UNK, Vocabulary
from coursework.errors import ConfigError, DataError, TrainingError
from coursework.experiments.base import Run, as_record
from coursework.models.beam_search import Ensemble, beam_search
from coursework.models.seq2seq import Seq2Seq
from coursework.models.transformer import DecoderLayer, Transformer
from coursework.report.tables import Table
from coursework.training import checkpoints, engine, seeds

if TYPE_CHECKING:
    from coursework.data.embeddings import WordVectors
    from coursework.data.eng_fra import EnglishFrench
    from coursework.data.sources import Source
    from coursework.data.splits import Split

ModelName = Literal["rnn", "transformer"]
Embeddings = Literal["own", "pretrained"]
Network = Seq2Seq | Transformer
Pair = tuple[str, str]
"""A French and an English sentence in the tutorial's normal form."""

SPECIALS = (PAD, UNK, SOS, EOS)
PAD_ID, UNK_ID, SOS_ID, EOS_ID = range(4)
FRACTIONS = (0.90, 0.05, 0.05)
LONGEST_INPUT = 100
"""Longest sentence (in words) that :func:`predict` takes; training sentences have at most nine."""


PLAN = engine.Plan(
    epochs=30,
    learning_rate=1e-3,
    weight_decay=0.01,
    schedule="one-cycle",
    warmup=0.1,
    clip_norm=1.0,
    monitor="validation_bleu",
    mode="max",
)
"""Both models start from the same plan: warm-up, cosine to zero, the best validation BLEU is kept."""


@dataclass(frozen=True)
class Config:
    """Every number of the experiment.

    Attributes:
        models: What is trained, ``rnn`` and ``transformer``, on the same split.
        embeddings: ``own`` are learned from random numbers; ``pretrained`` start from GloVe (50
            dimensions) for English and spaCy's vectors (300 dimensions) for French, brought to the
            width of the model by a learned projection.
        freeze: Keep pre-trained vectors fixed (the projection learns in any case).
        pairs: Number of training pairs, None for all; validation and test pairs stay the same.
        split_seed: Seed of the split; runs with different seeds share the test pairs.
        split: ``component`` keeps pairs that share a sentence on one side; ``random`` does not, and
            shows what leakage is worth.
        min_count: Words that are rarer in the training pairs are unknown words.
        word_dropout: Share of words hidden (replaced by ``<unk>``) in training, in each epoch anew.
        batch_size: Sentences in a batch; those of a batch have equal source lengths.
        rnn_embedding: Width of the recurrent model's embeddings.
        rnn_hidden: Width of its states.
        rnn_dropout: Dropout on its embedded words.
        bidirectional: Whether its encoder also reads backwards.
        d_model: Width of the Transformer.
        n_heads: Its heads.
        n_layers: Layers of its encoder, and of its decoder.
        d_ff: Width of its feed-forward networks.
        dropout: Its dropout.
        norm_first: Normalise before each sub-layer (trains with less warm-up), not after as in the
            paper.
        tie_embeddings: Use its target embeddings as output layer.
        rnn_smoothing: Label smoothing of the recurrent model.
        label_smoothing: Label smoothing of the Transformer (0.1 in the paper).
        rnn_plan: Optimisation of the recurrent model.
        transformer_plan: Optimisation of the Transformer.
    """

    models: tuple[ModelName, ...] = ("rnn", "transformer")
    embeddings: Embeddings = "own"
    freeze: bool = False
    pairs: int | None = None
    split_seed: int = 0
    split: Literal["component", "random"] = "component"
    min_count: int = 1
    word_dropout: float = 0.1
    batch_size: int = 64
    rnn_embedding: int = 256
    rnn_hidden: int = 256
    rnn_dropout: float = 0.3
    bidirectional: bool = True
    d_model: int = 256
    n_heads: int = 4
    n_layers: int = 3
    d_ff: int = 512
    dropout: float = 0.3
    norm_first: bool = True
    tie_embeddings: bool = True
    rnn_smoothing: float = 0.0
    label_smoothing: float = 0.1
    rnn_plan: engine.Plan = PLAN
    transformer_plan: engine.Plan = PLAN

    def __post_init__(self) -> None:
        known = get_args(ModelName)
        if not self.models or len(set(self.models)) < len(self.models):
            raise ConfigError(f"models is {self.models}; name each of {', '.join(known)} once.")
        for model in self.models:
            if model not in known:
                raise ConfigError(f"models names {model!r}; choose from {', '.join(known)}.")
        if self.embeddings not in get_args(Embeddings):
            raise ConfigError(f"embeddings is {self.embeddings!r}; choose own or pretrained.")
        if self.split not in ("component", "random"):
            raise ConfigError(f"split is {self.split!r}; choose component or random.")
        if self.freeze and self.embeddings == "own":
            raise ConfigError("freeze is set, but only pretrained embeddings can be kept fixed.")
        positive = ("batch_size", "rnn_embedding", "rnn_hidden", "d_model", "n_heads")
        for name in (*positive, "n_layers", "d_ff", "min_count", "pairs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1.")
        for name in ("word_dropout", "rnn_dropout", "dropout", "rnn_smoothing", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must lie in [0, 1).")
        if self.d_model % self.n_heads:
            raise ConfigError(
                f"d_model is {self.d_model}, which is not a multiple of n_heads, {self.n_heads}."
            )


# ----------------------------------------------------------------------------------------- the data


@dataclass(frozen=True)
class Corpus:
    """The pairs, how they are split, and the vocabularies of the training pairs.

    Attributes:
        pairs: All pairs, French first.
        split: Rows of the three parts; the training part is cut to ``config.pairs``.
        french: Vocabulary of the source side.
        english: Vocabulary of the target side.
        data: The raw sentences.
        choices: What of the config decided it: ``split_seed``, ``split``, ``pairs``, ``min_count``.
    """

    pairs: Sequence[Pair]
    split: Split
    french: Vocabulary
    english: Vocabulary
    data: EnglishFrench
    choices: tuple[Any, ...]

    @property
    def source(self) -> Source:
        """Where the sentences came from."""
        return self.data.source

    def part(self, name: Literal["train", "validation", "test"]) -> list[Pair]:
        """The pairs of one part."""
        return [self.pairs[row] for row in getattr(self.split, name)]


def _choices(config: Config) -> tuple[Any, ...]:
    return config.split_seed, config.split, config.pairs, config.min_count


def prepare(config: Config) -> Corpus:
    """Load the pairs, split them, and count the words of the training pairs.

    Args:
        config: Decides the split, the number of training pairs and the vocabularies.

    Raises:
        DataError: If the pairs cannot be read, or are too few for three parts.
    """
    from coursework.data import eng_fra

    data = eng_fra.load()
    pairs = eng_fra.tutorial_pairs(data)
    divide = eng_fra.split_random if config.split == "random" else eng_fra.split_by_component
    split = divide(pairs, seed=config.split_seed, fractions=FRACTIONS)
    split = dataclasses.replace(split, train=split.train[: config.pairs])
    for part in ("train", "validation", "test"):
        if not len(getattr(split, part)):
            raise DataError(f"The {part} part of the sentence pairs is empty; use more pairs.")
    train = [pairs[row] for row in split.train]
    french, english = (
        Vocabulary.from_counts(
            Counter(word for pair in train for word in pair[side].split()),
            SPECIALS,
            config.min_count,
        )
        for side in (0, 1)
    )
    return Corpus(pairs, split, french, english, data, _choices(config))


def shared_with_training(pairs: Sequence[Pair], split: Split) -> dict[str, float]:
    """Share of test pairs that have a sentence in common with a training pair.

    Returns:
        ``french``, ``english`` and ``either``: the side that also occurs in the training pairs.
    """
    train = [pairs[row] for row in split.train]
    test = [pairs[row] for row in split.test]
    seen = [{pair[side] for pair in train} for side in (0, 1)]
    french = np.array([pair[0] in seen[0] for pair in test])
    english = np.array([pair[1] in seen[1] for pair in test])
    return {
        "french": float(french.mean()),
        "english": float(english.mean()),
        "either": float((french | english).mean()),
    }


@dataclass(frozen=True)
class Pretrained:
    """Vectors for the two vocabularies, ready for the models.

    Attributes:
        french: `[V_fr, 300]`; words without a vector got a random one of the same spread.
        english: `[V_en, 50]`.
        coverage: Language -> share of the vocabulary that has a pre-trained vector.
        sources: Language -> where the vectors came from.
    """

    french: Tensor
    english: Tensor
    coverage: dict[str, float]
    sources: dict[str, Source]


def accented_forms(data: EnglishFrench, sentences: Sequence[str]) -> dict[str, str]:
    """Word in the tutorial's normal form -> its most frequent spelling with accents.

    The normal form drops accents (``etes``), but word vectors are looked up by the real spelling
    (``êtes``). Only raw sentences whose normal form is in ``sentences`` are counted.

    Args:
        data: The raw sentences.
        sentences: Normalised French sentences (of the training pairs).
    """
    from coursework.data import eng_fra

    wanted = set(sentences)
    counts: dict[str, Counter[str]] = {}
    for english, raw in zip(data.english, data.french, strict=True):
        # The English side decides what belongs to the subset, and is quicker to normalise.
        if not eng_fra.normalise(english).startswith(eng_fra.PREFIXES):
            continue
        normal = eng_fra.normalise(raw)
        if normal not in wanted:
            continue
        # Composed letters, so that a letter and its accent are one character, as in the vectors.
        composed = unicodedata.normalize("NFC", raw.lower().strip())
        words = re.sub(r"[^\w!?]+", " ", re.sub(r"([!?])", r" \1", composed)).split()
        normal_words = normal.split()
        if len(words) == len(normal_words):
            for plain, accented in zip(normal_words, words, strict=True):
                counts.setdefault(plain, Counter())[accented] += 1
    return {
        plain: min(spellings, key=lambda s: (-spellings[s], s))
        for plain, spellings in sorted(counts.items())
    }


def pretrained_vectors(corpus: Corpus, seed: int = 0) -> Pretrained:
    """Look up the vectors of both vocabularies.

    Args:
        corpus: Vocabularies, training pairs, and raw sentences for the accents.
        seed: Seed of the random vectors of words that have none.
    """
    from coursework.data import embeddings

    spelling = accented_forms(corpus.data, [pair[0] for pair in corpus.part("train")])
    french_words = [spelling.get(word, word) for word in corpus.french.to_list()]
    french = embeddings.french(french_words)
    english = embeddings.glove(corpus.english.to_list())
    return Pretrained(
        _fill(french, seeds.generator(seed, "vectors", "french")),
        _fill(english, seeds.generator(seed, "vectors", "english")),
        {"french": float(french.found[4:].mean()), "english": float(english.found[4:].mean())},
        {"french": french.source, "english": english.source},
    )


def _fill(words: WordVectors, generator: torch.Generator) -> Tensor:
    """Scale the found vectors to unit variance; random ones for the others: `[V, w]`."""
    vectors = torch.from_numpy(np.array(words.vectors, dtype=np.float32))  # [V, w]
    found = torch.from_numpy(np.array(words.found, dtype=bool))  # [V]
    found[: len(SPECIALS)] = False
    if bool(found.any()):
        vectors = vectors / vectors[found].std().clamp(min=1e-6)
    noise = torch.randn(vectors.shape, generator=generator)
    return torch.where(found.unsqueeze(1), vectors, noise)


# -------------------------------------------------------------------------------------- the batches

Batch = dict[str, Tensor]
"""``source`` `[B, S]`, ``read`` `[B, T]` (from the start word), ``write`` `[B, T]` (to the end)."""


def encode_source(vocabulary: Vocabulary, sentence: str) -> list[int]:
    """Ids of the words and of the end word."""
    return [*vocabulary.encode(sentence.split()), EOS_ID]


def pad(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of ids, padded at the right: `[B, longest]`."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[PAD_ID] * (width - len(row))] for row in rows])


class Batches:
    """The batches of an epoch: a function of (seed, epoch) only.

    The pairs are shuffled, sorted by length and cut into batches whose sources are equally long, so
    sources need no padding and targets little; the batches come in random order.

    Args:
        pairs: French and English sentences.
        french: Source vocabulary.
        english: Target vocabulary.
        batch_size: Sentences in a batch.
        word_dropout: Share of words that are hidden from encoder and decoder.
        seed: Seed of shuffling and hiding.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        french: Vocabulary,
        english: Vocabulary,
        batch_size: int,
        word_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.sources = [encode_source(french, pair[0]) for pair in pairs]
        self.targets = [english.encode(pair[1].split()) for pair in pairs]
        self.batch_size = batch_size
        self.word_dropout = word_dropout
        self.seed = seed

    def __call__(self, epoch: int) -> list[Batch]:
        """The batches of ``epoch`` (from 0)."""
        rng = seeds.numpy_generator(self.seed, "batches", epoch)
        order = sorted(
            rng.permutation(len(self.sources)).tolist(),
            key=lambda row: (len(self.sources[row]), len(self.targets[row])),
        )
        groups: list[list[int]] = []
        for row in order:
            if (
                not groups
                or len(groups[-1]) == self.batch_size
                or len(self.sources[groups[-1][0]]) != len(self.sources[row])
            ):
                groups.append([])
            groups[-1].append(row)
        groups = [groups[i] for i in rng.permutation(len(groups))]
        return _Epoch(groups, [self._batch(rows, rng) for rows in groups])

    def _batch(self, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        source = pad([self.sources[row] for row in rows])  # [B, S]
        read = pad([[SOS_ID, *self.targets[row]] for row in rows])  # [B, T]
        write = pad([[*self.targets[row], EOS_ID] for row in rows])  # [B, T]
        return {"source": self._hide(source, rng), "read": self._hide(read, rng), "write": write}

    def _hide(self, ids: Tensor, rng: np.random.Generator) -> Tensor:
        if not self.word_dropout:
            return ids
        hidden = torch.from_numpy(rng.random(ids.shape) < self.word_dropout)
        return ids.masked_fill(hidden & (ids >= len(SPECIALS)), UNK_ID)


class _Epoch(list[Batch]):
    """Batches, and which pairs are in which."""

    def __init__(self, groups: list[list[int]], batches: Iterable[Batch]) -> None:
        super().__init__(batches)
        self.groups = groups

    def rows(self, index: int) -> list[int]:
        """Which pairs the batch has."""
        return self.groups[index]


def token_loss(
    model: Callable[..., Tensor], batch: Batch, smoothing: float = 0.0
) -> tuple[Tensor, int]:
    """Cross-entropy summed over the real words of a batch, and their number.

    Args:
        model: Maps (source, read) to logits.
        batch: See :data:`Batch`.
        smoothing: Label smoothing.
    """
    logits = model(batch["source"], batch["read"])  # [B, T, V]
    write = batch["write"]  # [B, T]
    total = F.cross_entropy(
        logits.flatten(0, 1).float(),
        write.flatten(),
        ignore_index=PAD_ID,
        reduction="sum",
        label_smoothing=smoothing,
    )
    return total, int((write != PAD_ID).sum())


# --------------------------------------------------------------------------------------- the models


def build(
    config: Config,
    name: ModelName,
    french: int,
    english: int,
    vectors: tuple[Tensor, Tensor] | None = None,
) -> Network:
    """An untrained model.

    Args:
        config: Sizes.
        name: Which one.
        french: Number of source words.
        english: Number of target words.
        vectors: Pre-trained embeddings of both sides.
    """
    source_vectors, target_vectors = vectors if vectors is not None else (None, None)
    if name == "rnn":
        return Seq2Seq(
            french,
            english,
            config.rnn_embedding,
            config.rnn_hidden,
            config.rnn_dropout,
            PAD_ID,
            bidirectional=config.bidirectional,
            src_pretrained=source_vectors,
            tgt_pretrained=target_vectors,
        )
    return Transformer(
        french,
        english,
        config.d_model,
        config.n_heads,
        config.n_layers,
        config.n_layers,
        config.d_ff,
        config.dropout,
        pad_idx=PAD_ID,
        norm_first=config.norm_first,
        tie_embeddings=config.tie_embeddings,
        src_pretrained=source_vectors,
        tgt_pretrained=target_vectors,
    )


def _longest(source: Tensor) -> int:
    """Longest translation of sources `[B, S]`."""
    return source.shape[1] + source.shape[1] // 2 + 5


def _greedy(model: Network, source: Tensor) -> Tensor:
    """Greedy translation of a batch: `[B, S]` -> `[B, L]`."""
    return beam_search(
        model, source, width=1, max_length=_longest(source), sos=SOS_ID, eos=EOS_ID, pad=PAD_ID
    ).words


def translate(
    model: Network | Ensemble,
    french: Vocabulary,
    english: Vocabulary,
    sentences: Sequence[str],
    batch_size: int = 256,
    *,
    beam: int = 1,
    alpha: float = 1.0,
) -> list[str]:
    """Translate normalised French sentences, in their order.

    Args:
        model: A trained model, or several as one (which needs no greedy method of its own).
        french: Source vocabulary.
        english: Target vocabulary.
        sentences: Sentences in the tutorial's normal form.
        batch_size: Sentences translated at a time; those of a batch are of similar length.
        beam: Width of the beam; 1 is greedy.
        alpha: Exponent of the length penalty of beam search.
    """
    members = model.models if isinstance(model, Ensemble) else [model]
    device = next(cast(torch.nn.Module, members[0]).parameters()).device
    rows = [encode_source(french, sentence) for sentence in sentences]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    result = [""] * len(rows)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        source = pad([rows[i] for i in chosen]).to(device)  # [B, S]
        if beam == 1 and not isinstance(model, Ensemble):
            output = _greedy(model, source)  # [B, L]
        else:
            output = beam_search(
                model, source, width=beam, max_length=_longest(source), sos=SOS_ID, eos=EOS_ID,
                pad=PAD_ID, alpha=alpha,
            ).words  # fmt: skip
        for i, ids in zip(chosen, output.tolist(), strict=True):
            words = ids[: ids.index(EOS_ID)] if EOS_ID in ids else ids
            result[i] = " ".join(english.decode(w for w in words if w >= len(SPECIALS)))
    return result


@dataclass(frozen=True)
class Alignment:
    """Where the decoder looked while it wrote.

    Attributes:
        source: Source words, the end word included, `S` of them.
        output: Words written, the end word included, `L` of them.
        weights: `[L, S]`; row t are the weights while word t was chosen, averaged over heads.
    """

    source: list[str]
    output: list[str]
    weights: Tensor


@torch.no_grad()
def cross_attention(model: Transformer, source: Tensor, output: Tensor) -> Tensor:
    """Attention to the source while each word of an output was chosen: `[L, S]`.

    The weights of the last decoder layer, averaged over its heads.

    Args:
        model: In eval mode.
        source: Ids of the source, `[1, S]`.
        output: Ids of the output, the end word included, `[1, L]`.
    """
    cross = cast(DecoderLayer, model.decoder.layers[-1]).cross_attention
    kept: list[tuple[Any, ...]] = []
    # The layer computes without keeping its weights; its inputs are caught and used once more.
    hook = cross.register_forward_pre_hook(lambda _, inputs: kept.append(inputs))
    model(source, torch.cat([torch.tensor([[SOS_ID]]), output[:, :-1]], dim=1))
    hook.remove()
    _, per_head = cross(*kept[0], need_weights=True)  # [1, h, L, S]
    weights: Tensor = per_head[0].mean(dim=0)
    return weights


@torch.no_grad()
def align(model: Network, french: Vocabulary, english: Vocabulary, sentence: str) -> Alignment:
    """Translate one normalised sentence and return the attention to the source.

    For the Transformer the weights are those of the last decoder layer, averaged over its heads.
    """
    model.eval()
    source = torch.tensor([encode_source(french, sentence)])  # [1, S]
    output = _greedy(model, source)  # [1, L]
    if isinstance(model, Seq2Seq):
        read = torch.cat([torch.tensor([[SOS_ID]]), output[:, :-1]], dim=1)  # [1, L]
        weights = model.attend(source, read)[1][0]
    else:
        weights = cross_attention(model, source, output)
    return Alignment(french.decode(source[0].tolist()), english.decode(output[0].tolist()), weights)


# --------------------------------------------------------------------------------------- the scores


def signatures() -> dict[str, str]:
    """The signatures of the scores, for reproduction."""
    from sacrebleu.metrics import BLEU, CHRF

    result = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        metric.corpus_score(["a"], [["a"]])  # the number of references belongs to the signature
        result[name] = str(metric.get_signature())
    return result


def score(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Corpus BLEU and chrF2 (0 to 100) and the share of sentences that are met exactly.

    Args:
        hypotheses: Translations.
        references: One reference each.
    """
    from sacrebleu.metrics import BLEU, CHRF

    return {
        "bleu": float(BLEU().corpus_score(hypotheses, [references]).score),
        "chrf": float(CHRF().corpus_score(hypotheses, [references]).score),
        "exact_match": float(
            np.mean([h == r for h, r in zip(hypotheses, references, strict=True)])
        ),
    }


def sentence_chrf(hypothesis: str, reference: str) -> float:
    """chrF2 of one sentence, 0 to 100."""
    from sacrebleu.metrics import CHRF

    return float(CHRF().sentence_score(hypothesis, [reference]).score)


def intervals(
    hypotheses: Sequence[str], references: Sequence[str], samples: int = 1000
) -> dict[str, tuple[float, float, str]]:
    """95 % intervals of BLEU and chrF over test sentences, by sacreBLEU's bootstrap."""
    from sacrebleu.metrics import BLEU, CHRF

    result = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        scored = cast(Any, metric.corpus_score(hypotheses, [references], n_bootstrap=samples))
        mean, half = float(scored._mean), float(scored._ci)
        result[name] = (mean - half, mean + half, f"bootstrap, {len(references)} sentences")
    return result


def copy_source(sentences: Sequence[str]) -> list[str]:
    """Baseline: the French sentence itself."""
    return list(sentences)


def nearest_in_memory(train: Sequence[Pair], sentences: Sequence[str]) -> list[str]:
    """Baseline: the translation of the training sentence that shares most words.

    Similarity is the Jaccard index of the sets of words; of equally near sentences the first in the
    training order is taken.

    Args:
        train: Training pairs.
        sentences: French sentences to translate.
    """
    from scipy.sparse import csr_matrix

    words = {word: i for i, word in enumerate(dict.fromkeys(" ".join(f for f, _ in train).split()))}

    def bags(texts: Sequence[str]) -> tuple[Any, np.ndarray]:
        sets = [sorted(set(text.split())) for text in texts]
        known = [[words[w] for w in s if w in words] for s in sets]
        ends = np.cumsum([0, *map(len, known)])
        columns = np.array([c for row in known for c in row], dtype=np.int64)
        ones = np.ones(len(columns), dtype=np.float32)
        matrix = csr_matrix((ones, columns, ends), shape=(len(texts), len(words)))
        return matrix, np.array([len(s) for s in sets], dtype=np.float32)

    memory, memory_sizes = bags([french for french, _ in train])
    wanted, sizes = bags(sentences)
    nearest: list[int] = []
    for start in range(0, len(sentences), 256):  # a block at a time: the whole does not fit
        block = slice(start, start + 256)
        common = (wanted[block] @ memory.T).toarray()  # [block, train]
        union = sizes[block, None] + memory_sizes[None, :] - common
        nearest += (common / np.maximum(union, 1)).argmax(axis=1).tolist()
    return [train[row][1] for row in nearest]


def paired_bootstrap(
    first: Sequence[str], second: Sequence[str], references: Sequence[str], samples: int = 1000
) -> float:
    """p-value of the difference in BLEU of two systems: paired bootstrap (Koehn, 2004).

    Two systems that translate everything alike have the p-value one.
    """
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    if list(first) == list(second):
        return 1.0  # the library compares zero with zero there, and calls it significant
    test = PairedTest(
        [("first", first), ("second", second)],
        {"BLEU": BLEU()},
        [list(references)],
        test_type="bs",
        n_samples=samples,
    )
    _, scores = test()
    return float(cast(Any, scores["BLEU"][1]).p_value)


def _teacher_forced(model: Network, batches: Sequence[Batch]) -> dict[str, float]:
    """Loss and accuracy of the next word given the true words before it, per real word."""
    device = next(model.parameters()).device
    total, correct, count = 0.0, 0, 0
    for batch in batches:
        batch = {key: value.to(device) for key, value in batch.items()}
        logits = model(batch["source"], batch["read"])  # [B, T, V]
        real = batch["write"] != PAD_ID  # [B, T]
        total += float(F.cross_entropy(logits[real].float(), batch["write"][real], reduction="sum"))
        correct += int((logits.argmax(dim=2) == batch["write"])[real].sum())
        count += int(real.sum())
    return {"loss": total / count, "token_accuracy": correct / count}


def _judge(
    model: Network, corpus: Corpus, part: Literal["validation", "test"]
) -> tuple[dict[str, float], list[str]]:
    """All scores of a model on one part, and its translations."""
    pairs = corpus.part(part)
    model.eval()
    with torch.no_grad():
        forced = _teacher_forced(model, Batches(pairs, corpus.french, corpus.english, 256)(0))
    translations = translate(model, corpus.french, corpus.english, [f for f, _ in pairs])
    return forced | score(translations, [e for _, e in pairs]), translations


# ------------------------------------------------------------------------------------- the training


def train(
    config: Config,
    *,
    preset: str = "custom",
    seed: int = 0,
    resume: bool = False,
    run_dir: Path | None = None,
    log: Callable[[str], None] | None = print,
    corpus: Corpus | None = None,
) -> Run:
    """Train every model of the config on the same pairs and judge it on the test pairs.

    Args:
        config: Every number of the run.
        preset: Name of the preset it came from.
        seed: Seed of the weights, the batches and the dropout; the split has its own.
        resume: Go on from the checkpoints in ``run_dir``.
        run_dir: Folder for checkpoints, one sub-folder for each model.
        log: Where lines go, None for silence.
        corpus: What :func:`prepare` gave for this config; prepared here if left out.

    Returns:
        The run. Metrics are ``MODEL.test_bleu``, ``.test_chrf``, ``.test_exact_match``,
        ``.test_token_accuracy`` and the same with ``validation_``, for the models, and the first
        three for the baselines ``copy`` and ``memory`` (the nearest training sentence). Artefacts:
        ``corpus``, ``translators`` (one :class:`Translator` for each model), ``translations``.

    Raises:
        ConfigError: If the corpus was prepared for another config.
    """
    started = time.perf_counter()
    corpus = prepare(config) if corpus is None else corpus
    if corpus.choices != _choices(config):
        raise ConfigError(
            f"The corpus was prepared with (split_seed, split, pairs, min_count) = {corpus.choices}, the "
            f"config has {_choices(config)}; prepare it with this config."
        )
    vectors: Pretrained | None = None
    if config.embeddings == "pretrained":
        vectors = pretrained_vectors(corpus, seed)
    metrics: dict[str, float] = {}
    notes = _notes(corpus, vectors)
    curves: dict[str, list[dict[str, float]]] = {}
    models: dict[ModelName, Network] = {}
    for name in config.models:  # every choice is made on the validation pairs
        model, record = fit_network(config, name, corpus, vectors, seed, resume, run_dir, log)
        validation, _ = _judge(model, corpus, "validation")
        metrics |= {f"{name}.validation_{key}": value for key, value in validation.items()}
        models[name], curves[name] = model, record.history
        notes["models"][name] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "seconds": record.seconds,
            "tokens_per_second": record.samples_per_second,
            "best_epoch": record.best_epoch,
            "precision": record.precision,
            "device": record.device,
        }

    # Everything is chosen; from here on the test pairs are looked at, once.
    test = corpus.part("test")
    references = [english for _, english in test]
    translations: dict[str, list[str]] = {
        "copy": copy_source([french for french, _ in test]),
        "memory": nearest_in_memory(corpus.part("train"), [french for french, _ in test]),
    }
    for baseline, sentences in sorted(translations.items()):
        scores = score(sentences, references)
        metrics |= {f"{baseline}.test_{key}": value for key, value in scores.items()}
    for trained, model in models.items():
        scores, translations[trained] = _judge(model, corpus, "test")
        metrics |= {f"{trained}.test_{key}": value for key, value in scores.items()}
        for key, interval in intervals(translations[trained], references).items():
            notes["intervals"][f"{trained}.test_{key}"] = interval
    if len(models) == 2:
        notes["paired_bootstrap_p"] = paired_bootstrap(
            translations["rnn"], translations["transformer"], references
        )
    return Run(
        experiment="translation",
        preset=preset,
        config=config,
        seed=seed,
        metrics=metrics,
        source=corpus.source,
        seconds=time.perf_counter() - started,
        curves=curves,
        notes=notes,
        artefacts={
            "corpus": corpus,
            "translators": {
                name: Translator(name, config, model, corpus.french, corpus.english)
                for name, model in models.items()
            },
            "translations": translations,
        },
    )


def _notes(corpus: Corpus, vectors: Pretrained | None) -> dict[str, Any]:
    test_words = [word for french, _ in corpus.part("test") for word in french.split()]
    notes: dict[str, Any] = {
        "pairs": dict(zip(("train", "validation", "test"), corpus.split.sizes, strict=True)),
        "vocabulary": {"french": len(corpus.french), "english": len(corpus.english)},
        "test_words_unknown": float(np.mean([word not in corpus.french for word in test_words])),
        "text": "lower case, no accents, apostrophes as spaces (the tutorial's normal form)",
        "signatures": signatures(),
        "models": {},
        "intervals": {},
    }
    if vectors is not None:
        notes["pretrained"] = {
            language: {"coverage": vectors.coverage[language]}
            | vectors.sources[language].as_record()
            for language in ("french", "english")
        }
    return notes


def fit_network(
    config: Config,
    name: ModelName,
    corpus: Corpus,
    vectors: Pretrained | None,
    seed: int,
    resume: bool,
    run_dir: Path | None,
    log: Callable[[str], None] | None,
) -> tuple[Network, engine.Fit]:
    """Train one model of the config.

    Args:
        config: Every number.
        name: Which model.
        corpus: What :func:`prepare` gave for the config.
        vectors: Pre-trained vectors of both vocabularies, or None.
        seed: Seed of the weights, the batches and the dropout.
        resume: Go on from the checkpoints in ``run_dir``.
        run_dir: Folder of the run; the model's own is in it.
        log: Where lines go, None for silence.
    """
    plan = config.rnn_plan if name == "rnn" else config.transformer_plan
    smoothing = config.rnn_smoothing if name == "rnn" else config.label_smoothing
    matrices = None if vectors is None else (vectors.french, vectors.english)
    # Seeded before each model, so that a model does not depend on which others are trained.
    seeds.seed_everything(seeds.derive(seed, name) % 2**32)
    model = build(config, name, len(corpus.french), len(corpus.english), matrices)
    record = as_record(config)

    def validate(_: Any) -> dict[str, float]:
        scores, _translations = _judge(model, corpus, "validation")
        return {f"validation_{key}": scores[key] for key in ("loss", "bleu")}

    if log is not None:
        parameters = sum(p.numel() for p in model.parameters())
        log(f"{name}, {config.embeddings} embeddings: {parameters:,} parameters")
    fitted = engine.fit(
        model,
        plan,
        batches=Batches(
            corpus.part("train"),
            corpus.french,
            corpus.english,
            config.batch_size,
            config.word_dropout,
            seed,
        ),
        loss=lambda network, batch: token_loss(network, batch, smoothing),
        validate=validate,
        run_dir=None if run_dir is None else Path(run_dir) / name,
        resume=resume,
        identity={"experiment": "translation", "config": record, "seed": seed, "model": name},
        bundle={
            "experiment": "translation",
            "model": name,
            "config": record,
            "seed": seed,
            "french": corpus.french.to_list(),
            "english": corpus.english.to_list(),
            "widths": None if matrices is None else [m.shape[1] for m in matrices],
        },
        log=log,
        log_every=math.ceil(plan.epochs / 10),
    )
    return model, fitted


# ------------------------------------------------------------------------------- trained models


@dataclass(frozen=True)
class Translator:
    """A trained model with its vocabularies: call it with a French sentence.

    Attributes:
        name: ``rnn`` or ``transformer``.
        config: The config that it was trained with.
        model: The network, in eval mode.
        french: Source vocabulary.
        english: Target vocabulary.
    """

    name: ModelName
    config: Config
    model: Network
    french: Vocabulary
    english: Vocabulary

    def __call__(self, sentence: str) -> str:
        """Translate one French sentence, written as people write it.

        Raises:
            DataError: If there is no word in it, or it is too long.
        """
        return translate(self.model, self.french, self.english, [normal_form(sentence)])[0]

    def align(self, sentence: str) -> Alignment:
        """Translate one sentence and return the attention to its words; see :func:`align`.

        Raises:
            DataError: If there is no word in it, or it is too long.
        """
        return align(self.model, self.french, self.english, normal_form(sentence))


def normal_form(sentence: str) -> str:
    """A sentence in the tutorial's normal form: lower case, no accents, apostrophes as spaces.

    Raises:
        DataError: If it is no text, no word is left, or it is too long.
    """
    from coursework.data import eng_fra

    if not isinstance(sentence, str):
        raise DataError(f"A sentence must be text, not {type(sentence).__name__}.")
    normal = eng_fra.normalise(sentence)
    words = normal.split()
    if not any(word.isalpha() for word in words):
        raise DataError("The sentence has no French word in it; write one in Latin letters.")
    if len(words) > LONGEST_INPUT:
        raise DataError(
            f"The sentence has {len(words)} words; translate at most {LONGEST_INPUT} at a time."
        )
    return normal


def checkpoint_files(checkpoint: Path) -> list[Path]:
    """The checkpoint itself, or the ``best.pt`` of every model of a run's folder.

    Raises:
        TrainingError: If there is none.
    """
    checkpoint = Path(checkpoint)
    if not checkpoint.is_dir():
        return [checkpoint]
    found = [checkpoint / name / "best.pt" for name in ("transformer", "rnn")]
    found = [path for path in (checkpoint / "best.pt", *found) if path.is_file()]
    if not found:
        raise TrainingError(f"There is no best.pt in {checkpoint}; train first, or name a file.")
    return found


def load(checkpoint: Path) -> Translator:
    """Read a trained model.

    Args:
        checkpoint: A ``best.pt``, or the folder of a run (the Transformer's, if it has one).

    Raises:
        TrainingError: If the file is missing or broken, or belongs to another experiment.
    """
    path = checkpoint_files(checkpoint)[0]
    state = checkpoints.load(path)
    bundle = state.get("bundle")
    if not isinstance(bundle, Mapping) or bundle.get("experiment") != "translation":
        raise TrainingError(f"Checkpoint {path} is not one of the translation experiment.")
    with checkpoints.fitting(path, "translation"):
        config = _config_from(bundle["config"])
        french = Vocabulary.from_list(bundle["french"], SPECIALS)
        english = Vocabulary.from_list(bundle["english"], SPECIALS)
        vectors = None
        if bundle["widths"] is not None:
            shapes = zip((french, english), bundle["widths"], strict=True)
            vectors = cast(
                tuple[Tensor, Tensor], tuple(torch.zeros(len(words), w) for words, w in shapes)
            )
        model = build(config, bundle["model"], len(french), len(english), vectors)
        model.load_state_dict(state["model"])
    return Translator(bundle["model"], config, model.eval(), french, english)


def _config_from(record: Mapping[str, Any]) -> Config:
    plans = {key: engine.Plan(**record[key]) for key in ("rnn_plan", "transformer_plan")}
    return Config(**{**record, **plans, "models": tuple(record["models"])})


def evaluate(checkpoint: Path) -> dict[str, float]:
    """Test scores of a trained model, under the names that :func:`train` gives them.

    Args:
        checkpoint: A ``best.pt``, or the folder of a run for all its models.

    Raises:
        TrainingError: If a file is missing or broken.
    """
    metrics: dict[str, float] = {}
    for path in checkpoint_files(checkpoint):
        trained = load(path)
        corpus = prepare(trained.config)
        if (trained.french, trained.english) != (corpus.french, corpus.english):
            raise TrainingError(
                f"Checkpoint {path} was trained on other sentence pairs than the ones in use "
                f"({corpus.source.label}); evaluate it where its data are."
            )
        scores, _ = _judge(trained.model, corpus, "test")
        metrics |= {f"{trained.name}.test_{key}": value for key, value in scores.items()}
    return metrics


def predict(sentence: str, checkpoint: Path) -> str:
    """Translate a French sentence with a trained model.

    Args:
        sentence: As people write it, with capitals, accents, apostrophes, unknown words.
        checkpoint: A ``best.pt``, or the folder of a run (its Transformer, if it has one).

    Raises:
        DataError: If the sentence has no word, or too many.
        TrainingError: If the checkpoint is missing or broken.
    """
    normal_form(sentence)  # a bad sentence is told before the file is read
    return load(checkpoint)(sentence)


# ------------------------------------------------------------------------------------ comparison


_WORDS: Mapping[str, str] = {"rnn": "recurrent model", "transformer": "Transformer"}
_BASELINES: Mapping[str, str] = {"memory": "nearest training sentence", "copy": "source copied"}


@dataclass(frozen=True)
class Outcome:
    """What a comparison needs of a run, be it live or recorded.

    Attributes:
        metrics: Name -> value (the mean over seeds of a recorded result).
        intervals: Metric -> low and high end of its 95 % interval, where there is one.
        models: Model -> parameters and training seconds.
    """

    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    models: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, result: Run | Mapping[str, Any]) -> Outcome:
        """The outcome of a run, or of a record from the results store."""
        if isinstance(result, Run):
            spans = {key: (low, high) for key, (low, high, _) in result.notes["intervals"].items()}
            return cls(result.metrics, spans, result.notes["models"])
        metrics = result["metrics"]
        return cls(
            {key: summary["mean"] for key, summary in metrics.items()},
            # what no seed changes, the baselines, has no interval over seeds
            {
                key: (s["low"], s["high"])
                for key, s in metrics.items()
                if "low" in s and s["low"] < s["high"]
            },
            result["notes"]["models"],
        )


def comparison(outcomes: Mapping[str, Outcome], caption: str = "") -> Table:
    """Models by embeddings, and the baselines, as a table.

    Args:
        outcomes: Kind of embeddings -> outcome.
        caption: Line above the table.
    """
    rows: list[tuple[Any, ...]] = []

    def add(label: str, key: str, embeddings: str | None, outcome: Outcome) -> None:
        value = {name.removeprefix(f"{key}.test_"): v for name, v in outcome.metrics.items()}
        low, high = outcome.intervals.get(f"{key}.test_bleu", (None, None))
        notes = outcome.models.get(key, {})
        accuracy = value.get("token_accuracy")
        rows.append(
            (
                label,
                embeddings,
                notes.get("parameters"),
                f"{value['bleu']:.1f}",
                None if low is None else f"{low:.1f} to {high:.1f}",
                f"{value['chrf']:.1f}",
                f"{value['exact_match']:.1%}",
                None if accuracy is None else f"{accuracy:.1%}",
                f"{notes['seconds']:.0f}" if "seconds" in notes else None,
            )
        )

    for embeddings, outcome in outcomes.items():
        for name in outcome.models:
            add(_WORDS[name], name, embeddings, outcome)
    for name, words in _BASELINES.items():
        add(words, name, None, next(iter(outcomes.values())))
    columns = ["model", "embeddings", "parameters", "BLEU", "95 % interval", "chrF2"]
    return Table([*columns, "exact match", "next word right", "training (s)"], rows, caption)


def verdict(outcomes: Mapping[str, Outcome]) -> str:
    """The comparison in words, computed from the numbers.

    Args:
        outcomes: Kind of embeddings (the first is what the others are compared with) -> outcome.
    """
    first, *others = outcomes
    base = outcomes[first]
    bleu = {
        (name, kind): outcome.metrics[f"{name}.test_bleu"]
        for kind, outcome in outcomes.items()
        for name in outcome.models
    }
    order = sorted(base.models, key=lambda name: -bleu[name, first])
    scores = ", ".join(f"{_WORDS[name]} {bleu[name, first]:.1f}" for name in order)
    memory = base.metrics["memory.test_bleu"]
    above = [_WORDS[name] for name in order if bleu[name, first] > memory]
    text = (
        f"BLEU with {first} embeddings, the better first: {scores}. Above the nearest training "
        f"sentence ({memory:.1f}): {' and '.join(above) if above else 'neither'}."
    )
    for kind in others:
        changes = [
            f"{_WORDS[name]} {bleu[name, kind] - bleu[name, first]:+.1f}"
            for name in base.models
            if (name, kind) in bleu
        ]
        text += f" With {kind} embeddings instead: {', '.join(changes)}."
    return text


def _presets() -> dict[str, Config]:
    full = Config()
    by_loss = dataclasses.replace(PLAN, monitor="validation_loss", mode="min")
    quick = Config(
        pairs=3000,
        batch_size=32,
        word_dropout=0.05,
        rnn_embedding=64,
        rnn_hidden=96,
        rnn_dropout=0.1,
        d_model=64,
        n_heads=2,
        n_layers=1,
        d_ff=128,
        dropout=0.1,
        rnn_plan=dataclasses.replace(by_loss, epochs=3, learning_rate=5e-3),
        transformer_plan=dataclasses.replace(by_loss, epochs=4, learning_rate=6e-3),
    )
    # The tutorial's network and optimisation, on our split and with our loss. It stops once the best
    # epoch, which is what counts here, is fifteen behind.
    tutorial = Config(
        models=("rnn",),
        word_dropout=0.0,
        batch_size=32,
        rnn_embedding=128,
        rnn_hidden=128,
        rnn_dropout=0.1,
        bidirectional=False,
        rnn_plan=engine.Plan(
            epochs=80,
            learning_rate=1e-3,
            optimizer="adam",
            patience=15,
            monitor="validation_bleu",
            mode="max",
        ),
    )
    presets = {
        name: config
        for size, own in (("quick", quick), ("full", full))
        for name, config in (
            (size, own),
            (f"{size}-pretrained", dataclasses.replace(own, embeddings="pretrained")),
        )
    }
    return {
        **presets,
        "tutorial": tutorial,
        "tutorial-leaky": dataclasses.replace(tutorial, split="random"),
    }


PRESETS: Mapping[str, Config] = _presets()
"""``quick`` and ``full``, each with a twin ``-pretrained`` that differs in the embeddings only; the
tutorial's own network, on our split and on the naive one."""
