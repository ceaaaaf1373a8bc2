"""The site: notebooks with their stored outputs, rubric, theory, benchmark and reference as static pages.

``make site`` writes it to ``build/site``. The pages fetch nothing from elsewhere: fonts are the
reader's, MathJax is a package. Nothing is executed, so the outputs are those that were stored from the
real data.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import coursework
from coursework import settings
from coursework.errors import ConfigError, ResultsError
from coursework.report import alt, store
from coursework.report.questions import NOTEBOOKS
from coursework_tools.grading import grade, sections
from coursework_tools.grading.rubric import RUBRIC
from coursework_tools.publishing import speed

PARTS: dict[str, str] = {
    "models": "Models, from scratch, on torch alone",
    "theory": "The numeric check behind each proof",
    "experiments": "Experiments: configurations, training, measures",
    "data": "Data sets and where they come from",
    "training": "Loop, checkpoints, seeds",
    "report": "Results store, rubric, figures, notebooks",
    "bench": "The benchmark: pairs, growth, loading, training",
    "student": "The student edition and its checks",
}
"""Parts of the package, in the order in which a reader meets them."""


# --------------------------------------------------------------------------------------- pages


def _escape(text: str) -> str:
    """Text for a cell of a Markdown table, which escapes its bars itself."""
    return text.replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")


def _slug(heading: str) -> str:
    """Anchor that MyST gives a heading, which is GitHub's."""
    title = sections.plain(heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", title).replace(" ", "-")


def rubric_page() -> str:
    """The rubric, without running anything: that is what `coursework grade` does."""
    pages = grade.pages()
    lines = [
        "# Rubric",
        "",
        "Every sub-question of both homework sets. Numbers are read from the recorded results; run "
        "`coursework grade` for the verdict of the tests on your machine.",
    ]
    homework = ""
    for item in RUBRIC:
        question = item.question
        if question.homework != homework:
            homework = question.homework
            lines += ["", f"## {homework}"]
        worth = "points not known"
        if item.points is not None:  # 0 is known: a question without points
            worth = f"{item.points:g} point{'' if item.points == 1 else 's'}"
        heading = sections.section(question)
        target = f"notebooks/{question.notebook}.ipynb#{_slug(heading)}"
        page = f" (page {pages[question.part]} of the PDF)" if question.part in pages else ""
        lines += [
            "",
            f"### {item.key} · {_escape(item.asks)}",
            "",
            f"*{worth}*",
            "",
            f"- Answer: [{_escape(sections.plain(heading))}]({target}){page}",
            f"- Tests: {len(grade.tests_of(item))}",
        ]
        for number in (grade.measure(number) for number in item.numbers):
            bar = f"; bar: {number.bar_text()}" if number.bar is not None else ""
            lines.append(f"- {_escape(f'{number.number.label}: {number.value_text()}{bar}')}")
        lines.append(f"- For a person: {_escape(item.judge)}")
    return "\n".join(lines) + "\n"


def theory_page() -> str:
    """Claims, checks and refuted wrong versions, by question."""
    from coursework.theory import claims

    lines = [
        "# Theory",
        "",
        "The proofs are in [notebook 6](notebooks/6_theory.ipynb) and, for problem 2, in "
        "[notebook 2](notebooks/2_attention_translation.ipynb). Each claim stands on a numeric check, "
        "and each check is kept sharp by wrong versions of the claim, which it must refute.",
    ]
    for question in dict.fromkeys(claim.question for claim in claims.CLAIMS):
        lines += ["", f"## {question}"]
        for claim in claims.of_question(question):
            lines += ["", f"**{_escape(claim.says)}**", "", f"- checked by `{claim.check_name}`"]
            lines += [f"- refuted: {_escape(says)}" for says, _ in claim.wrong.values()]
    return "\n".join(lines) + "\n"


def benchmark_page() -> str:
    """The recorded benchmark; a sentence where none is recorded."""
    head = "# Benchmark\n\n"
    if "bench" not in store.names():
        return f"{head}{speed.NOTHING}\n"
    record = store.read("bench")
    return (
        f"{head}Our layers and the work around them against what would otherwise be used, measured in turns "
        f"in one run: a ratio above one means that ours is faster. torch {record['versions']['torch']}, "
        f"commit `{record['commit'][:7]}`; `coursework bench` measures it on your machine.\n\n"
        f"{speed.markdown()}\n"
    )


def modules(part: str) -> list[str]:
    """Public modules of a part of the package."""
    folder = Path(coursework.__file__).parent / part
    return [
        module.name
        for module in pkgutil.iter_modules([str(folder)])
        if not module.name.startswith("_")
    ]


def api_pages() -> dict[str, str]:
    """Path below ``api`` -> page, one for each part of the package."""
    names = "\n".join(PARTS)
    pages = {
        "index.md": "# Package\n\nEverything public, from the docstrings in the source.\n\n"
        f"```{{toctree}}\n:maxdepth: 2\n\n{names}\n```\n"
    }
    for part, title in PARTS.items():
        lines = [f"# {part}", "", f"{title}.", ""]
        for module in modules(part):
            name = f"coursework.{part}.{module}"
            lines += [f"## {module}", "", f"```{{eval-rst}}\n.. automodule:: {name}\n```", ""]
        pages[f"{part}.md"] = "\n".join(lines)
    return pages


def prepare(target: Path) -> None:
    """Lay out everything that the site is built from.

    Raises:
        ResultsError: If there is no checkout to read from.
    """
    import nbformat

    root = settings.repo_root()
    if not (root / "docs" / "conf.py").is_file():
        raise ResultsError(
            f"There is no docs/conf.py in {root}; run `make site` inside a checkout."
        )
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(root / "docs", target)
    (target / "notebooks").mkdir()
    for name in NOTEBOOKS:
        document = nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4)
        for cell in document.cells:
            shown = alt.names(cell.source) if cell.cell_type == "code" else []
            if shown:  # MyST-NB reads the text of a picture from its cell
                cell.metadata["mystnb"] = {"image": {"alt": alt.text(shown[0])}}
        nbformat.write(document, target / "notebooks" / f"{name}.ipynb")
    shutil.copy(root / "figures" / "2_cross_attention_full.png", target)
    (target / "extra").mkdir()
    pdf = root / "writeup" / "solutions.pdf"
    if pdf.is_file():
        shutil.copy(pdf, target / "extra")
    (target / "api").mkdir()
    made = {
        "rubric.md": rubric_page(),
        "theory.md": theory_page(),
        "benchmark.md": benchmark_page(),
    }
    made |= {f"api/{path}": text for path, text in api_pages().items()}
    for path, text in made.items():
        (target / path).write_text(text, encoding="utf-8")


