"""Problem 2(e): French to English, an attentive recurrent network against a Transformer.

Sentence pairs come as ids (:mod:`.corpora`) in batches of similar length; some words are hidden (``<unk>``)
in training, so that the network learns to read unknown ones. The weights of the best epoch are kept. With
``members`` > 1 the networks of several seeds translate as one, by their mean probability of the next word.
Letters: ``B`` batch, ``S`` source length, ``T`` target length, ``L`` length of the output, ``V`` vocabulary.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from coursework.config import Count, Share, Weight, config
from coursework.data.text import PAD_ID
from coursework.errors import ConfigError, TrainingError
from coursework.experiments import corpora
from coursework.experiments import translation_scores as scoring
from coursework.experiments.base import Job, Run, named, parameters, presets, restore
from coursework.experiments.corpora import Batch, Corpus, Part
from coursework.experiments.translator import Kind, Network, Translator, decode
from coursework.models.beam_search import Ensemble
from coursework.models.seq2seq import Seq2Seq
from coursework.models.transformer import Transformer
from coursework.training import checkpoints, engine, seeds

Networks = dict[Kind, list[Network]]  # the members of each kind
# metrics, translations of the test pairs, intervals beside those of the translations
Scored = tuple[dict[str, float], dict[str, list[str]], dict[str, tuple[float, float, str]]]
Vectors = Sequence[Tensor] | None  # [V, w] of both languages
PLAN = engine.Plan(
    epochs=30, learning_rate=1e-3, weight_decay=0.01, schedule="one-cycle", warmup=0.1, clip_norm=1.0,
    monitor="validation_bleu", mode="max",
)  # fmt: skip


@config
class RecurrentConfig:
    """GRU encoder, GRU decoder with additive attention."""

    width: Count = 256  # of the embeddings
    hidden: Count = 256  # width of the states
    dropout: Share = 0.3  # on the embedded words
    bidirectional: bool = True  # whether the encoder also reads backwards
    label_smoothing: Share = 0.1
    plan: engine.Plan = PLAN


@config
class TransformerConfig:
    """Normalises before each sub-layer; target embeddings are its output layer, if not projected."""

    width: Count = 256  # of the embeddings and of all layers, d_model in the paper
    heads: Count = 4
    encoder_layers: Count = 3
    decoder_layers: Count = 3  # the time of decoding grows with them
    d_ff: Count = 512
    dropout: Share = 0.2
    label_smoothing: Share = 0.1  # as in the paper
    plan: engine.Plan = PLAN

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(f"width is {self.width}, no multiple of heads, {self.heads}.")


@config
class Config:
    corpus: Literal["subset", "all"] = "subset"  # words of the tutorial's subset, subwords of all
    split: Literal["component", "random"] = "component"  # random leaks, to show what that is worth
    pairs: Count | None = None  # number of training pairs, None for all
    vocabulary: Count = 4000  # number of subwords, of all pairs
    embeddings: Literal["own", "pretrained"] = "own"  # learned from random numbers or from vectors
    word_dropout: Share = 0.1  # share of words hidden in training
    batch_size: Count = 64  # sentences; of all pairs: subwords of both sides, padding included
    rnn: RecurrentConfig | None = RecurrentConfig()  # None: not trained
    transformer: TransformerConfig | None = TransformerConfig()
    beam: Count = 1  # width of the beam for the test pairs; 1 is greedy
    alpha: Weight = 1.0  # exponent of the length penalty
    members: Count = 1  # networks of an ensemble

    def __post_init__(self) -> None:
        if not self.networks:
            raise ConfigError("rnn and transformer are both none; train at least one of them.")
        if self.corpus == "all" and len(self.networks) == 2:
            raise ConfigError("All pairs train one network; set rnn=none or transformer=none.")

    @property
    def networks(self) -> dict[Kind, RecurrentConfig | TransformerConfig]:
        both: dict[Kind, Any] = {"rnn": self.rnn, "transformer": self.transformer}
        return {kind: network for kind, network in both.items() if network is not None}


PRESETS = presets(Config(), "translation")


def prepare(config: Config) -> Corpus:
    return corpora.prepare(config.corpus, config.split, config.pairs, config.vocabulary)


def build(config: Config, kind: Kind, words: tuple[int, int], vectors: Vectors = None) -> Network:
    """An untrained network for vocabularies of these sizes (source, target); seed before."""
    source, target = (None, None) if vectors is None else vectors
    shared = config.corpus == "all"  # one embedding for both languages
    if kind == "rnn":
        rnn = cast(RecurrentConfig, config.rnn)
        return Seq2Seq(
            *words, rnn.width, rnn.hidden, rnn.dropout, PAD_ID,
            bidirectional=rnn.bidirectional, src_pretrained=source, tgt_pretrained=target,
        )  # fmt: skip
    sizes = cast(TransformerConfig, config.transformer)
    return Transformer(
        *words, sizes.width, sizes.heads, sizes.encoder_layers, sizes.decoder_layers, sizes.d_ff,
        sizes.dropout, pad_idx=PAD_ID, norm_first=True, share_embeddings=shared,
        src_pretrained=source, tgt_pretrained=None if shared else target, fused=True,
    )  # fmt: skip


def token_loss(
    model: Callable[..., Tensor], batch: Batch, smoothing: float = 0.0
) -> tuple[Tensor, int]:
    """Cross-entropy summed over the real words of a batch, and their number."""
    logits = model(batch["source"], batch["read"])  # [B, T, V]
    write = batch["write"]  # [B, T]
    total = F.cross_entropy(
        logits.flatten(0, 1).float(), write.flatten(),
        ignore_index=PAD_ID, reduction="sum", label_smoothing=smoothing,
    )  # fmt: skip
    return total, int((write != PAD_ID).sum())


@torch.no_grad()
def teacher_forced(config: Config, model: Network, corpus: Corpus, part: Part) -> dict[str, float]:
    """Cross-entropy and accuracy of the next word given the true words before it."""
    device = engine.device_of(model)
    total, correct, count = 0.0, 0, 0
    model.eval()
    size = 256 if config.corpus == "subset" else 4 * config.batch_size
    for on_cpu in corpus.batches(part, size)(0):
        batch = engine.on_tensors(on_cpu, lambda tensor: tensor.to(device))
        real = batch["write"] != PAD_ID  # [B, T]
        logits = model(batch["source"], batch["read"])[real]  # [words, V]
        target = batch["write"][real]  # [words]
        total += float(F.cross_entropy(logits.float(), target, reduction="sum"))
        correct += int((logits.argmax(dim=1) == target).sum())
        count += len(target)
    return {"loss": total / count, "token_accuracy": correct / count}


def translate(
    model: Network | Ensemble, corpus: Corpus, part: Part, beam: int = 1, alpha: float = 1.0
) -> list[str]:
    """Translations of the French sentences of a part."""
    rows = corpus.source.encode(corpus.part(part)[0])
    return [corpus.target.decode(ids) for ids in decode(model, rows, corpus.target, beam, alpha)]


def fit_network(
    job: Job, kind: Kind, corpus: Corpus, vectors: Vectors = None, *, start: Network | None = None,
    batches: Callable[[int], engine.Lazy] | None = None, loss: Callable[..., Any] | None = None,
    targets: str = "",
) -> tuple[Network, engine.Fit]:  # fmt: skip
    """One network on the training pairs; the best epoch is chosen on the validation pairs. It may begin with
    the weights of ``start``, and learn from other batches and another loss (``targets`` names them)."""
    config, network = job.config, job.config.networks[kind]
    # Seeded here, so that a network does not depend on which others are trained.
    seeds.seed_everything(seeds.derive(job.seed, kind) % 2**32)
    model = build(config, kind, (len(corpus.source), len(corpus.target)), vectors)
    if start is not None:
        model.load_state_dict(start.state_dict())
    job.say(f"{kind}, {config.embeddings} embeddings: {parameters(model):,} parameters")

    def validate(_: torch.nn.Module) -> dict[str, float]:
        scores = teacher_forced(config, model, corpus, "validation")
        if config.corpus == "subset":  # translating thousands of sentences would take too long
            found = translate(model, corpus, "validation")
            scores["bleu"] = scoring.score(found, corpus.part("validation")[1])["bleu"]
        return named("validation_", scores)

    widths = None if vectors is None else [table.shape[1] for table in vectors]
    languages = [side.stored() for side in dict.fromkeys((corpus.source, corpus.target))]
    kept = {"experiment": "translation", "model": kind, "languages": languages, "widths": widths}
    options = job.loop(corpus.data.source, **kept)
    if targets:
        options["identity"]["targets"] = targets
    usual = corpus.batches("train", config.batch_size, config.word_dropout, job.seed)
    return model, engine.fit(
        model, network.plan, batches=batches or usual, validate=validate,
        loss=partial(loss or token_loss, smoothing=network.label_smoothing),
        log_every=math.ceil(network.plan.epochs / 10), **options,
    )  # fmt: skip


def train(job: Job) -> Run:
    """Train every network of the config on the same pairs, then translate the test pairs once.

    Metrics begin with ``rnn.``, ``transformer.``, or (all pairs) nothing; the baselines' with ``copy.`` and
    ``memory.``, the translation of the nearest training sentence.
    """
    config, corpus = job.config, prepare(job.config)
    networks: Networks = {kind: [] for kind in config.networks}
    fits: dict[Kind, list[engine.Fit]] = {kind: [] for kind in config.networks}
    whole = config.corpus == "all"
    alone = dataclasses.replace(config, members=1, beam=config.beam if whole else 1)
    of = "translation_all" if whole else "translation"
    for one in [job] if config.members == 1 else job.members(of, alone, config.members):
        vectors, known = None, dict[str, Any]()
        if config.embeddings == "pretrained":
            width = max(network.width for network in config.networks.values())
            vectors, known = corpora.word_vectors(corpus, width, one.seed)
        for kind in config.networks:
            model, fit = fit_network(one.part(kind), kind, corpus, vectors)
            networks[kind].append(model)
            fits[kind].append(fit)
    return finish(job, config, corpus, networks, fits, known)


def finish(
    job: Job, config: Config, corpus: Corpus, networks: Networks,
    fits: dict[Kind, list[engine.Fit]], known: Mapping[str, Any] = MappingProxyType({}),
) -> Run:  # fmt: skip
    """Translate the test pairs with the trained networks, and make the record."""
    # Everything is chosen; from here on the test pairs are looked at, once.
    judge = score_networks if config.members == 1 else score_ensembles
    metrics, translations, intervals = judge(config, corpus, networks)
    seconds = sum(fit.seconds for of_kind in fits.values() for fit in of_kind)
    notes = describe(corpus, translations) | {"training_seconds": seconds, "models": {}}
    notes["intervals"] |= intervals
    artefacts: dict[str, Any] = {"corpus": corpus, "networks": networks}
    artefacts |= {"translations": translations, "translators": {}}
    for kind, (fit, *_) in fits.items():
        told = {k: getattr(fit, k) for k in ("seconds", "best_epoch", "precision", "device")}
        notes["models"][kind] = {"parameters": parameters(networks[kind][0])} | told
        made = Translator(kind, config, networks[kind][0], corpus.source, corpus.target)
        artefacts["translators"][kind] = made
    if known:
        notes["pretrained"] = known
    if config.corpus == "all":
        notes |= notes["models"][kind]
    curves = {kind: fit.history for kind, (fit, *_) in fits.items()}
    return job.run(metrics, corpus.data.source, curves=curves, notes=notes, artefacts=artefacts)


def prefix_of(name: str) -> str:
    """How the test metrics of a system's translations begin."""
    return {"beam": "test_", "greedy": "test_greedy_"}.get(name, f"{name}.test_")


