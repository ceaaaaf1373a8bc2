"""The student's folder: written whole, never over somebody's work, and its modules in use."""

import subprocess
import sys
from pathlib import Path

import pytest
from solved_edition import solved
from typer.testing import CliRunner

from coursework.errors import ConfigError
from coursework_tools.cli import app
from coursework_tools.student import edition


def test_it_holds_modules_notebooks_and_a_readme(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "student"
    edition.write(folder)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert len(names) == 8 + 6 + 2
    assert {"README.md", "edition.json", "models/gat.py", "notebooks/6_theory.ipynb"} <= names
    assert edition.problems_in(folder) == [1, 2, 3, 4, 5, 6]
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "{" not in text, "a place was not filled in"


def test_one_problem_only(tmp_path: Path) -> None:
    written = edition.write(tmp_path / "s", problem=3)
    assert set(written) == {
        "models/graph_conv.py", "experiments/karate.py", "notebooks/3_gnn_karate_wikipedia.ipynb",
        "README.md", "edition.json",
    }  # fmt: skip


def test_nobodys_work_is_overwritten(tmp_path: Path) -> None:
    edition.write(tmp_path, problem=1)
    work = tmp_path / "models" / "lstm.py"
    work.write_text("my evening", encoding="utf-8")
    with pytest.raises(ConfigError, match="--force"):
        edition.write(tmp_path, problem=1)
    assert work.read_text(encoding="utf-8") == "my evening"
    edition.write(tmp_path, problem=1, force=True)
    assert "TODO" in work.read_text(encoding="utf-8")


def test_problem_after_problem_goes_into_one_folder(tmp_path: Path) -> None:
    edition.write(tmp_path, problem=5)
    (tmp_path / "models" / "unet.py").write_text("my evening", encoding="utf-8")
    edition.write(tmp_path, problem=1)
    assert edition.problems_in(tmp_path) == [1, 5]
    assert "Problem 5" in (tmp_path / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text("my notes", encoding="utf-8")
    edition.write(tmp_path, problem=3)
    edition.write(tmp_path, problem=1, force=True)
    assert edition.problems_in(tmp_path) == [1, 3, 5]
    assert (tmp_path / "models" / "unet.py").read_text(encoding="utf-8") == "my evening"


def test_other_work_stands_even_with_force(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("of another project", encoding="utf-8")
    with pytest.raises(ConfigError, match="it is no student edition"):
        edition.write(tmp_path, problem=1, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    edition.write(tmp_path / "a", problem=1)
    (tmp_path / "a" / "README.md").write_text("my notes", encoding="utf-8")
    edition.write(tmp_path / "a", problem=5)
    assert (tmp_path / "a" / "README.md").read_text(encoding="utf-8") == "my notes"


def test_wrong_use_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / edition.MANIFEST).write_text('{"problems": []}', encoding="utf-8")
    edition.write(tmp_path / "one", problem=1)
    for words, says in {
        "student --problem 7": "no problem 7",
        "student --folder file": "is a file",
        "check": "coursework student",
        "check --folder elsewhere": "elsewhere is no student edition",
        "check --folder broken": "is broken",
        "check --folder one --problem 2": "without problem 2",
        "check --folder one --problem 0": "no problem 0",
    }.items():
        result = CliRunner().invoke(app, words.split())
        assert result.exit_code == 2, words
        assert says in " ".join(result.output.split()), result.output


def test_a_wheel_without_notebooks_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coursework.settings.repo_root", lambda: tmp_path)
    result = CliRunner().invoke(app, ["student", "--folder", str(tmp_path / "s")])
    assert result.exit_code == 1
    assert "checkout" in result.output


def test_an_edition_is_found_here_or_in_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edition.write(tmp_path / "student", problem=6)
    monkeypatch.chdir(tmp_path)
    assert edition.find() == (tmp_path / "student").resolve()
    monkeypatch.chdir(tmp_path / "student")
    assert edition.find() == (tmp_path / "student").resolve()
    ((problem, answered, asked, (remark,)),) = edition.in_words(edition.find(), [6])
    assert (problem, answered, asked) == ("6", 0, 9)
    assert remark.words.startswith("no answer yet to 1.1.1")
    assert remark.words.endswith("2.1.1.")


OVERLAY = """
import inspect, sys, torch
from coursework_tools import student
student.use(sys.argv[1])
student.use(sys.argv[1])  # the cell may be run twice
from coursework.models import bilstm, lstm
print(lstm.__file__ == sys.argv[2])
print("of a student" in inspect.getsource(lstm.LSTMCell))
classifier = bilstm.BiLSTMClassifier(10, 4, 3, cell="own").eval()
print(type(classifier.lstm) is bilstm.LSTM is lstm.LSTM)
builtin = bilstm.BiLSTMClassifier(10, 4, 3).eval()
builtin.load_state_dict(classifier.state_dict())
words = torch.tensor([[3, 4, 5], [6, 7, 0]])
print(torch.allclose(classifier(words), builtin(words), atol=1e-6))
"""


def test_notebooks_run_with_the_students_modules(tmp_path: Path) -> None:
    edition.write(tmp_path)  # all problems: none of their modules is imported by one before it
    file = tmp_path / "models" / "lstm.py"
    text = solved("models.lstm").replace('"""One LSTM step', '"""One LSTM step of a student')
    file.write_text(text, encoding="utf-8")
    arguments = [sys.executable, "-c", OVERLAY, str(tmp_path), str(file.resolve())]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True"] * 4, done.stderr


def test_modules_that_are_imported_already_cannot_be_replaced(tmp_path: Path) -> None:
    import coursework.models.unet  # noqa: F401
    from coursework_tools import student

    edition.write(tmp_path, problem=5)
    with pytest.raises(ConfigError, match="restart the kernel"):
        student.use(tmp_path)
    (tmp_path / "models" / "unet.py").unlink()
    with pytest.raises(ConfigError, match=r"unet.py is missing"):
        student.use(tmp_path)
