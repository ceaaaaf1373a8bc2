"""The parts of the README that are made from the results store and the rubric."""

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

START = "<!-- results: made by `coursework report`, do not edit -->"
END = "<!-- /results -->"
BY_QUESTION = "<!-- questions: made by `coursework report`, do not edit -->"
END_BY_QUESTION = "<!-- /questions -->"
BADGES = "<!-- badges: made by `coursework report`, do not edit -->"
END_BADGES = "<!-- /badges -->"
BENCH_START = "<!-- bench: made by `coursework report`, do not edit -->"
BENCH_END = "<!-- /bench -->"


def by_question(folder: Path | None = None) -> Table:
    """Every line of the rubric with its section, code, and recorded numbers.

    ``seconds`` is what the recorded runs of a line took together, each counted once.
    """
    rows = []
    for item in RUBRIC:
        question = item.question
        number = question.notebook.partition("_")[0]
        heading = sections.plain(sections.section(question))
        numbers = [grade.measure(n, folder) for n in item.numbers]
        seconds = {n.number.result: n.seconds for n in numbers if n.seconds is not None}
        machines = {n.machine for n in numbers if n.machine}
        results = [f"{n.number.label}: {n.value_text()}" for n in numbers]
        bars = [n.bar_text() for n in numbers]
        rows.append(
            (
                f"[{number}](notebooks/{question.notebook}.ipynb)",
                f"{item.key}",
                questions.worth(item.points),
                f"[{heading}]({sections.link(question)})",
                "<br>".join(f"[{m.rpartition('/')[2][:-3]}](src/coursework/{m})" for m in item.modules),
                "<br>".join(results) or "shown by its tests",
                "<br>".join(bars) or "–",
                f"{sum(seconds.values()):,.0f} ({', '.join(sorted(machines))})" if seconds else "–",
            )
        )  # fmt: skip
    columns = "problem, question, points, section, code, result [95 % interval], bar, seconds"
    return Table(columns.split(", "), rows)


def _between(text: str, start: str, end: str, make: Callable[[], str]) -> str:
    head, found, rest = text.partition(start)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ResultsError(f"README.md lacks the markers {start} and {end}; put them back.")
    return f"{head}{start}\n{make()}\n{end}{tail}"


def render(text: str, folder: Path | None = None) -> str:
    """``text`` with the lines between the markers made anew: the results and the benchmark.

    Raises:
        ResultsError: If the markers are missing.
    """
    text = _between(text, BADGES, END_BADGES, lambda: badges.markdown(badges.address()))
    text = _between(text, BY_QUESTION, END_BY_QUESTION, lambda: by_question(folder).to_markdown())
    text = _between(text, BENCH_START, BENCH_END, lambda: _bench(folder))
    return _between(text, START, END, lambda: headline.table(folder).to_markdown())


def _bench(folder: Path | None) -> str:
    """The benchmark's tables and its figures, as far as they are drawn."""
    drawn = [
        f"![{alt.text(name)}](figures/{name}.png)"
        for name in ("bench_ratios", "bench_growth")
        if (settings.repo_root() / "figures" / f"{name}.png").is_file()
    ]
    return "\n\n".join([speed.markdown(folder), *drawn])


def update(path: Path | None = None) -> bool:
    """Rewrite the README's tables; True where they changed."""
    path = path or settings.repo_root() / "README.md"
    before = path.read_text(encoding="utf-8")
    after = render(before)
    if after == before:
        return False
    files.write(path, after)
    return True
