"""Tables of problem 2(e) on all pairs, read from its recorded results."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from coursework.report.tables import Table

Record = Mapping[str, Any]

CELLS: Mapping[str, str] = {
    "full": "Transformer, own embeddings",
    "brief": "Transformer, own embeddings",
    "brief-pretrained": "Transformer, word2vec embeddings",
    "rnn": "GRU with attention, own embeddings",
    "rnn-pretrained": "GRU with attention, word2vec embeddings",
}
"""Preset of ``translation_all`` -> what it is."""


def all_pairs(records: Mapping[str, Record]) -> Table:
    """The cells that are recorded, and the baselines.

    Args:
        records: Preset -> record; at least one.
    """
    rows: list[list[str]] = []

    def row(label: str, record: Record, prefix: str, *more: str) -> None:
        metric = {
            name: record["metrics"].get(f"{prefix}{name}")
            for name in ("bleu", "chrf", "exact_match", "bleu_multi", "match_multi")
        }
        bleu = metric["bleu"] or {}
        spread = "–" if bleu.get("low") is None else f"{bleu['low']:.1f} to {bleu['high']:.1f}"
        shown = [_number(metric["bleu"], ".1f"), spread, _number(metric["chrf"], ".1f")]
        shown += [_number(metric["exact_match"], ".1%"), _number(metric["bleu_multi"], ".1f")]
        rows.append(
            [label, *shown, _number(metric["match_multi"], ".1%"), *(more or ("–", "–", "–"))]
        )

    for preset, label in CELLS.items():
        if preset not in records:
            continue
        record = records[preset]
        notes, beam = record["notes"], record["config"]["beam"]
        machine = record["machine"]
        minutes = f"{notes['training_seconds'] / 60:.0f}"
        more = f"{notes['parameters']:,}", minutes, machine["processor"]
        passes = record["config"]["plan"]["epochs"]
        row(f"{label}, {passes} passes, beam {beam}", record, "test_", *more)
        row("the same, greedy", record, "test_greedy_", *more)
    first = next(iter(records.values()))
    row("nearest training sentence", first, "memory.test_")
    row("source copied", first, "copy.test_")
    where = f"{first['machine']['threads']} thread(s), {first['machine']['device']}"
    columns = ["model", "BLEU", "95 %", "chrF2", "exact match", "BLEU, several references"]
    return Table(
        [*columns, "match with any", "parameters", "training / min", "machine"],
        rows,
        caption=(
            f"Recorded: {first['notes']['pairs']['test']:,} test pairs, "
            f"{first['data']['source']}; {where}"
        ),
    )


def together(record: Record) -> Table:
    """What beam search and several networks bring on the subset.

    Args:
        record: A record of ``translation_ensemble``.
    """
    metrics, members, beam = (
        record["metrics"],
        record["config"]["members"],
        record["config"]["beam"],
    )
    rows: list[list[Any]] = []
    for model, words in (("rnn", "recurrent"), ("transformer", "Transformer")):
        if f"{model}.test_bleu" not in metrics:
            continue
        for prefix, how in (
            (f"{model}.one.greedy.", "one network, greedy"),
            (f"{model}.one.beam.", f"one network, beam {beam}"),
            (f"{model}.", f"{members} networks, beam {beam}"),
        ):
            bleu = metrics[f"{prefix}test_bleu"]
            spread = "–" if "low" not in bleu else f"{bleu['low']:.1f} to {bleu['high']:.1f}"
            shown = [
                _number(metrics[f"{prefix}validation_bleu"], ".1f"),
                _number(bleu, ".1f"),
                spread,
            ]
            shown += [_number(metrics[f"{prefix}test_chrf"], ".1f")]
            rows.append([words, how, *shown, _number(metrics[f"{prefix}test_exact_match"], ".1%")])
    columns = ["model", "how", "validation BLEU", "test BLEU", "95 % (sentences)", "chrF2"]
    p = record["notes"].get("paired_bootstrap_p")
    compared = "" if p is None else f"; all networks, Transformer against recurrent: p = {p:.3f}"
    return Table(
        [*columns, "exact match"],
        rows,
        caption=f"Subset, members of `{record['config']['preset']}`, means where it is one network{compared}",
    )


def together_in_words(record: Record) -> str:
    """Which kind of network is ahead with all members and beam search, by each measure.

    Args:
        record: A record of ``translation_ensemble`` with both kinds.
    """
    metrics, p = record["metrics"], record["notes"]["paired_bootstrap_p"]
    words = {"rnn": "recurrent networks", "transformer": "Transformers"}
    parts = []
    for key, name, form in (
        ("bleu", "BLEU", ".1f"),
        ("chrf", "chrF2", ".1f"),
        ("exact_match", "exact match", ".1%"),
    ):
        value = {model: metrics[f"{model}.test_{key}"]["mean"] for model in words}
        first, second = sorted(words, key=lambda model: -value[model])
        compared = f"{value[first]:{form}} against {value[second]:{form}}"
        parts.append(f"by {name} the {words[first]} are ahead ({compared})")
    noise = "more than" if p < 0.05 else "within what"
    return (
        f"All networks together: {'; '.join(parts)}. The difference in BLEU is {noise} the choice of "
        f"the test sentences explains (paired bootstrap, p = {p:.3f})."
    )


def leakage(records: Mapping[str, Record]) -> Table:
    """The tutorial's network on a split that does not leak, and on the naive one.

    Args:
        records: What the split is -> record of ``translation``.
    """
    rows = []
    for words, record in records.items():
        m = record["metrics"]
        bleu = m["rnn.test_bleu"]
        spread = "–" if "low" not in bleu else f"{bleu['low']:.1f} to {bleu['high']:.1f}"
        shown = [_number(bleu, ".1f"), spread, _number(m["rnn.test_chrf"], ".1f")]
        shown += [_number(m["rnn.test_exact_match"], ".1%"), _number(m["memory.test_bleu"], ".1f")]
        rows.append([words, *shown])
    columns = ["split", "test BLEU", "95 % (sentences)", "chrF2", "exact match"]
    return Table(
        [*columns, "BLEU of the nearest training sentence"], rows, "The tutorial's network"
    )


def _number(metric: Mapping[str, Any] | None, form: str) -> str:
    return "–" if metric is None else format(metric["mean"], form)


def by_length(
    sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]
) -> list[tuple[str, int, float, float]]:
    """BLEU and chrF2 of groups of sentences of similar length.

    Args:
        sources: French sentences; their words are counted.
        hypotheses: Translations.
        references: One each.

    Returns:
        (words, sentences, BLEU, chrF2) of each group that has any.
    """
    from coursework.experiments import translation

    edges = (0, 4, 6, 8, 10, 13, 10_000)
    groups = []
    counts = [len(source.split()) for source in sources]
    for low, high in itertools.pairwise(edges):
        chosen = [i for i, n in enumerate(counts) if low <= n < high]
        if not chosen:
            continue
        name = f"{low}+" if high == edges[-1] else f"{max(low, 1)} to {high - 1}"
        scores = translation.score([hypotheses[i] for i in chosen], [references[i] for i in chosen])
        groups.append((name, len(chosen), scores["bleu"], scores["chrf"]))
    return groups