def build(target: Path | None = None) -> Path:
    """Build the site and check its links.

    Args:
        target: Folder of the pages, by default ``build/site``; what is in it is replaced.

    Raises:
        ConfigError: If the extra ``site`` is not installed.
        ResultsError: If Sphinx fails, or a link leads nowhere.
    """
    missing = [name for name in ("sphinx", "myst_nb", "furo", "sphinx_copybutton")
               if importlib.util.find_spec(name) is None]  # fmt: skip
    if missing:
        raise ConfigError(
            f'The site needs {", ".join(missing)}; run `pip install -e ".[site]"`, or `make site`.'
        )
    target = target or settings.build_dir() / "site"
    source = target.with_name(f"{target.name}-source")
    prepare(source)
    shutil.rmtree(target, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-d", str(source / ".doctrees"),
         str(source), str(target)],
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise ResultsError("Sphinx could not build the site; the lines above say why.")
    broken = broken_links(target)
    if broken:
        raise ResultsError(f"The site has links that lead nowhere: {'; '.join(broken[:10])}.")
    return target


# --------------------------------------------------------------------------------------- links


class _Page(HTMLParser):
    """Anchors of a page and what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a":
            if "name" in values:
                self.anchors.add(values["name"])
            if "href" in values:
                self.links.append(values["href"])
        elif tag in {"script", "img", "iframe", "source", "video"} and "src" in values:
            self.loaded.append(values["src"])
        elif tag == "link" and values.get("rel") not in {"canonical", "author", "license"}:
            self.loaded.append(values.get("href", ""))


def broken_links(folder: Path, pages: Iterable[Path] | None = None) -> list[str]:
    """Links of built pages that lead nowhere, and parts that a page would fetch from elsewhere.

    Links to other hosts are not followed: this is a check of the site, not of the web.

    Args:
        folder: The built site.
        pages: Pages to look at; all by default.
    """
    parsed: dict[Path, _Page] = {}

    def page(path: Path) -> _Page:
        if path not in parsed:
            parsed[path] = _Page(path.read_text(encoding="utf-8"))
        return parsed[path]

    folder = folder.resolve()
    found = []
    for path in sorted(pages or folder.rglob("*.html")):
        path = path.resolve()
        where = path.relative_to(folder).as_posix()
        for target in page(path).loaded:
            parts = urlsplit(target)
            if parts.scheme == "data":
                continue
            if parts.scheme or parts.netloc:
                found.append(f"{where} fetches {target}")
            elif not (path.parent / unquote(parts.path)).exists():
                found.append(f"{where} lacks {target}")
        for target in page(path).links:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            other = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if other.is_dir():
                other = other / "index.html"
            if not other.is_file():
                found.append(f"{where} links to {target}")
            elif parts.fragment and other.suffix == ".html":
                anchor = unquote(parts.fragment)
                if anchor not in page(other).anchors:
                    found.append(f"{where} links to {target}")
    return found