def describe(corpus: Corpus, translations: Mapping[str, list[str]]) -> dict[str, Any]:
    """What is recorded of the data and of the scores: sizes, intervals, tests."""
    english = corpus.part("test")[1]
    ours = {name: found for name, found in translations.items() if name not in ("copy", "memory")}
    notes: dict[str, Any] = {
        "pairs": dict(zip(("train", "validation", "test"), corpus.split.sizes, strict=True)),
        "vocabulary": {"french": len(corpus.source), "english": len(corpus.target)},
        "signatures": scoring.signatures(),
        "intervals": {
            f"{prefix_of(name)}{key}": span
            for name, found in ours.items()
            if name != "single"  # its scores are in the single runs
            for key, span in scoring.intervals(found, english).items()
        },
    }
    if len(ours) == 2:
        one, two = ours
        name = "beam_against_greedy_p" if "beam" in ours else "paired_bootstrap_p"
        notes[name] = scoring.paired_bootstrap(ours[one], ours[two], english)
    if several := corpus.references("test"):
        notes["several_references"] = sum(len(references) > 1 for references in several)
    if "beam" in ours:
        notes["translations"] = {"rows": corpus.split.test.tolist(), "beam": ours["beam"]}
    return notes


def score_networks(config: Config, corpus: Corpus, networks: Networks) -> Scored:
    """Metrics of single networks and of the baselines, and the translations of the test pairs."""
    french, english = corpus.part("test")
    whole = config.corpus == "all"
    seen, known = corpus.part("train")
    memory = list(zip(corpora.letters_only(seen), known, strict=True))
    translations = {
        "copy": french,
        "memory": scoring.nearest_in_memory(memory, corpora.letters_only(french)),
    }
    metrics: dict[str, float] = {}
    for kind, (model,) in networks.items():
        prefix, forced = "" if whole else f"{kind}.", partial(teacher_forced, config, model, corpus)
        greedy = translate(model, corpus, "validation")
        scores = forced("validation") | scoring.score(greedy, corpus.part("validation")[1])
        metrics |= named(f"{prefix}validation_", scores) | named(f"{prefix}test_", forced("test"))
        if whole:
            del metrics["test_loss"]
            translations["greedy"] = translate(model, corpus, "test")
        by_beam = translate(model, corpus, "test", config.beam, config.alpha)
        translations["beam" if whole else kind] = by_beam
    for name, found in translations.items():
        metrics |= named(prefix_of(name), scoring.score(found, english, corpus.references("test")))
    return metrics, translations, {}


