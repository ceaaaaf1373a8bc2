"""README: its tables follow the store, its badges the repository's address, its links lead somewhere."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from coursework import settings
from coursework.errors import ConfigError, ResultsError
from coursework.report import store
from coursework.report.questions import NOTEBOOKS
from coursework_tools.grading.rubric import RUBRIC
from coursework_tools.publishing import readme

ROOT = settings.repo_root()
README = (ROOT / "README.md").read_text(encoding="utf-8")
URL = "https://github.com/someone/deep-learning"


def test_every_line_of_the_rubric_is_in_the_table_with_its_links() -> None:
    table = readme.by_question()
    assert len(table.rows) == len(RUBRIC)
    text = table.to_markdown()
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs" / target).exists(), target
    for item in RUBRIC:
        assert item.link in text
        for number in item.numbers:
            if number.result not in store.names():
                assert f"{number.label}: not recorded yet" in text


def test_the_readme_has_one_short_row_for_each_sub_question() -> None:
    tables = [readme.answers(homework) for homework in readme.HOMEWORKS]
    rows = [row for table in tables for row in table.rows]
    assert len(rows) == len({item.question.part for item in RUBRIC}) <= 30
    assert max(len(line) for table in tables for line in table.to_markdown().splitlines()) < 500
    assert [row[0][:3] for row in tables[1].rows][:1] == ["1.1"]  # in the order of the homework
    row = next(row for row in rows if row[0].startswith("3.3 "))
    record = store.read("cora-full")["metrics"]["gcn.test_accuracy"]
    assert row[2].startswith(f"{100 * record['mean']:.2f} % [")
    assert row[3] == len(record["values"])


def test_seconds_count_each_recorded_run_once() -> None:
    row = next(row for row in readme.by_question().rows if row[1] == "3(c)")
    (item,) = (item for item in RUBRIC if item.key == "3(c)")
    names = {number.result for number in item.numbers} & set(store.names())
    total = sum(store.read(name)["seconds"] for name in names)
    assert row[-1].startswith(f"{total:,.0f} (")


@pytest.mark.parametrize(
    ("page", "part"), [(p, n) for p, names in readme.PAGES.items() for n in names]
)
def test_made_parts_are_replaced_once_and_missing_markers_are_named(page: str, part: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    start, end = readme.markers(part)
    head, _, rest = text.partition(start)
    stale = f"{head}{start}\nstale\n{end}{rest.partition(end)[2]}"
    assert readme.render(page, stale) == readme.render(page, text) != stale
    with pytest.raises(ResultsError, match=f"{page} lacks the markers"):
        readme.render(page, text.replace(start, ""))


def test_pictures_are_there_and_described() -> None:
    pictures = re.findall(r"<img [^>]*>", README)
    assert pictures
    for picture in pictures:
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', picture))
        assert (ROOT / attributes["src"]).is_file()
        assert len(attributes["alt"].split()) >= 10


def test_headings_that_are_linked_exist() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", README, flags=re.MULTILINE)
    }
    for target in re.findall(r"\]\(#([^)]+)\)", README):
        assert target in anchors


def test_commands_and_options_that_are_named_exist() -> None:
    from typer.main import get_command

    from coursework_tools.cli import app

    named = r"^\.venv/bin/coursework ([^#\n]*)|`coursework ([^`]+)`"
    for words in map("".join, re.findall(named, README, flags=re.MULTILINE)):
        command, rest = get_command(app), words.split()
        while hasattr(command, "commands") and rest:
            assert rest[0] in command.commands, words
            command = command.commands[rest.pop(0)]
        known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= known, words


def test_citation_names_the_same_version_and_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert {"cff-version", "title", "message", "authors"} <= set(citation)
    assert citation.get("repository-code") == readme.address()


def address(tmp_path: Path, url: str) -> str | None:
    path = tmp_path / "pyproject.toml"
    path.write_text(f'[project]\nurls.Repository = "{url}"\n', encoding="utf-8")
    return readme.address(path)


@pytest.mark.parametrize("ending", ["", "/", ".git"])
def test_badges_follow_the_address(tmp_path: Path, ending: str) -> None:
    assert address(tmp_path, URL + ending) == URL
    text = readme.badges(URL)
    for name in NOTEBOOKS:
        for start in (
            "https://colab.research.google.com/github/someone/deep-learning/blob/main/notebooks/",
            "https://mybinder.org/v2/gh/someone/deep-learning/main?urlpath=lab%2Ftree%2Fnotebooks%2F",
        ):
            assert f"({start}{name}.ipynb)" in text


def test_without_an_address_no_link_leads_nowhere(tmp_path: Path) -> None:
    assert readme.address(tmp_path / "pyproject.toml") is None
    assert "http" not in readme.badges(None)
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        address(tmp_path, "https://example.org/x")


def test_binder_installs_this_project_in_tested_versions() -> None:
    lines = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").split()
    # pip reads a constraint from the folder of the file, a project from the folder that it is started in
    assert lines[-4:] == ["--constraint", "../constraints.txt", "-e", "."]
    assert (ROOT / "binder" / "../constraints.txt").is_file()
    wanted = re.search(r'python_version = "([\d.]+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert wanted
    runtime = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8")
    assert runtime.strip() == f"python-{wanted.group(1)}"


def test_dev_container_makes_the_environment_that_make_makes() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert container["postCreateCommand"] == "make .venv/.installed"
    assert "STAMP  := $(VENV)/.installed" in (ROOT / "Makefile").read_text(encoding="utf-8")
