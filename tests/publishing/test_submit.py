"""What is handed in: each course its own notebooks, which run beside the wheel and without the checkout."""

import zipfile
from pathlib import Path

import nbformat
import pytest

from coursework.errors import ConfigError, ResultsError
from coursework.report.questions import NOTEBOOKS
from coursework_tools.publishing import submit


def test_each_notebook_belongs_to_one_course() -> None:
    names = [name for course in submit.COURSES for name in submit.notebooks_of(course)]
    assert sorted(names) == sorted(NOTEBOOKS)


def test_a_wrong_course_or_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="choose from csci5527, csc413"):
        submit.write("csc412", tmp_path / "new")
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(ConfigError, match="is not an empty folder"):
        submit.write("csc413", tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "kept"


def handed_in(folder: Path, cell: str) -> Path:
    """A folder with a wheel of one module and a notebook of one cell."""
    with zipfile.ZipFile(folder / "package-1.whl", "w") as wheel:
        wheel.writestr("only_in_the_wheel.py", "answer = 42\n")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbformat.write(notebook, folder / "one.ipynb")
    return folder


def test_the_check_runs_the_notebook_beside_its_wheel(tmp_path: Path) -> None:
    cell = "import only_in_the_wheel, pathlib\nassert pathlib.Path('one.ipynb').is_file()"
    submit.check(handed_in(tmp_path, cell), "one")
    with pytest.raises(ResultsError, match="one does not run alone.*No module named 'gone'"):
        submit.check(handed_in(tmp_path, "import gone"), "one")
    with pytest.raises(ResultsError, match="one does not run alone.*Kernel died"):
        submit.check(handed_in(tmp_path, "import os\nos._exit(1)"), "one")