def score_ensembles(config: Config, corpus: Corpus, networks: Networks) -> Scored:
    """Metrics of all members as one (``rnn.test_bleu``; all pairs: ``ensemble.test_bleu``), and the mean of
    the members alone (``rnn.one.greedy.test_bleu``); of two kinds of network also ``difference.test_bleu``,
    the Transformers' mean by beam search minus that of the recurrent ones."""
    metrics: dict[str, float] = {}
    translations: dict[str, list[str]] = {}
    single: dict[str, list[list[str]]] = {}
    whole = config.corpus == "all"  # one kind of network; the greedy scores are in the single runs
    for part in get_args(Part)[1:]:
        english, several = corpus.part(part)[1], corpus.references(part)
        for kind, models in networks.items():
            name = "ensemble" if whole else kind
            found = translate(Ensemble(models), corpus, part, config.beam, config.alpha)
            metrics |= named(f"{name}.{part}_", scoring.score(found, english, several))
            translations[name] = found  # in the end those of the test pairs
            for how, beam in (("beam", config.beam), ("greedy", 1))[: 1 if whole else 2]:
                by_one = [translate(model, corpus, part, beam, config.alpha) for model in models]
                alone = [scoring.score(translated, english) for translated in by_one]
                means = {key: float(np.mean([one[key] for one in alone])) for key in alone[0]}
                metrics |= named(f"{name}.one.{how}.{part}_", means)
                if how == "beam":
                    single[kind] = by_one
    if whole:
        translations["single"] = single[kind][0]
    if len(single) == 1:
        return metrics, translations, {}
    ours, theirs = (metrics[f"{kind}.one.beam.test_bleu"] for kind in ("transformer", "rnn"))
    span = scoring.over_seeds(single["transformer"], single["rnn"], english)
    metrics["difference.test_bleu"] = ours - theirs
    return metrics, translations, {"difference.test_bleu": span}


