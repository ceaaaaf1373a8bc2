r"""Problem 2(e) on all 135,842 pairs: French to English as people write it, in subwords.

:mod:`.translation` works on the tutorial's subset in its bare normal form. Here the sentences keep
their case, accents and punctuation, and scores are those that the literature reports.

* Pairs that share a sentence in either language (compared without case, accents and punctuation),
  directly or over others, are on one side of the split.
* One subword vocabulary for both languages, learned from the training sentences; source, target and
  output layer share one matrix.
* Batches have a budget of tokens, not of sentences, and hold sentences of similar length.
* The weights kept are those with the lowest validation loss. The test pairs are translated once,
  greedily and by beam search.

Scores are corpus BLEU and chrF2 of sacreBLEU (signatures in the notes), against one reference, and
against all references of the data for the sources that have several translations.

Letters: `B` batch, `S` source length, `T` target length, `V` vocabulary.
"""

from __future__ import annotations

import dataclasses
import re
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from coursework.data.subwords import EOS_ID, PAD_ID, SOS_ID, UNK_ID, Subwords, learn
from coursework.errors import ConfigError, DataError, TrainingError
from coursework.experiments import translation, word2vec
from coursework.experiments.base import Run, as_record
from coursework.models.beam_search import beam_search
from coursework.models.seq2seq import Seq2Seq
from coursework.models.transformer import Transformer
from coursework.training import checkpoints, engine, seeds

if TYPE_CHECKING:
    from coursework.data.eng_fra import EnglishFrench
    from coursework.data.splits import Split

FRACTIONS = (0.90, 0.05, 0.05)
LONGEST_INPUT = 100
"""Longest piece of text (in subwords) that is translated at a time, of the order of the longest
training sentence."""
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+")

Network = Seq2Seq | Transformer

PLAN = engine.Plan(
    epochs=10,
    learning_rate=1.5e-3,
    weight_decay=0.01,
    schedule="one-cycle",
    warmup=0.08,
    clip_norm=1.0,
    monitor="validation_loss",
    mode="min",
)


