"""The site: notebooks with their stored outputs, rubric, theory, benchmark and reference as static pages.

``make site`` writes it to ``build/site``. The pages fetch nothing from elsewhere: fonts are the
reader's, MathJax is a package. Nothing is executed, so the outputs are those that were stored from the
real data.
"""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import coursework
import coursework_tools
from coursework import settings
from coursework.errors import ConfigError, ResultsError
from coursework.report import alt, store
from coursework.report.questions import NOTEBOOKS
from coursework_tools.grading import grade, sections
from coursework_tools.grading.rubric import RUBRIC
from coursework_tools.publishing import speed

NEEDED = ("sphinx", "myst_nb", "furo", "sphinx_copybutton")
FIRST = ("models", "theory", "experiments", "data", "training", "report")  # then the tools

# --------------------------------------------------------------------------------------- pages


def escape(text: str) -> str:
    """Text for Markdown, which escapes the bars of its tables itself."""
    return text.replace("*", "\\*").replace("_", "\\_").replace("<", "&lt;")


def _slug(heading: str) -> str:
    """Anchor that MyST gives a heading, which is GitHub's."""
    title = sections.plain(heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", title).replace(" ", "-")


def _page(name: str, **values: Any) -> str:
    """A page from its template beside this module."""
    filters = {"escape": escape, "slug": _slug, "plain": sections.plain}
    return grade.filled(Path(__file__).with_name(f"{name}.j2"), filters, **values)


def rubric_page() -> str:
    """The rubric, without running anything: that is what `coursework grade` does."""
    return _page(
        "rubric.md",
        lines=[
            (item, sections.section(item.question), len(grade.tests_of(item)),
             [grade.measure(number) for number in item.numbers])
            for item in RUBRIC
        ],
        pages=grade.pages(),
    )  # fmt: skip


def theory_page() -> str:
    """Claims, checks and refuted wrong versions, by question."""
    from coursework.theory import claims

    return _page("theory.md", claims=claims.CLAIMS)


def benchmark_page() -> str:
    """The recorded benchmark; a sentence where none is recorded."""
    record = store.read("bench") if "bench" in store.names() else None
    return _page("benchmark.md", record=record, table=speed.markdown())


def parts() -> dict[str, Path]:
    """Parts of both packages (``coursework.models``) -> folder, in the order in which a reader meets them."""
    found: dict[str, Path] = {}
    for package in (coursework, coursework_tools):
        folder = Path(str(package.__file__)).parent
        names = [module.name for module in pkgutil.iter_modules([str(folder)]) if module.ispkg]
        names.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
        found |= {f"{package.__name__}.{name}": folder / name for name in names}
    return found


def api_pages() -> dict[str, str]:
    """Path -> page of the reference, one for each part of the packages."""
    names = {part: part.rpartition(".")[2] for part in parts()}
    pages = {"api/index.md": _page("api.md", parts=names.values(), modules=())}
    for part, folder in parts().items():
        words = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
        modules = [m.name for m in pkgutil.iter_modules([str(folder)]) if m.name[0] != "_"]
        said = words.partition("\n\n")[0]
        page = _page("api.md", part=part, title=names[part], words=said, modules=modules, parts=())
        pages[f"api/{names[part]}.md"] = page
    return pages


def prepare(target: Path) -> None:
    """Lay out everything that the site is built from; ResultsError outside a checkout."""
    import nbformat

    root = settings.repo_root()
    if not (root / "docs" / "conf.py").is_file():
        raise ResultsError(
            f"There is no docs/conf.py in {root}; run `make site` inside a checkout."
        )
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(root / "docs", target)
    for folder in ("notebooks", "extra", "api"):
        (target / folder).mkdir()
    for name in NOTEBOOKS:
        document = nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4)
        for cell in document.cells:
            shown = alt.names(cell.source) if cell.cell_type == "code" else []
            if shown:  # MyST-NB reads the text of a picture from its cell
                cell.metadata["mystnb"] = {"image": {"alt": alt.text(shown[0])}}
        nbformat.write(document, target / "notebooks" / f"{name}.ipynb")
    shutil.copy(root / "figures" / "2_cross_attention_full.png", target)
    shutil.copy(root / "writeup" / "solutions.pdf", target / "extra")
    own = {"rubric": rubric_page, "theory": theory_page, "benchmark": benchmark_page}
    made = {f"{name}.md": page() for name, page in own.items()}
    for path, text in (made | api_pages()).items():
        (target / path).write_text(text, encoding="utf-8")


def build(target: Path | None = None) -> Path:
    """Build the site in a folder (``build/site``) in place of what is in it, and check its links.

    ConfigError without the extra ``site``; ResultsError if Sphinx fails, or a link leads nowhere.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
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
        self.targets: list[tuple[str, bool]] = []  # whether it is part of the page, or only linked
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a" and "href" in values:
            self.targets.append((values["href"], False))
        elif tag in {"script", "img", "iframe", "source", "video"} and "src" in values:
            self.targets.append((values["src"], True))
        elif tag == "link" and values.get("rel") not in {"canonical", "author", "license"}:
            self.targets.append((values.get("href", ""), True))


def broken_links(folder: Path) -> list[str]:
    """Links of built pages that lead nowhere, and parts that a page would fetch from elsewhere.

    Links to other hosts are not followed: this is a check of the site, not of the web.
    """
    folder = folder.resolve()
    pages = {
        path: _Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))
    }
    found = []
    for path, page in pages.items():
        where = path.relative_to(folder).as_posix()
        for target, loaded in page.targets:
            url = urlsplit(target)
            if url.scheme or url.netloc:
                if loaded and url.scheme != "data":
                    found.append(f"{where} fetches {target}")
                continue
            other = (path.parent / unquote(url.path)).resolve() if url.path else path
            if other.is_dir():
                other = other / "index.html"
            anchors, anchor = pages[other].anchors if other in pages else (), unquote(url.fragment)
            if not other.is_file() or (anchor and other in pages and anchor not in anchors):
                found.append(f"{where} {'lacks' if loaded else 'links to'} {target}")
    return found