def load(checkpoint: Path | str) -> Translator:
    """A trained network from ``best.pt`` or the small file made from it."""
    config, bundle, weights = restore(checkpoint, "translation", Config)
    with checkpoints.fitting(checkpoint, "translation"):
        languages = [corpora.language(stored) for stored in bundle["languages"]]
        source, target = languages[0], languages[-1]  # subwords are those of both
        words, widths = (len(source), len(target)), bundle["widths"]
        tables = widths and [torch.zeros(n, w) for n, w in zip(words, widths, strict=True)]
        model = build(config, bundle["model"], words, tables)
        model.load_state_dict(weights)
    return Translator(bundle["model"], config, model.eval(), source, target)


def evaluate(checkpoint: Path | str) -> dict[str, float]:
    """Test scores of a trained network, under the names that :func:`train` gives them."""
    trained = load(checkpoint)
    config, corpus = trained.config, prepare(trained.config)
    if (trained.source, trained.target) != (corpus.source, corpus.target):
        ours = corpus.data.source.label
        what = f"was trained on other sentence pairs than the ones in use ({ours})"
        raise TrainingError(f"Checkpoint {checkpoint} {what}; evaluate it where its data are.")
    found = translate(trained.model, corpus, "test", config.beam, config.alpha)
    scores = scoring.score(found, corpus.part("test")[1], corpus.references("test"))
    if config.corpus == "all":
        return named(prefix_of("beam"), scores)
    forced = teacher_forced(config, trained.model, corpus, "test")
    return named(f"{trained.kind}.test_", forced | scores)