@dataclass(frozen=True)
class Config:
    """Every number of the experiment.

    Attributes:
        model: ``rnn`` (GRU with Bahdanau attention) or ``transformer``.
        embeddings: ``own`` are learned from random numbers; ``pretrained`` start from word2vec vectors
            of the subwords, trained on the training sentences of both languages.
        pairs: Number of training pairs, None for all; validation and test pairs stay the same.
        split_seed: Seed of the split; runs with different seeds share the test pairs.
        split: ``component`` keeps pairs that share a sentence on one side; ``random`` does not, and
            shows what leakage is worth.
        vocabulary: Number of subwords, shared by both languages.
        tokens: Subwords in a batch, source and target, padding included.
        word_dropout: Share of subwords hidden (replaced by ``<unk>``) in training.
        d_model: Width of the embeddings, and of the Transformer.
        n_heads: Heads of the Transformer.
        encoder_layers: Depth of its encoder.
        decoder_layers: Depth of its decoder; decoding time grows with it, so it is the smaller one.
        d_ff: Width of its feed-forward networks.
        hidden: Width of the states of the recurrent model.
        dropout: Dropout.
        label_smoothing: Label smoothing.
        beam: Width of the beam for the test pairs.
        alpha: Exponent of the length penalty.
        plan: Optimisation.
    """

    model: translation.ModelName = "transformer"
    embeddings: translation.Embeddings = "own"
    pairs: int | None = None
    split_seed: int = 0
    split: Literal["component", "random"] = "component"
    vocabulary: int = 4000
    tokens: int = 3000
    word_dropout: float = 0.0
    d_model: int = 256
    n_heads: int = 4
    encoder_layers: int = 3
    decoder_layers: int = 2
    d_ff: int = 768
    hidden: int = 256
    dropout: float = 0.1
    label_smoothing: float = 0.1
    beam: int = 5
    alpha: float = 1.0
    plan: engine.Plan = PLAN

    def __post_init__(self) -> None:
        for name in ("model", "embeddings", "split"):
            known = {
                "model": get_args(translation.ModelName),
                "embeddings": get_args(translation.Embeddings),
                "split": ("component", "random"),
            }[name]
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; choose from {', '.join(known)}."
                )
        positive = ("tokens", "d_model", "n_heads", "encoder_layers", "decoder_layers", "d_ff")
        for name in (*positive, "hidden", "beam", "pairs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1.")
        for name in ("word_dropout", "dropout", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must lie in [0, 1).")
        if self.alpha < 0:
            raise ConfigError(f"alpha is {self.alpha}; it must not be negative.")
        if self.d_model % self.n_heads:
            raise ConfigError(
                f"d_model is {self.d_model}, which is not a multiple of n_heads, {self.n_heads}."
            )


# ----------------------------------------------------------------------------------------- the data


@dataclass(frozen=True)
class Corpus:
    """The pairs, how they are split, and the subwords of the training pairs.

    Attributes:
        data: The raw sentences.
        split: Rows of the three parts; the training part is cut to ``config.pairs``.
        subwords: The shared vocabulary.
        french: Ids of each French sentence.
        english: Ids of each English sentence.
        choices: What of the config decided it.
    """

    data: EnglishFrench
    split: Split
    subwords: Subwords
    french: list[list[int]]
    english: list[list[int]]
    choices: tuple[Any, ...]

    def rows(self, part: str) -> np.ndarray:
        """Rows of one part."""
        rows: np.ndarray = getattr(self.split, part)
        return rows


def _choices(config: Config) -> tuple[Any, ...]:
    return config.split_seed, config.split, config.pairs, config.vocabulary


def sentence_keys(sentences: Sequence[str]) -> list[str]:
    """What makes two sentences the same: the letters, without case, accents and punctuation."""
    from coursework.data import eng_fra

    return [eng_fra.normalise(sentence) or sentence for sentence in sentences]


def prepare(config: Config) -> Corpus:
    """Load the pairs, split them, learn the subwords, and cut all sentences into them.

    Raises:
        DataError: If the pairs cannot be read, or are too few for three parts.
        ConfigError: If the vocabulary does not fit the text.
    """
    from coursework.data import eng_fra

    data = eng_fra.load()
    if config.split == "component":
        keys = list(zip(sentence_keys(data.french), sentence_keys(data.english), strict=True))
        split = eng_fra.split_by_component(keys, seed=config.split_seed, fractions=FRACTIONS)
    else:
        split = eng_fra.split_random(
            list(zip(data.french, data.english, strict=True)), config.split_seed, FRACTIONS
        )
    split = dataclasses.replace(split, train=split.train[: config.pairs])
    for part in ("train", "validation", "test"):
        if not len(getattr(split, part)):
            raise DataError(f"The {part} part of the sentence pairs is empty; use more pairs.")
    subwords = learn(
        [side[row] for row in split.train for side in (data.french, data.english)],
        config.vocabulary,
    )
    return Corpus(
        data,
        split,
        subwords,
        subwords.encode(data.french),
        subwords.encode(data.english),
        _choices(config),
    )


def references(corpus: Corpus, rows: np.ndarray) -> list[list[str]]:
    """All English sentences that the data give for the French sentence of each row.

    They are all on the same side of a split by component. The row's own comes first.
    """
    known: dict[str, list[str]] = {}
    for french, english in zip(corpus.data.french, corpus.data.english, strict=True):
        known.setdefault(french, []).append(english)
    found = []
    for row in rows:
        own = corpus.data.english[row]
        others = [e for e in dict.fromkeys(known[corpus.data.french[row]]) if e != own]
        found.append([own, *others])
    return found


# -------------------------------------------------------------------------------------- the batches


class Batches:
    """The batches of an epoch: a function of (seed, epoch) only.

    The pairs are shuffled, sorted by their longer side, and cut where the padded batch would exceed
    the budget of tokens; the batches come in random order.

    Args:
        sources: Ids of the source sentences.
        targets: Ids of the target sentences.
        tokens: Budget of a batch, source and target, padding included.
        word_dropout: Share of subwords that are hidden from encoder and decoder.
        seed: Seed of shuffling and hiding.
    """

    def __init__(
        self,
        sources: Sequence[list[int]],
        targets: Sequence[list[int]],
        tokens: int,
        word_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.sources, self.targets = sources, targets
        self.tokens = tokens
        self.word_dropout = word_dropout
        self.seed = seed
        self.lengths = np.array(
            [(len(s) + 1, len(t) + 1) for s, t in zip(sources, targets, strict=True)]
        ).reshape(-1, 2)  # [n, 2]

    def groups(self, epoch: int) -> list[np.ndarray]:
        """Which pairs are in which batch."""
        rng = seeds.numpy_generator(self.seed, "batches", epoch)
        order = rng.permutation(len(self.sources))
        lengths = self.lengths[order]
        # Similar lengths on both sides: by the longer one, and by the other within it.
        order = order[np.lexsort((lengths.min(axis=1), lengths.max(axis=1)))]
        groups, start, widest = [], 0, np.zeros(2, dtype=int)
        for i, row in enumerate(order):
            wider = np.maximum(widest, self.lengths[row])
            if i > start and wider.sum() * (i + 1 - start) > self.tokens:
                groups.append(order[start:i])
                start, wider = i, self.lengths[row]
            widest = wider
        groups.append(order[start:])
        return [groups[i] for i in rng.permutation(len(groups))]

    def __call__(self, epoch: int) -> Sequence[translation.Batch]:
        """The batches of ``epoch`` (from 0), made when they are asked for."""
        return _Lazy(self, self.groups(epoch), epoch)

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> translation.Batch:
        """Tensors of these pairs."""
        source = translation.pad([[*self.sources[row], EOS_ID] for row in rows])  # [B, S]
        read = translation.pad([[SOS_ID, *self.targets[row]] for row in rows])  # [B, T]
        write = translation.pad([[*self.targets[row], EOS_ID] for row in rows])  # [B, T]
        return {"source": self._hide(source, rng), "read": self._hide(read, rng), "write": write}

    def _hide(self, ids: Tensor, rng: np.random.Generator) -> Tensor:
        if not self.word_dropout:
            return ids
        hidden = torch.from_numpy(rng.random(ids.shape) < self.word_dropout)
        return ids.masked_fill(hidden & (ids > EOS_ID), UNK_ID)


class _Lazy(Sequence[translation.Batch]):
    """Batches that exist only while they are used: an epoch of tensors would fill the memory."""

    def __init__(self, batches: Batches, groups: list[np.ndarray], epoch: int) -> None:
        self.batches, self.groups, self.epoch = batches, groups, epoch

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: Any) -> Any:
        rng = seeds.numpy_generator(self.batches.seed, "hidden", self.epoch, index)
        return self.batches.batch(self.groups[index], rng)

    def rows(self, index: int) -> np.ndarray:
        """Which pairs the batch has."""
        return self.groups[index]


# --------------------------------------------------------------------------------------- the models


def build(config: Config, vocabulary: int, vectors: Tensor | None = None) -> Network:
    """An untrained model.

    Args:
        config: Sizes.
        vocabulary: Number of subwords.
        vectors: Vectors to start from, `[V, d_model]`.
    """
    if config.model == "rnn":
        return Seq2Seq(
            vocabulary,
            vocabulary,
            config.d_model,
            config.hidden,
            config.dropout,
            PAD_ID,
            bidirectional=True,
            src_pretrained=vectors,
            tgt_pretrained=vectors,
        )
    return Transformer(
        vocabulary,
        vocabulary,
        config.d_model,
        config.n_heads,
        config.encoder_layers,
        config.decoder_layers,
        config.d_ff,
        config.dropout,
        pad_idx=PAD_ID,
        norm_first=True,
        tie_embeddings=True,
        share_embeddings=True,
        src_pretrained=vectors,
    )


def subword_vectors(corpus: Corpus, config: Config, seed: int) -> Tensor:
    """word2vec vectors of the subwords, from the training sentences of both languages: `[V, d]`.

    Subwords without a vector (the special ones) get random ones of the same spread.
    """
    import gensim

    rows = corpus.rows("train")
    sentences = [
        [str(i) for i in side[row]] for side in (corpus.french, corpus.english) for row in rows
    ]
    numbers = word2vec.Config(dim=config.d_model, seed=seed)
    model = gensim.models.Word2Vec(
        sentences,
        vector_size=numbers.dim,
        window=numbers.window,
        negative=numbers.negative,
        sample=numbers.sample,
        epochs=numbers.epochs,
        seed=numbers.seed,
        sg=1,
        min_count=1,
        workers=1,
    )
    vectors = torch.randn(
        len(corpus.subwords), config.d_model, generator=seeds.generator(seed, "vectors")
    )
    found = [i for i in range(len(corpus.subwords)) if str(i) in model.wv]
    learned = torch.from_numpy(np.stack([model.wv[str(i)] for i in found]))  # [V', d]
    vectors[found] = learned / learned.std().clamp(min=1e-6)
    return vectors


# ------------------------------------------------------------------------------------- translating


def decode(
    model: Network,
    rows: Sequence[Sequence[int]],
    *,
    beam: int = 1,
    alpha: float = 1.0,
    batch_rows: int = 640,
) -> list[list[int]]:
    """Translate sentences given as ids, in their order.

    Args:
        model: A trained model; it is put into eval mode.
        rows: Ids of the subwords of each source, without the end.
        beam: Width of the beam; 1 is greedy.
        alpha: Exponent of the length penalty.
        batch_rows: Hypotheses decoded side by side; sentences of similar length go together.
    """
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    result: list[list[int]] = [[] for _ in rows]
    size = max(1, batch_rows // beam)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        source = translation.pad([[*rows[i], EOS_ID] for i in chosen]).to(device)  # [B, S]
        limit = source.shape[1] + source.shape[1] // 2 + 10
        found = beam_search(
            model, source, width=beam, max_length=limit, sos=SOS_ID, eos=EOS_ID, alpha=alpha
        )
        for i, ids in zip(chosen, found.words.tolist(), strict=True):
            result[i] = [word for word in ids if word > EOS_ID]
    return result


def _translate_rows(
    model: Network, corpus: Corpus, rows: np.ndarray, beam: int, alpha: float
) -> list[str]:
    ids = decode(model, [corpus.french[row] for row in rows], beam=beam, alpha=alpha)
    return [corpus.subwords.decode(sentence) for sentence in ids]


def teacher_forced(model: Network, batches: Sequence[translation.Batch]) -> dict[str, float]:
    """Cross-entropy and accuracy of the next subword given the true ones before it."""
    device = next(model.parameters()).device
    total, correct, count = 0.0, 0, 0
    with torch.no_grad():
        for batch in batches:
            batch = engine.on_tensors(batch, lambda x: x.to(device))
            logits = model(batch["source"], batch["read"])  # [B, T, V]
            real = batch["write"] != PAD_ID  # [B, T]
            target = batch["write"][real]
            total += float(F.cross_entropy(logits[real].float(), target, reduction="sum"))
            correct += int((logits[real].argmax(dim=1) == target).sum())
            count += int(real.sum())
    return {"loss": total / count, "token_accuracy": correct / count}


def score_all(hypotheses: Sequence[str], several: Sequence[Sequence[str]]) -> dict[str, float]:
    """BLEU, chrF2 and exact match against one reference, and against all of them.

    Args:
        hypotheses: Translations.
        several: The references of each, its own first.
    """
    from sacrebleu.metrics import BLEU, CHRF

    one = [own for own, *_ in several]
    deepest = max(map(len, several))
    # sacreBLEU takes the first, the second, ... references; None where there is none.
    streams: list[Any] = [[r[i] if i < len(r) else None for r in several] for i in range(deepest)]
    return translation.score(hypotheses, one) | {
        "bleu_multi": float(BLEU().corpus_score(hypotheses, streams).score),
        "chrf_multi": float(CHRF().corpus_score(hypotheses, streams).score),
        "match_multi": float(np.mean([h in r for h, r in zip(hypotheses, several, strict=True)])),
    }


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
    """Train one model and judge it on the test pairs.

    Args:
        config: Every number of the run.
        preset: Name of the preset it came from.
        seed: Seed of the weights, the batches and the dropout; the split has its own.
        resume: Go on from the checkpoints in ``run_dir``.
        run_dir: Folder for checkpoints.
        log: Where lines go, None for silence.
        corpus: What :func:`prepare` gave for this config; prepared here if left out.

    Returns:
        The run. Metrics are ``test_bleu``, ``test_chrf``, ``test_exact_match`` (beam search),
        ``test_bleu_multi``, ``test_chrf_multi``, ``test_match_multi`` (all references),
        ``test_greedy_...``, ``test_token_accuracy``, the same for ``validation_`` (greedy), and the
        baselines ``copy.`` and ``memory.``. Artefacts: ``corpus``, ``translator``, ``translations``.

    Raises:
        ConfigError: If the corpus was prepared for another config.
    """
    started = time.perf_counter()
    corpus = prepare(config) if corpus is None else corpus
    if corpus.choices != _choices(config):
        raise ConfigError(
            f"The corpus was prepared with (split_seed, split, pairs, vocabulary) = "
            f"{corpus.choices}, the config has {_choices(config)}; prepare it with this config."
        )
    vectors = subword_vectors(corpus, config, seed) if config.embeddings == "pretrained" else None
    seeds.seed_everything(seeds.derive(seed, config.model) % 2**32)
    model = build(config, len(corpus.subwords), vectors)
    parameters = sum(p.numel() for p in model.parameters())
    if log is not None:
        log(f"{config.model}, {config.embeddings} embeddings: {parameters:,} parameters")

    def batches_of(part: str, tokens: int, dropout: float = 0.0) -> Batches:
        rows = corpus.rows(part)
        french, english = ([side[row] for row in rows] for side in (corpus.french, corpus.english))
        return Batches(french, english, tokens, dropout, seed)

    validation = batches_of("validation", 4 * config.tokens)
    record = as_record(config)
    fitted = engine.fit(
        model,
        config.plan,
        batches=batches_of("train", config.tokens, config.word_dropout),
        loss=lambda network, batch: translation.token_loss(network, batch, config.label_smoothing),
        validate=lambda _: {
            f"validation_{key}": value
            for key, value in teacher_forced(model, validation(0)).items()
        },
        run_dir=run_dir,
        resume=resume,
        identity={"experiment": "translation_all", "config": record, "seed": seed},
        bundle={
            "experiment": "translation_all",
            "config": record,
            "seed": seed,
            "subwords": corpus.subwords.to_tensor(),
        },
        log=log,
    )
    metrics = {f"validation_{k}": v for k, v in teacher_forced(model, validation(0)).items()}
    rows = corpus.rows("validation")
    validated = _translate_rows(model, corpus, rows, 1, config.alpha)
    scored = translation.score(validated, [corpus.data.english[row] for row in rows])
    metrics |= {f"validation_{key}": value for key, value in scored.items()}

    # Everything is chosen; from here on the test pairs are looked at, once.
    rows = corpus.rows("test")
    french = [corpus.data.french[row] for row in rows]
    several = references(corpus, rows)
    train_rows = corpus.rows("train")
    memory = zip(
        sentence_keys([corpus.data.french[row] for row in train_rows]),
        [corpus.data.english[row] for row in train_rows],
        strict=True,
    )
    translations = {
        "copy": translation.copy_source(french),
        "memory": translation.nearest_in_memory(list(memory), sentence_keys(french)),
        "greedy": _translate_rows(model, corpus, rows, 1, config.alpha),
        "beam": _translate_rows(model, corpus, rows, config.beam, config.alpha),
    }
    for name in ("copy", "memory"):
        scores = score_all(translations[name], several)
        metrics |= {f"{name}.test_{key}": value for key, value in scores.items()}
    greedy = score_all(translations["greedy"], several)
    metrics |= {f"test_greedy_{key}": value for key, value in greedy.items()}
    metrics |= {f"test_{k}": v for k, v in score_all(translations["beam"], several).items()}
    forced = teacher_forced(model, batches_of("test", 4 * config.tokens)(0))
    metrics["test_token_accuracy"] = forced["token_accuracy"]
    one = [own for own, *_ in several]
    spans = translation.intervals(translations["beam"], one)
    return Run(
        experiment="translation_all",
        preset=preset,
        config=config,
        seed=seed,
        metrics=metrics,
        source=corpus.data.source,
        seconds=time.perf_counter() - started,
        curves={"training": fitted.history},
        notes={
            "pairs": dict(zip(("train", "validation", "test"), corpus.split.sizes, strict=True)),
            "vocabulary": len(corpus.subwords),
            "parameters": parameters,
            "training_seconds": fitted.seconds,
            "tokens_per_second": fitted.samples_per_second,
            "best_epoch": fitted.best_epoch,
            "precision": fitted.precision,
            "device": fitted.device,
            "signatures": translation.signatures(),
            "several_references": sum(len(r) > 1 for r in several),
            "beam_against_greedy_p": translation.paired_bootstrap(
                translations["greedy"], translations["beam"], one
            ),
            "intervals": {f"test_{key}": interval for key, interval in spans.items()},
            "translations": {
                "rows": rows.tolist(),
                "beam": translations["beam"],
            },
        },
        artefacts={
            "corpus": corpus,
            "translator": Translator(config, model, corpus.subwords),
            "translations": translations,
        },
    )


# ------------------------------------------------------------------------------- trained models


@dataclass(frozen=True)
class Translator:
    """A trained model with its subwords: call it with French sentences.

    Attributes:
        config: The config that it was trained with.
        model: The network, in eval mode.
        subwords: Its vocabulary.
    """

    config: Config
    model: Network
    subwords: Subwords

    def __call__(self, sentences: Sequence[str], beam: int | None = None) -> list[str]:
        """Translate sentences, written as people write them.

        Args:
            sentences: French texts; an empty one gives an empty translation.
            beam: Width of the beam; the config's by default, 1 is greedy.

        Raises:
            DataError: If one is no text.
            ConfigError: If the beam is not between 1 and 64.
        """
        width = self.config.beam if beam is None else beam
        if not 1 <= width <= 64:
            raise ConfigError(f"The beam is {width}; take a width from 1 to 64.")
        segments = [self.encode(sentence) for sentence in sentences]
        found = decode(
            self.model,
            [ids for parts in segments for ids in parts],
            beam=width,
            alpha=self.config.alpha,
        )
        translated = iter([self.subwords.decode(ids) for ids in found])
        return [" ".join(next(translated) for _ in parts) for parts in segments]

    def align(self, sentence: str, beam: int | None = None) -> translation.Alignment:
        """Translate one sentence and return where the Transformer looked while it wrote.

        Raises:
            DataError: If there is no word in it, or more than one sentence.
            ConfigError: If the model is recurrent.
        """
        if not isinstance(self.model, Transformer):
            raise ConfigError("Only the alignment of a Transformer is shown; load one.")
        segments = self.encode(sentence)
        if len(segments) != 1:
            raise DataError("Give exactly one sentence.")
        (found,) = decode(
            self.model, segments, beam=beam or self.config.beam, alpha=self.config.alpha
        )
        source, output = torch.tensor([[*segments[0], EOS_ID]]), torch.tensor([[*found, EOS_ID]])
        weights = translation.cross_attention(self.model, source, output)
        return translation.Alignment(
            self.subwords.pieces(source[0].tolist()),
            self.subwords.pieces(output[0].tolist()),
            weights,
        )

    def encode(self, text: str) -> list[list[int]]:
        """Ids of a text, sentence by sentence, since the model has learned from single sentences.

        The text is tidied first: composed letters, typewriter apostrophes, no control signs. What is
        longer than 100 subwords without an end of a sentence is cut between two words.

        Raises:
            DataError: If it is no text.
        """
        if not isinstance(text, str):
            raise DataError(f"A sentence must be text, not {type(text).__name__}.")
        text = unicodedata.normalize("NFC", text).replace("’", "'")
        text = "".join(c if c.isprintable() else " " for c in text)
        segments: list[list[int]] = []
        for sentence in _SENTENCE_END.split(text.strip()):
            segments += self._cut(sentence)
        return [ids for ids in segments if ids]

    def _cut(self, sentence: str) -> list[list[int]]:
        """A sentence in pieces of at most :data:`LONGEST_INPUT` subwords."""
        (ids,) = self.subwords.encode([sentence])
        words = sentence.split()
        if len(ids) <= LONGEST_INPUT:
            return [ids]
        if len(words) < 2:
            return [ids[i : i + LONGEST_INPUT] for i in range(0, len(ids), LONGEST_INPUT)]
        middle = len(words) // 2
        return [*self._cut(" ".join(words[:middle])), *self._cut(" ".join(words[middle:]))]


def export(checkpoint: Path | str, path: Path | str) -> Path:
    """Write the weights of a trained model in half precision, for the repository.

    Args:
        checkpoint: A ``best.pt``.
        path: The small file.
    """
    state = checkpoints.load(Path(checkpoint))
    weights = {name: tensor.half() for name, tensor in state["model"].items()}
    return checkpoints.save({"model": weights, "bundle": state["bundle"]}, Path(path))


def load(checkpoint: Path) -> Translator:
    """Read a trained model.

    Raises:
        TrainingError: If the file is missing or broken, or belongs to another experiment.
    """
    state = checkpoints.load(Path(checkpoint))
    bundle = state.get("bundle")
    if not isinstance(bundle, Mapping) or bundle.get("experiment") != "translation_all":
        raise TrainingError(
            f"Checkpoint {checkpoint} is not one of the translation_all experiment."
        )
    with checkpoints.fitting(checkpoint, "translation_all"):
        stored = bundle["config"]
        config = Config(**{**stored, "plan": engine.Plan(**stored["plan"])})
        subwords = Subwords.from_tensor(bundle["subwords"])
        vectors = None
        if config.embeddings == "pretrained":
            vectors = torch.zeros(len(subwords), config.d_model)
        model = build(config, len(subwords), vectors)
        model.load_state_dict({name: tensor.float() for name, tensor in state["model"].items()})
    return Translator(config, model.eval(), subwords)


def evaluate(checkpoint: Path) -> dict[str, float]:
    """Test scores of a trained model (beam search), under the names that :func:`train` gives them.

    Raises:
        TrainingError: If the file is missing or broken, or was trained on other pairs.
    """
    trained = load(checkpoint)
    corpus = prepare(trained.config)
    if trained.subwords != corpus.subwords:
        raise TrainingError(
            f"Checkpoint {checkpoint} was trained on other sentence pairs than the ones in use "
            f"({corpus.data.source.label}); evaluate it where its data are."
        )
    rows, config = corpus.rows("test"), trained.config
    found = _translate_rows(trained.model, corpus, rows, config.beam, config.alpha)
    return {f"test_{k}": v for k, v in score_all(found, references(corpus, rows)).items()}


def predict(sentences: Sequence[str], checkpoint: Path, beam: int | None = None) -> list[str]:
    """Translate French sentences with a trained model; see :class:`Translator`.

    Raises:
        DataError: If one is no text.
        TrainingError: If the checkpoint is missing or broken.
    """
    return load(checkpoint)(sentences, beam)


def _presets() -> dict[str, Config]:
    full = Config()
    quick = Config(
        pairs=4000,
        vocabulary=1000,
        tokens=1500,
        d_model=64,
        n_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        d_ff=128,
        hidden=64,
        beam=2,
        plan=dataclasses.replace(PLAN, epochs=2, learning_rate=5e-3),
    )
    # The four cells get the same number of passes, so that they differ in what is compared only.
    brief = dataclasses.replace(full, plan=dataclasses.replace(PLAN, epochs=3))
    rnn = dataclasses.replace(
        brief, model="rnn", plan=dataclasses.replace(brief.plan, learning_rate=1e-3)
    )
    return {
        "quick": quick,
        "full": full,
        "brief": brief,
        "brief-pretrained": dataclasses.replace(brief, embeddings="pretrained"),
        "rnn": rnn,
        "rnn-pretrained": dataclasses.replace(rnn, embeddings="pretrained"),
    }


PRESETS: Mapping[str, Config] = _presets()
"""``full`` is the best model. The four cells on all pairs, three passes each, are ``brief``,
``brief-pretrained``, ``rnn`` and ``rnn-pretrained``."""
