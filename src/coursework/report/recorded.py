"""Tables of recorded results: ``recorded.toml`` says what they show, the results store has the numbers."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coursework.errors import ResultsError
from coursework.experiments.study import key_of
from coursework.report import store
from coursework.report.tables import Metric, Table, Tables, shown
from coursework.stats import summarise

Record = Mapping[str, Any]

_TEXT = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
TABLES: dict[str, Any] = tomllib.loads(_TEXT)


def tables(*names: str) -> Tables:
    """Tables by their names; a plan makes one table, or one for ``each`` of several records."""
    plans = [plan_of(name) for name in names]
    return Tables(table(p, *each) for p in plans for each in p.get("each", {"": ""}).items())


def plan_of(name: str) -> dict[str, Any]:
    own: dict[str, Any] = TABLES[name]
    return (plan_of(own["like"]) if "like" in own else {}) | own


def table(plan: Mapping[str, Any], title: str, ending: str) -> Table:
    main = plan["record"].replace("{}", ending)
    defaults: list[str] = [main, plan.get("form", "mean ± std (n) .4f")]
    cells, records = [], []
    rows: list[list[str]] = plan.get("rows") or [
        [row["variant"], key_of(row["variant"])] for row in store.read(main)["notes"]["rows"]
    ]
    for at, row in enumerate(rows):
        label, key, name, form = row + defaults[len(row) - 2 :]
        record = store.read(name.replace("{}", ending))
        found = (_cell(record, at, key, *[*column, form][1:3]) for column in plan["columns"])
        cells.append([label, *found])
        records.append(record)
    columns = [plan.get("heading", ""), *(label for label, *_ in plan["columns"])]
    caption = plan.get("caption", "{}").replace("{}", title)
    if len({record["name"] for record in records}) == 1:
        return Table(columns, cells, f"{caption} ({provenance(records[0])})".strip())
    cells = [[*row, provenance(own, brief=True)] for row, own in zip(cells, records, strict=True)]
    return Table([*columns, "recorded"], cells, f"{caption} (recorded)")


def _cell(record: Record, at: int, key: str, what: Any, form: str) -> Any:
    """The cell of row number ``at``: of a list, of the study's notes, or a metric in its form."""
    if isinstance(what, list):
        return what[at]
    if what.startswith("notes."):
        note = record["notes"]["rows"][at][what.removeprefix("notes.")]
        return (", ".join(note) or None) if isinstance(note, list) else note
    metric = metric_of(record, what.replace("{}", key))
    return metric and shown(metric, form)


def metric_of(record: Record, name: str) -> Metric | None:
    """``a``, ``RECORD:a``, ``max MODEL.a`` of the curves, ``a - b`` seed by seed, or ``a - b overlap SHARE``
    (see :func:`.summarise`); None if not recorded."""
    if " - " in name:
        name, _, overlap = name.partition(" overlap ")
        a, b = (metric_of(record, part) for part in name.split(" - "))
        if a and b:
            others = [part.rpartition(":")[0] for part in name.split(" - ")]
            if len({tuple((store.read(one) if one else record)["seeds"]) for one in others}) > 1:
                raise ResultsError(f"{name} is of records with different seeds; record both alike.")
            differences = [x - y for x, y in zip(a["values"], b["values"], strict=True)]
            return summarise(differences, float(overlap or 0))
        return None
    if name.startswith("max "):
        model, _, key = name.removeprefix("max ").partition(".")
        return summarise([max(e[key] for e in curve) for curve in record["curves"][model]])
    other, _, name = name.rpartition(":")
    return (store.read(other) if other else record)["metrics"].get(name)


def provenance(record: Record, brief: bool = False) -> str:
    """Seeds, data, machine and commit of a record, for a caption or a cell."""
    seeds, data = len(record["seeds"]), record["data"]
    kind = f"data: {data['name']}{' (STAND-IN)' if data['standin'] else ''}"
    count, commit = f"{seeds} seed{'s' if seeds > 1 else ''}", record["commit"][:7]
    if brief:
        return f"{count}, {kind}, {record['machine']['processor']}, {commit}"
    return f"recorded, {kind}; {count}; {record['name']}.json, {store.device_of(record)}, commit {commit}"
