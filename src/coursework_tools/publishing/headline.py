"""The headline: numbers that are shown, by key (``headline.toml``), condensed from the recorded results."""

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
    """The headline as it follows from the recorded results: key -> {value, low, high, n, result}."""
    records = {name: store.read(name, folder) for name in store.names(folder)}
    headline: dict[str, dict[str, Any]] = {}
    for key, (name, metric) in HEADLINE.items():
        if name not in records:
            continue
        if records[name]["data"]["standin"]:
            raise ResultsError(f"Result {name} is from stand-in data; remove it from the results.")
        found = records[name]["metrics"].get(metric)
        if found is None:
            raise ResultsError(f"Result {name} has no {metric}; record it again.")
        shown = {"value": found["mean"], "low": found.get("low"), "high": found.get("high")}
        headline[key] = shown | {"n": len(found["values"]), "result": f"{name}.json"}
    return headline


def text() -> str:
    return json.dumps(condense(), indent=1) + "\n"


def write() -> Path:
    return files.write(settings.results_dir() / "headline.json", text())


def stale() -> list[str]:
    """``headline.json`` if it is missing or not what the results say."""
    path = settings.results_dir() / "headline.json"
    return [] if path.is_file() and path.read_bytes() == text().encode() else [path.name]


def table(folder: Path | None = None) -> Table:
    """The headline as docs/results.md shows it."""
    rows = []
    for key, item in condense(folder).items():
        name = item["result"]
        record = store.read(Path(name).stem, folder)
        interval = "–" if item["low"] is None else f"{item['low']:.4g} to {item['high']:.4g}"
        number, link = f"{item['value']:.4g}", f"[{name}](../writeup/results/{name})"
        where = record["data"]["name"], store.device_of(record)
        rows.append((f"`{key}`", number, interval, item["n"], *where, link))
    return Table(["key", "value", "95 % interval", "n", "data", "machine", "result"], rows)
