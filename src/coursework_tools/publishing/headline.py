"""The headline: the few numbers that the README shows, condensed from the recorded results.

``coursework report`` writes ``writeup/results/headline.json``: key -> {value, low, high, n, result}.
Accuracies and IoU are fractions, BLEU and chrF as sacreBLEU prints them, ratios above one mean that
ours is faster. A key appears when the result that it is read from has been recorded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coursework import files, settings
from coursework.errors import ResultsError
from coursework.report import store
from coursework.report.tables import Table

HEADLINE: dict[str, tuple[str, str]] = {
    "sentiment.single.test_accuracy": ("sentiment-full", "test_accuracy"),
    "sentiment.best.test_accuracy": ("sentiment-best", "test_accuracy"),
    "translation.full.transformer.bleu": ("translation_all-full", "test_bleu"),
    "translation.full.transformer.chrf": ("translation_all-full", "test_chrf"),
    **{
        f"translation.{key}.{metric}": (f"translation_all-{name}", f"test_{metric}")
        for key, name in (
            ("brief.transformer", "brief"),
            ("brief.transformer.pretrained", "brief-pretrained"),
            ("brief.rnn", "rnn"),
            ("brief.rnn.pretrained", "rnn-pretrained"),
        )
        for metric in ("bleu", "chrf")
    },
    **{
        f"translation.subset.{model}{suffix}.bleu": (name, f"{model}.test_bleu")
        for suffix, name in (
            ("", "translation-full"),
            (".pretrained", "translation-full-pretrained"),
            (".ensemble", "translation_ensemble-full"),
        )
        for model in ("transformer", "rnn")
    },
    **{
        f"wikipedia.{graph}.{split}.mae_ln": (name, f"{split}.ensemble.test_mae_ln")
        for graph, name in (
            ("chameleon", "wikipedia-full"),
            ("squirrel", "wikipedia-squirrel"),
            ("crocodile", "wikipedia-crocodile"),
        )
        for split in ("random", "grouped")
    },
    **{
        f"cora.{protocol}.{model}.accuracy": (name, f"{model}.test_accuracy")
        for protocol, name in (("planetoid", "cora-planetoid"), ("random140", "cora-full"))
        for model in ("gcn", "gat")
    },
    "cora.planetoid.best.accuracy": ("cora-grand", "grand.test_accuracy"),
    "cora.random140.best.accuracy": ("cora-best", "grand.test_accuracy"),
    "unet.assignment.skip.digit_iou": ("segmentation-full", "skip.test_digit_iou"),
    "unet.assignment.noskip.digit_iou": ("segmentation-full", "noskip.test_digit_iou"),
    "unet.assignment.difference.digit_iou": ("segmentation-full", "difference.test_digit_iou"),
    "unet.deep.digit_iou": ("segmentation-deep", "skip.test_digit_iou"),
    "bench.lstm.vs_builtin": ("bench", "lstm.vs_builtin"),
    "bench.encoder.vs_builtin": ("bench", "encoder.vs_builtin"),
    "bench.gat.vs_dense": ("bench", "gat.vs_dense"),
    "bench.gat.vs_pyg": ("bench", "gat.vs_pyg"),
    "bench.gcn.vs_pyg": ("bench", "gcn.vs_pyg"),
    "bench.decode.cache_gain": ("bench", "decode.beam5_vs_uncached"),
}
"""Key -> (recorded result, metric in it)."""


def condense(folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """The headline as it follows from the recorded results.

    Raises:
        ResultsError: If a recorded result lacks its metric, or is from stand-in data.
    """
    available = set(store.names(folder))
    headline: dict[str, dict[str, Any]] = {}
    for key, (name, metric) in HEADLINE.items():
        if name not in available:
            continue
        record = store.read(name, folder)
        if record["data"]["standin"]:
            raise ResultsError(f"Result {name} is from stand-in data; remove it from the results.")
        if metric not in record["metrics"]:
            continue
        summary = record["metrics"][metric]
        headline[key] = {
            "value": summary["mean"],
            "low": summary.get("low"),
            "high": summary.get("high"),
            "n": len(summary["values"]),
            "result": f"{name}.json",
        }
    return headline


def write(folder: Path | None = None) -> Path:
    """Write ``headline.json``."""
    path = (folder or settings.results_dir()) / "headline.json"
    return files.write(path, json.dumps(condense(folder), indent=1) + "\n")


def table(folder: Path | None = None) -> Table:
    """The headline as the README shows it."""
    rows = []
    for key, item in condense(folder).items():
        record = store.read(Path(item["result"]).stem, folder)
        device = store.device_of(record)
        interval = "–" if item["low"] is None else f"{item['low']:.4g} to {item['high']:.4g}"
        rows.append(
            (f"`{key}`", f"{item['value']:.4g}", interval, item["n"], record["data"]["name"], device,
             f"[{item['result']}](writeup/results/{item['result']})")
        )  # fmt: skip
    return Table(["key", "value", "95 % interval", "n", "data", "machine", "result"], rows)
