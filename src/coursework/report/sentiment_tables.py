"""Tables of problem 1, read from its recorded results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coursework.report.tables import Table

Record = Mapping[str, Any]


def _accuracy(metric: Mapping[str, Any] | None) -> str:
    """``mean ± std`` in percent; an en dash where there is nothing."""
    if metric is None:
        return "–"
    text = f"{100 * metric['mean']:.2f}"
    return text if metric.get("std") is None else f"{text} ± {100 * metric['std']:.2f}"


def models(single: Record, best: Record | None = None) -> Table:
    """All models on the same tweets, from the results ``sentiment-full`` and ``sentiment-best``."""

    def row(label: str, record: Record, prefix: str, parameters: str, minutes: str) -> list[str]:
        metric = record["metrics"][f"{prefix}test_accuracy"]
        validation = record["metrics"].get(f"{prefix}validation_accuracy")
        known = "low" in metric
        interval = f"{100 * metric['low']:.2f} to {100 * metric['high']:.2f}" if known else "–"
        return [label, _accuracy(validation), _accuracy(metric), interval, parameters, minutes]

    notes, machine = single["notes"], single["machine"]
    rows = [
        row("larger class", single, "majority.", "–", "–"),
        row("naive Bayes, 1- to 3-grams", single, "naive_bayes.", "–", "–"),
        row("logistic regression on the same", single, "linear.", "hashed to 2^22", "–"),
        row(
            f"BiLSTM (seeds {', '.join(map(str, single['seeds']))})",
            *(single, "", f"{notes['parameters']:,}", f"{notes['training_seconds'] / 60:.0f}"),
        ),
    ]
    if best is not None:
        count, minutes = best["notes"]["members"], f"{best['notes']['training_seconds'] / 60:.0f}"
        size = f"{count} × {notes['parameters']:,}"
        rows.append(row(f"mean of {count} BiLSTMs", best, "mean_of_members.", size, minutes))
        rows.append(row("the same and the logistic regression", best, "", size, minutes))
    where = f"{machine['processor']}, {machine['threads']} thread(s), {machine['device']}"
    return Table(
        ["model", "validation / %", "test / %", "95 %", "parameters", "training / min"],
        rows,
        caption=f"Recorded on {single['data']['source']}; {where}; minutes are of the first seed",
    )


def study_facts(study: Record) -> list[dict[str, Any]]:
    """The variants of ``sentiment_study``: their notes with ``accuracy`` and ``difference`` added."""
    return [
        {
            **row,
            "accuracy": study["metrics"][f"{key}.validation_accuracy"]["mean"],
            "difference": study["metrics"][f"{key}.difference"],
        }
        for row in study["notes"]["rows"]
        for key in [row["variant"].replace(" ", "_")]
    ]


def study(study: Record) -> Table:
    """One change at a time: validation accuracy and the paired difference to the base."""
    facts = study_facts(study)
    rows = [
        [
            fact["variant"],
            ", ".join(fact["changes"]) or "–",
            f"{fact['parameters']:,}",
            f"{fact['accuracy']:.2%}",
            f"{100 * fact['difference']['mean']:+.2f}",
            f"{100 * fact['difference']['low']:+.2f} to {100 * fact['difference']['high']:+.2f}"
            if "low" in fact["difference"]
            else "–",
        ]
        for fact in facts
        if not fact["variant"].startswith("size-")
    ]
    return Table(
        ["variant", "changed", "parameters", "validation", "difference / points", "95 %, paired"],
        rows,
        caption=f"{facts[0]['train']:,} training and {facts[0]['validation']:,} validation tweets, "
        f"seed {study['seeds'][0]}; recorded on {study['data']['source']}",
    )
