"""The parts of the README and of docs/ that are made from the results store, the rubric and the address."""

import itertools
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

from coursework import files, settings
from coursework.errors import ConfigError, ResultsError
from coursework.report import alt, questions
from coursework.report.tables import Table
from coursework_tools.grading.rubric import RUBRIC
from coursework_tools.publishing import headline, speed

UNSET = """\
*Colab and Binder links appear here once the repository has an address: set* `Repository` *under*
`[project.urls]` *in [pyproject.toml](pyproject.toml) and run* `coursework report`."""


def address(path: Path | None = None) -> str | None:
    """The repository's address on GitHub, which is what Colab and Binder open; None where none is set."""
    path = path or settings.repo_root() / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"] if path.is_file() else {}
    url = project.get("urls", {}).get("Repository")
    found = re.fullmatch(r"(https://github\.com/[\w.-]+/[\w.-]+?)(?:\.git)?/?", url or "")
    if url is not None and found is None:
        remedy = "write https://github.com/OWNER/NAME"
        raise ConfigError(f"Repository in pyproject.toml is {url!r}; {remedy}.")
    return found and found[1]


def badges(url: str | None) -> str:
    """Each notebook on Colab, and in a JupyterLab that Binder builds; a badge must lead somewhere."""
    if url is None:
        return UNSET
    name = url.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{name}/blob/main/notebooks"
    binder = f"https://mybinder.org/v2/gh/{name}/main?urlpath=lab%2Ftree%2Fnotebooks%2F"
    opened = " · ".join(
        f"{notebook[0]} [Colab]({colab}/{notebook}.ipynb) [Binder]({binder}{notebook}.ipynb)"
        for notebook in questions.NOTEBOOKS
    )
    return f"Open a notebook without installing anything: {opened}"


def answers(homework: str, folder: Path | None = None) -> Table:
    """A short row for each sub-question: its answer and first number, seeds, and where it is."""
    rows = []
    chosen = [item for item in RUBRIC if item.question.homework == homework]
    chosen.sort(key=lambda item: item.question.part)
    for part, lines in itertools.groupby(chosen, lambda item: item.question.part):
        items = list(lines)
        question = items[0].question
        numbers = [questions.measure(n, folder) for item in items for n in item.numbers]
        said: tuple[str | int, ...] = (question.answer, "–", "–")
        if numbers:
            words = "; ".join(filter(None, (question.answer, numbers[0].number.label)))
            said = (words, numbers[0].value_text(), numbers[0].n or "–")
        where = f"[notebook {question.notebook[0]}]({items[0].link})"
        rows.append((f"{part} {question.asks}", *said, where))
    return Table(["question", "answer", "number [95 % interval]", "n", "where"], rows)


def by_question(folder: Path | None = None) -> Table:
    """Every line of the rubric with its section, code, and recorded numbers (links from docs/)."""
    columns = ["problem", "question", "points", "section", "code", "result [95 % interval]", "bar"]
    rows = []
    for item in RUBRIC:
        question = item.question
        numbers = [questions.measure(n, folder) for n in item.numbers]
        # each recorded run once
        seconds = {n.number.result: n.seconds for n in numbers if n.seconds is not None}
        machines = ", ".join(sorted({n.machine for n in numbers if n.machine}))
        code = [f"[{Path(path).stem}](../src/coursework/{path})" for path in item.modules]
        results = [f"{n.number.label}: {n.value_text()}" for n in numbers]
        rows.append((
            f"[{question.notebook[0]}](../notebooks/{question.notebook}.ipynb)",
            item.key, questions.worth(item.points), f"[{item.section}](../{item.link})",
            "<br>".join(code), "<br>".join(results) or "shown by its tests",
            "<br>".join(n.bar_text() for n in numbers) or "–",
            f"{sum(seconds.values()):,.0f} ({machines})" if seconds else "–",
        ))  # fmt: skip
    return Table([*columns, "seconds"], rows)


def bench(folder: Path | None = None) -> str:
    """The benchmark's tables and its figures, if they are drawn."""
    figures = sorted((settings.repo_root() / "figures").glob("bench_*.png"), reverse=True)
    drawn = [f"![{alt.text(path.stem)}](../figures/{path.name})" for path in figures]
    return "\n\n".join([speed.markdown(folder), *drawn])


HOMEWORKS = dict.fromkeys(question.homework for question in questions.QUESTIONS)
# page -> the parts in it, each between two markers, and what makes them
PAGES: dict[str, dict[str, Callable[[Path | None], str]]] = {
    "README.md": {
        "badges": lambda _: badges(address()),
        "answers": lambda folder: "\n\n".join(
            f"### {homework}\n\n{answers(homework, folder).to_markdown()}" for homework in HOMEWORKS
        ),
    },
    "docs/results.md": {
        "results": lambda folder: headline.table(folder).to_markdown(),
        "questions": lambda folder: by_question(folder).to_markdown(),
    },
    "docs/benchmark.md": {"bench": bench},
}


def markers(part: str) -> tuple[str, str]:
    """The lines between which a part stands."""
    return f"<!-- {part}: made by `coursework report`, do not edit -->", f"<!-- /{part} -->"


def render(page: str, text: str, folder: Path | None = None) -> str:
    """``text`` of a page of :data:`PAGES` with its made parts replaced; ResultsError without markers."""
    for part, make in PAGES[page].items():
        start, end = markers(part)
        head, found, rest = text.partition(start)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ResultsError(f"{page} lacks the markers {start} and {end}; put them back.")
        text = f"{head}{start}\n{make(folder)}\n{end}{tail}"
    return text


def texts() -> dict[str, str]:
    return {page: (settings.repo_root() / page).read_text(encoding="utf-8") for page in PAGES}


def stale() -> list[str]:
    """Pages whose made parts differ from the store."""
    return [page for page, text in texts().items() if render(page, text) != text]


def update() -> None:
    for page, text in texts().items():
        files.write(settings.repo_root() / page, render(page, text))
