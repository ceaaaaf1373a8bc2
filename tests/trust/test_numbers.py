"""Every number in the prose of notebooks and README has a source, or is named below with its reason.

Results are shown by code, from the results store, so prose has none. What prose may state are settings
(numbers of a config: of a preset, or recorded with a result), sizes (recorded in the notes of a result,
or known of a data set), numbers of questions, and years.
"""

import functools
import json
import re
from typing import Any

import nbformat
import pytest

from coursework import settings
from coursework.data import sources
from coursework.experiments import base
from coursework.report.questions import NOTEBOOKS, QUESTIONS
from coursework_tools.publishing import readme
from properties import TYPED_NUMBERS, measured_looking

ROOT, TYPED = settings.repo_root(), TYPED_NUMBERS["prose"]
NO_PROSE = (
    r"(?s:```.*?```)", r"`[^`]*`", r"(?s:\$\$.*?\$\$)", r"\$[^$\n]*\$",
    r"\]\([^)\s]*\)|https?://\S+|arXiv:\S+", r"(?m:^>.*$)",
)  # fmt: skip


def numbers_in(value: Any) -> set[float]:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return set()
    if isinstance(value, int | float):
        return {float(value)}
    items = value.values() if isinstance(value, dict) else value
    return set().union(*map(numbers_in, items)) if len(items) < 40 else set()


@functools.cache
def recorded() -> dict[str, Any]:
    paths = (ROOT / "writeup" / "results").glob("*.json")
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(paths)}


@functools.cache
def sourced() -> frozenset[float]:
    found: set[float] = set()
    for name in base.TABLES:
        for config in base.presets_of(name).values():
            found |= numbers_in(base.as_record(config))
    for record in recorded().values():
        found |= numbers_in(record.get("config", {}))
        sizes = numbers_in(record.get("notes", {}))
        found |= {number for number in sizes if number >= 100 and number == int(number)}
    for entry in sources.REGISTRY.values():
        found |= {float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", entry.title)}
    return frozenset(found)


def unsourced(markdown: str) -> list[str]:
    parts = {question.part for question in QUESTIONS}
    found = []
    for written in measured_looking(markdown, NO_PROSE, TYPED["allowed"]):
        value = float(written.rstrip("% ").replace(",", ""))
        year = re.fullmatch(r"(?:19|20)\d\d", written)
        setting = not written.endswith("%") and value in sourced()
        if not (written in parts or year or setting):
            found.append(written)
    return found


def cells(name: str) -> list[str]:
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_prose_of_a_notebook(name: str) -> None:
    assert [number for cell in cells(name) for number in unsourced(cell)] == []


def readme_prose() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for start, end in map(readme.markers, readme.PAGES["README.md"]):
        head, _, rest = text.partition(start)
        text = head + rest.partition(end)[2]
    return re.sub(r"<img [^>]*>", "", text)  # widths of pictures


def test_prose_of_the_readme() -> None:
    assert unsourced(readme_prose()) == []


@pytest.mark.parametrize("text", [*TYPED["planted"], *TYPED["sound"]])
def test_a_planted_number_is_found_and_what_has_a_source_passes(text: str) -> None:
    assert bool(unsourced(text)) == (text in TYPED["planted"])


def test_every_exception_is_used() -> None:
    everything = " ".join([*(cell for name in NOTEBOOKS for cell in cells(name)), readme_prose()])
    everything = re.sub(r"\s+", " ", everything)
    for number, reason in TYPED["allowed"].items():
        assert number in everything, number
        assert reason


def test_seeds_and_intervals_are_recorded() -> None:
    for result in recorded().keys() - {"headline", "bench"}:
        record = recorded()[result]
        assert record["seeds"], result
        for name, metric in record["metrics"].items():
            assert len(metric["values"]) == len(record["seeds"]), (result, name)
            if "difference" in name.split(".")[-1] and "interval" in metric:
                how = metric["interval"]
                assert "paired" in how or how.startswith("t, "), (result, name, how)
            if re.search(r"(^|\.)test_accuracy$", name):
                assert "low" in metric, (result, name)
