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
        rows.append([label, *shown, _number(metric["match_multi"], ".1%"), *(more or ("–", "–"))])

    for preset, label in CELLS.items():
        if preset not in records:
            continue
        record = records[preset]
        notes, beam = record["notes"], record["config"]["beam"]
        more = f"{notes['parameters']:,}", f"{notes['training_seconds'] / 60:.0f}"
        row(f"{label}, beam {beam}", record, "test_", *more)
        row("the same, greedy", record, "test_greedy_", *more)
    first = next(iter(records.values()))
    row("nearest training sentence", first, "memory.test_")
    row("source copied", first, "copy.test_")
    machine = first["machine"]
    where = f"{machine['processor']}, {machine['threads']} thread(s), {machine['device']}"
    columns = ["model", "BLEU", "95 %", "chrF2", "exact match", "BLEU, several references"]
    return Table(
        [*columns, "match with any", "parameters", "training / min"],
        rows,
        caption=(
            f"Recorded: {first['notes']['pairs']['test']:,} test pairs, "
            f"{first['data']['source']}; {where}"
        ),
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
