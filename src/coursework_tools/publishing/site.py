"""The site: notebooks, rubric, theory, benchmark and reference as pages that fetch nothing from elsewhere."""

import importlib.util
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import coursework
import coursework_tools
from coursework import settings
from coursework.errors import ConfigError, ResultsError
from coursework.report import alt, questions, store
from coursework.report.questions import NOTEBOOKS
from coursework_tools import checkout
from coursework_tools.grading import grade
from coursework_tools.grading.rubric import RUBRIC
from coursework_tools.publishing import speed

NEEDED = ("sphinx", "myst_nb", "furo", "sphinx_copybutton")
FIRST = ("models", "theory", "experiments", "data", "training", "report")  # then the tools


def escape(text: str) -> str:
    """Text for Markdown, which escapes the bars of its tables itself."""
    return re.sub(r"[*_]", r"\\\g<0>", text).replace("<", "&lt;")


def _slug(heading: str) -> str:
    """Anchor that MyST gives a heading, which is GitHub's."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _page(name: str, /, **values: Any) -> str:
    """A page from its template beside this module."""
    filters = {"escape": escape, "slug": _slug}
    return grade.filled(Path(__file__).with_name(f"{name}.j2"), filters, **values)


def own_pages() -> dict[str, str]:
    """Path -> page: rubric (without running anything), claims of the theory, recorded benchmark."""
    from coursework.theory import claims

    lines = [
        (item, len(grade.tests_of(item)), [*map(questions.measure, item.numbers)])
        for item in RUBRIC
    ]
    record = store.read("bench") if "bench" in store.names() else None
    return {
        "rubric.md": _page("rubric.md", lines=lines, pages=grade.pages()),
        "theory.md": _page("theory.md", claims=claims.CLAIMS),
        "benchmark.md": _page("benchmark.md", record=record, table=speed.markdown()),
    }


def api_pages() -> dict[str, str]:
    """Path -> page of the reference, one for each part of the packages, in a reader's order."""
    pages = {}
    for package in (coursework, coursework_tools):
        parts = [one.name for one in pkgutil.iter_modules(package.__path__) if one.ispkg]
        for name in sorted(parts, key=lambda one: (*FIRST, one).index(one)):
            part = importlib.import_module(f"{package.__name__}.{name}")
            modules = [m.name for m in pkgutil.iter_modules(part.__path__) if m.name[0] != "_"]
            pages[f"api/{name}.md"] = _page("api.md", part=part, name=name, modules=modules)
    return {"api/index.md": _page("api.md", names=[Path(path).stem for path in pages]), **pages}


def prepare(target: Path) -> None:
    """Lay out everything that the site is built from; ResultsError outside a checkout."""
    import nbformat

    docs = checkout.inside("docs/conf.py", "make site").parent
    root = docs.parent
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(docs, target)
    for page in target.glob("*.md"):  # of the repository's files the site has the notebooks alone
        text = page.read_text(encoding="utf-8")
        text = re.sub(r"\(\.\./(notebooks/\w+\.ipynb)[^)]*\)", r"(\1)", text)
        page.write_text(re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", text), encoding="utf-8")
    for folder in ("notebooks", "extra", "api"):
        (target / folder).mkdir()
    for name in NOTEBOOKS:
        document = checkout.notebook(name)
        for cell in document.cells:
            # MyST-NB reads the text of a picture from its cell
            if cell.cell_type == "code" and (shown := alt.names(cell.source)):
                cell.metadata["mystnb"] = {"image": {"alt": alt.text(shown[0])}}
        nbformat.write(document, target / "notebooks" / f"{name}.ipynb")
    shutil.copy(root / "figures" / "2_cross_attention_full.png", target)
    shutil.copy(root / "writeup" / "solutions.pdf", target / "extra")
    for path, text in (own_pages() | api_pages()).items():
        (target / path).write_text(text, encoding="utf-8")


def build() -> Path:
    """Build the site in ``build/site`` in place of what is in it, and check its links."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        remedy = 'run `pip install -e ".[site]"`, or `make site`'
        raise ConfigError(f"The site needs {', '.join(missing)}; {remedy}.")
    target, source = (settings.build_dir() / name for name in ("site", "site-source"))
    prepare(source)
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-d", f"{source}/.doctrees"]
    if subprocess.run([*command, str(source), str(target)], check=False).returncode:
        raise ResultsError("Sphinx could not build the site; the lines above say why.")
    if broken := broken_links(target):
        raise ResultsError(f"The site has links that lead nowhere: {'; '.join(broken[:10])}.")
    return target


def broken_links(folder: Path) -> list[str]:
    """Links within the site that lead nowhere, and parts that a page would fetch from elsewhere."""
    from lxml import html

    folder = folder.resolve()
    texts = {path: path.read_text("utf-8") for path in sorted(folder.rglob("*.html"))}
    pages = {path: html.document_fromstring(text.strip() or "<p>") for path, text in texts.items()}
    anchors = {path: {*page.xpath("//@id | //@name")} for path, page in pages.items()}
    found = []
    for path, page in pages.items():
        where = path.relative_to(folder).as_posix()
        for element, _, target, _ in page.iterlinks():
            url, loaded = urlsplit(target), element.tag != "a"
            if element.tag == "link" and element.get("rel") in ("canonical", "author", "license"):
                continue
            if url.scheme or url.netloc:
                found += [f"{where} fetches {target}"] * (loaded and url.scheme != "data")
                continue
            other = (path.parent / unquote(url.path)).resolve() if url.path else path
            if other.is_dir():
                other = other / "index.html"
            anchor = unquote(url.fragment)
            missed = anchor and other in pages and anchor not in anchors[other]
            if missed or not other.is_file():
                found.append(f"{where} {'lacks' if loaded else 'links to'} {target}")
    return found
