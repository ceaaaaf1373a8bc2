"""The parts of the README and of docs/ that are made from the results store and the rubric."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from coursework import files, settings
from coursework.errors import ResultsError
from coursework.report import alt, questions
from coursework.report.tables import Table
from coursework_tools.grading import grade, sections
from coursework_tools.grading.rubric import RUBRIC
from coursework_tools.publishing import badges, headline, speed

PAGES: dict[str, tuple[str, ...]] = {
    "README.md": ("badges", "answers"),
    "docs/results.md": ("results", "questions"),
    "docs/benchmark.md": ("bench",),
}
"""Page -> the parts in it, each between two markers."""


def answers(folder: Path | None = None) -> Table:
    """One short row for each sub-question: its answer or first number, seeds, and where it is."""
    rows = []
    for part in dict.fromkeys(item.question.part for item in RUBRIC):
        items = [item for item in RUBRIC if item.question.part == part]
        question = items[0].question
        numbers = [grade.measure(n, folder) for item in items for n in item.numbers]
        first = numbers[0] if numbers else None
        rows.append(
            (
                f"{part} {question.asks}",
                first.number.label if first else question.answer,
                first.value_text() if first else "–",
                first.n if first and first.n else "–",
                f"[notebook {question.notebook[0]}]({sections.link(question)})",
            )
        )
    return Table(["question", "answer", "number [95 % interval]", "n", "where"], rows)


def by_question(folder: Path | None = None) -> Table:
    """Every line of the rubric with its section, code, and recorded numbers (links from docs/).

    ``seconds`` is what the recorded runs of a line took together, each counted once.
    """
    rows = []
    for item in RUBRIC:
        question = item.question
        number = question.notebook.partition("_")[0]
        heading = sections.plain(sections.section(question))
        numbers = [grade.measure(n, folder) for n in item.numbers]
        seconds = {n.number.result: n.seconds for n in numbers if n.seconds is not None}
        machines = ", ".join(sorted({n.machine for n in numbers if n.machine}))
        code = [
            f"[{module.rpartition('/')[2].removesuffix('.py')}](../src/coursework/{module})"
            for module in item.modules
        ]
        results = [f"{n.number.label}: {n.value_text()}" for n in numbers]
        rows.append(
            (
                f"[{number}](../notebooks/{question.notebook}.ipynb)",
                item.key,
                questions.worth(item.points),
                f"[{heading}](../{sections.link(question)})",
                "<br>".join(code),
                "<br>".join(results) or "shown by its tests",
                "<br>".join(n.bar_text() for n in numbers) or "–",
                f"{sum(seconds.values()):,.0f} ({machines})" if seconds else "–",
            )
        )
    columns = ["problem", "question", "points", "section", "code", "result [95 % interval]", "bar"]
    return Table([*columns, "seconds"], rows)


def bench(folder: Path | None = None) -> str:
    """The benchmark's tables and its figures, if they are drawn."""
    drawn = [
        f"![{alt.text(name)}](../figures/{name}.png)"
        for name in ("bench_ratios", "bench_growth")
        if (settings.repo_root() / "figures" / f"{name}.png").is_file()
    ]
    return "\n\n".join([speed.markdown(folder), *drawn])


MAKERS: dict[str, Callable[[Path | None], str]] = {
    "badges": lambda _: badges.markdown(badges.address()),
    "answers": lambda folder: answers(folder).to_markdown(),
    "questions": lambda folder: by_question(folder).to_markdown(),
    "results": lambda folder: (
        headline.table(folder).to_markdown().replace("](writeup/", "](../writeup/")
    ),
    "bench": bench,
}


def markers(part: str) -> tuple[str, str]:
    """The lines between which a part stands."""
    return f"<!-- {part}: made by `coursework report`, do not edit -->", f"<!-- /{part} -->"


def render(page: str, text: str, folder: Path | None = None) -> str:
    """``text`` of a page of :data:`PAGES` with its made parts replaced; ResultsError without markers."""
    for part in PAGES[page]:
        start, end = markers(part)
        head, found, rest = text.partition(start)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ResultsError(f"{page} lacks the markers {start} and {end}; put them back.")
        text = f"{head}{start}\n{MAKERS[part](folder)}\n{end}{tail}"
    return text


def stale() -> list[str]:
    """Pages whose made parts differ from the store."""
    pages = {page: settings.repo_root() / page for page in PAGES}
    texts = {page: path.read_text(encoding="utf-8") for page, path in pages.items()}
    return [page for page, text in texts.items() if render(page, text) != text]


def update() -> list[str]:
    """Rewrite the pages that are stale; which they were."""
    changed = stale()
    for page in changed:
        path = settings.repo_root() / page
        files.write(path, render(page, path.read_text(encoding="utf-8")))
    return changed
