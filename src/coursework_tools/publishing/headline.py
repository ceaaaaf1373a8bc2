"""The headline: the numbers that the README shows, condensed from the recorded results.

``coursework report`` writes ``writeup/results/headline.json``: key -> {value, low, high, n, result}. Which
number a key stands for is in ``headline.toml``; a key appears when its result has been recorded.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from coursework import files, settings
from coursework.errors import ResultsError
from coursework.report import store
from coursework.report.tables import Table

HEADLINE: dict[str, tuple[str, str]] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)


def condense(folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """The headline as it follows from the recorded results.

    ResultsError if one of them lacks its metric, or is from stand-in data.
    """
    records = {name: store.read(name, folder) for name in store.names(folder)}
    headline: dict[str, dict[str, Any]] = {}
    for key, (name, metric) in HEADLINE.items():
        if name not in records:
            continue
        if records[name]["data"]["standin"]:
            raise ResultsError(f"Result {name} is from stand-in data; remove it from the results.")
        if metric not in records[name]["metrics"]:
            raise ResultsError(f"Result {name} has no {metric}; record it again.")
        summary = records[name]["metrics"][metric]
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
        interval = "–" if item["low"] is None else f"{item['low']:.4g} to {item['high']:.4g}"
        link = f"[{item['result']}](writeup/results/{item['result']})"
        rows.append(
            (f"`{key}`", f"{item['value']:.4g}", interval, item["n"], record["data"]["name"],
             store.device_of(record), link)
        )  # fmt: skip
    return Table(["key", "value", "95 % interval", "n", "data", "machine", "result"], rows)
