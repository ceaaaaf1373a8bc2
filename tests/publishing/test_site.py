"""The site's own pages and its link check; the built site is looked at in tests/browser."""

import re
from pathlib import Path

import nbformat
import pytest

from coursework import settings
from coursework.errors import ConfigError, ResultsError
from coursework.report import alt
from coursework.report.questions import NOTEBOOKS, QUESTIONS
from coursework.theory.claims import CLAIMS
from coursework_tools.publishing import site

ROOT = settings.repo_root()


def pages(folder: Path, **texts: str) -> Path:
    (folder / "sub").mkdir()
    for name, text in texts.items():
        (folder / f"{name.replace('__', '/')}.html").write_text(text, encoding="utf-8")
    return folder


def test_links_that_lead_somewhere(tmp_path: Path) -> None:
    (tmp_path / "a b.css").write_text("", encoding="utf-8")
    folder = pages(
        tmp_path,
        index='<h1 id="top">x</h1><a href="#top">1</a><a href="sub/page.html#h%C3%A9">2</a>'
        '<a href="https://example.org/gone">3</a><a href="mailto:x@y">4</a><a href="sub/">5</a>'
        '<link rel="stylesheet" href="a%20b.css"><img src="data:image/png;base64,AA==">',
        sub__page='<p id="hé"><a href="../index.html#top">up</a>',
        sub__index="",
    )
    assert site.broken_links(folder) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('<a href="gone.html">x</a>', "links to gone.html"),
        ('<a href="#gone">x</a>', "links to #gone"),
        ('<a href="other.html#gone">x</a>', "links to other.html#gone"),
        ('<a href="sub/">x</a>', "links to sub/"),
        ('<img src="gone.png">', "lacks gone.png"),
        ('<script src="https://cdn.example.org/x.js"></script>', "fetches https://cdn"),
        ('<script src="//cdn.example.org/x.js"></script>', "fetches //cdn"),
        ('<link rel="stylesheet" href="https://fonts.example.org">', "fetches https://fonts"),
    ],
)
def test_links_that_do_not(tmp_path: Path, text: str, found: str) -> None:
    (problem,) = site.broken_links(pages(tmp_path, index=text, other='<p id="there">'))
    assert problem.startswith(f"index.html {found}")


def test_theory_page_has_every_claim_and_every_wrong_version() -> None:
    text = site.own_pages()["theory.md"]
    for claim in CLAIMS:
        assert f"`{claim.check_name}`" in text
        for version in [claim.says, *(says for says, _ in claim.wrong.values())]:
            assert site.escape(version) in text


def test_benchmark_page_says_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ratio above one" in site.own_pages()["benchmark.md"]
    monkeypatch.setattr("coursework.report.store.names", lambda folder=None: [])
    assert "No benchmark has been recorded yet" in site.own_pages()["benchmark.md"]


def test_reference_has_every_public_module() -> None:
    made = site.api_pages()
    for path in (ROOT / "src").glob("coursework*/*/[!_]*.py"):
        name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        assert f".. automodule:: {name}\n" in made[f"api/{path.parent.name}.md"]
    assert len(made) == 1 + len(list((ROOT / "src").glob("coursework*/*/__init__.py")))


def test_sources_are_laid_out_with_described_pictures(tmp_path: Path) -> None:
    target = tmp_path / "source"
    site.prepare(target)
    assert not any("](../" in page.read_text("utf-8") for page in target.rglob("*.md"))
    for name in NOTEBOOKS:
        document = nbformat.read(target / "notebooks" / f"{name}.ipynb", as_version=4)
        stored = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        assert [c.source for c in document.cells] == [c.source for c in stored.cells]
        for cell in document.cells:
            if cell.cell_type == "code" and alt.names(cell.source):
                assert len(cell.metadata["mystnb"]["image"]["alt"].split()) >= 15
    toctree = (target / "index.md").read_text(encoding="utf-8")
    for name in NOTEBOOKS:
        assert f"notebooks/{name}\n" in toctree
    rubric = (target / "rubric.md").read_text(encoding="utf-8")
    for question in QUESTIONS:
        assert f"\n### {question.part}" in rubric
    assert (target / "extra" / "solutions.pdf").is_file()


def test_no_page_of_the_site_is_fetched_from_elsewhere() -> None:
    for path in (ROOT / "docs").rglob("*"):
        if path.suffix in {".css", ".md"}:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"@import|url\(\s*[\"']?https?:", text), path


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'pip install -e "\.\[site\]"'):
        site.build()


def test_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "repo_root", lambda: tmp_path)
    with pytest.raises(ResultsError, match="inside a checkout"):
        site.prepare(tmp_path / "x")
