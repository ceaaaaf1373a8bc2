"""Code that does not import, loops, prints or kills the process gets a remark, and the rest goes on."""

import re
from pathlib import Path

import nbformat
import pytest
from solved_edition import BY_NAME, Examine, solved
from typer.testing import CliRunner

from coursework_tools.cli import app
from coursework_tools.student import edition, notebooks, runner


def test_whatever_the_code_does_every_object_is_reported(tmp_path: Path) -> None:
    edition.write(tmp_path, problem=3)
    (tmp_path / "experiments" / "karate.py").write_text(solved("experiments.karate"), "utf-8")
    graph = 'print("noise on the standard output")\n' + solved("models.graph_conv")
    graph = "\ufeffimport torch\ntorch.set_default_device('meta')\n" + graph  # of this file only
    for line, mistake in (
        ("    found =", "    1 / 0"),
        ("    messages =", "    __import__('os')._exit(3)"),
        ("        gathered =", "        while True:\n            pass"),  # last: no new worker
    ):
        assert line in graph
        graph = graph.replace(line, f"{mistake}\n{line}", 1)
    (tmp_path / "models" / "graph_conv.py").write_text(graph, encoding="utf-8")
    code, text = words("--folder", tmp_path, "--seconds", "3")
    assert code == 1, text
    assert "2 of 5 objects pass all their checks." in text
    assert "ZeroDivisionError" in text
    assert "a loop that never ends" in text
    assert "ended the Python process" in text
    assert "no answer yet to 3(a)" in text
    assert "Traceback" not in text


def words(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", *map(str, arguments)])
    return result.exit_code, " ".join(re.sub(r"[│\s]+", " ", result.output).split())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    edition.write(tmp_path, problem=5)
    (tmp_path / "models" / "unet.py").unlink()
    code, text = words("--folder", tmp_path)
    assert code == 1
    assert text.count("unet.py is missing") == 3
    assert "0 of 3 objects" in text


def test_what_is_missing_has_a_row_and_is_no_success(tmp_path: Path) -> None:
    edition.write(tmp_path, problem=6)
    assert words("--folder", tmp_path)[0] == 1
    path = tmp_path / "notebooks" / "6_theory.ipynb"
    document = nbformat.read(path, as_version=4)
    for cell in document.cells:
        cell.source = cell.source.replace(notebooks.HERE, "An answer.")
    nbformat.write(document, path)
    assert words("--folder", tmp_path)[0] == 0
    document.cells = [cell for cell in document.cells if "An answer." not in cell.source]
    nbformat.write(document, path)
    code, text = words("--folder", tmp_path)
    assert code == 1
    assert "0/9" in text
    assert "no cell with an answer to 1.1.1" in text
    path.unlink()
    code, text = words("--folder", tmp_path)
    assert code == 1
    assert "The notebook is missing" in text


def test_an_unreadable_notebook_costs_nothing_else(tmp_path: Path) -> None:
    edition.write(tmp_path, problem=3)
    (tmp_path / "notebooks" / "3_gnn_karate_wikipedia.ipynb").write_text("[]", encoding="utf-8")
    (tmp_path / "experiments" / "karate.py").write_bytes(b"\xff\xfe")
    (tmp_path / "models" / "graph_conv.py").write_text(
        solved("models.graph_conv"), encoding="utf-8"
    )
    code, text = words("--folder", tmp_path)
    assert code == 1
    assert "The notebook is not readable." in text
    assert text.count("karate.py does not import: UnicodeDecodeError") == 2
    assert "3 of 5 objects pass all their checks." in text


def test_an_object_that_is_broken_costs_no_other_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "lstm.py"
    for broken in ("class LSTM(nn.Module):\n    def (:", "class LSTM(nn.Nodule):"):
        path.write_text(solved("models.lstm").replace("class LSTM(nn.Module):", broken), "utf-8")
        assert runner.judge(BY_NAME["LSTMCell"], path).remarks == ()
        assert "does not import" in runner.judge(BY_NAME["LSTM"], path).remarks[0].words


def test_a_broken_installation_is_not_blamed_on_the_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edition.write(tmp_path, problem=5)
    (tmp_path / "torch.py").write_text("raise ImportError", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)  # the worker's too
    (report,) = runner.check(tmp_path, [BY_NAME["UNet"]])
    assert report.passed < report.total
    assert "did not start" in report.remarks[0].words


def test_errors_are_one_line_with_their_place(examine: Examine) -> None:
    for old, new, says in (
        ("return h, c", "return h, c)", r"SyntaxError \(lstm.py, line \d+\): unmatched"),
        ("import torch\n", "import torhc\n", r"ModuleNotFoundError \(lstm.py, line \d+\)"),
        ("gates.chunk(4", "gates.chnuk(4", r"AttributeError \(lstm.py, line \d+\).*chnuk"),
        ("return h, c", "raise SystemExit", r"SystemExit \(lstm.py, line \d+\)"),
        ("class LSTMCell", "class Cell", "LSTMCell is missing"),
        ("return h, c", "return h", "should be 2 tensors, but is of type Tensor"),
        ("return h, c", "return None", "should be 2 tensors, but is of type NoneType"),
        ("return h, c", "return h[:, :1], c", r"has shape \[3, 1\], not \[3, 4\]"),
        ("return h, c", "return h.detach(), c.detach()", "^gradient: .*no gradient"),
        ("return h, c", "return 1.1 * h, c", "value: .* right shape, but 12 of 24 numbers"),
        ("return h, c", "return 0 * h / 0, c", "contains NaN"),
    ):
        report = examine("LSTMCell", [(old, new)])
        assert re.search(says, str(report.remarks[0])), report.remarks[0]
        assert report.passed < report.total
        assert "\n" not in report.remarks[0].words
