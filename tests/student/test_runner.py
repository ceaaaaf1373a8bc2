"""Code that does not import, loops, prints or kills the process gets a remark, and the rest goes on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from solved_edition import Examine, solved
from typer.testing import CliRunner

from coursework.cli import app
from coursework.student import edition


@pytest.mark.slow
def test_whatever_the_code_does_every_object_is_reported(tmp_path: Path) -> None:
    edition.write(tmp_path, problem=3)
    karate = solved("experiments.karate")
    karate = re.sub(r"(    check_edge_index\(.*\n)", r"\1    while True:\n        pass\n", karate)
    karate = karate.replace(
        "    number = components(", "    __import__('os')._exit(3)\n    number = ("
    )
    (tmp_path / "experiments" / "karate.py").write_text(karate, encoding="utf-8")
    graph = 'print("noise on the standard output")\n' + solved("models.graph_conv")
    graph = graph.replace("found = source[target == node]", "found = source[1 / 0]", 1)
    (tmp_path / "models" / "graph_conv.py").write_text(graph, encoding="utf-8")
    arguments = ["check", "--folder", str(tmp_path), "--seconds", "5"]
    result = CliRunner().invoke(app, arguments)
    text = " ".join(re.sub(r"[│\s]+", " ", result.output).split())
    assert result.exit_code == 1, text
    assert "2 of 5 objects pass all their checks." in text
    assert "ZeroDivisionError" in text
    assert "a loop that never ends" in text
    assert "ended the Python process" in text
    assert "no answer yet to 3(a)" in text
    assert "Traceback" not in text


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    edition.write(tmp_path, problem=5)
    (tmp_path / "models" / "unet.py").unlink()
    result = CliRunner().invoke(app, ["check", "--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.count("unet.py is not there") == 3
    assert "0 of 3 objects" in result.output


def test_errors_are_one_line_with_their_place(examine: Examine) -> None:
    for changes, says in (
        ([("return h, c", "return h, c)")], r"SyntaxError \(lstm.py, line \d+\): unmatched"),
        ([("import torch\n", "import torhc\n")], r"ModuleNotFoundError \(lstm.py, line \d+\)"),
        ([("gates.chunk(4", "gates.chnuk(4")], r"AttributeError \(lstm.py, line \d+\).*chnuk"),
        ([("return h, c", "raise SystemExit")], r"SystemExit \(lstm.py, line \d+\)"),
        ([("class LSTMCell", "class Cell")], "LSTMCell is missing"),
        ([("return h, c", "return h")], "should be 2 tensors, but is of type Tensor"),
        ([("return h, c", "return None")], "should be 2 tensors, but is None"),
        ([("return h, c", "return h[:, :1], c")], r"has shape \[3, 1\], not \[3, 4\]"),
        ([("return h, c", "return h.detach(), c.detach()")], "^gradient: .*no gradient"),
        ([("return h, c", "return 1.1 * h, c")], "value: .* right shape, but 12 of 24 numbers"),
        ([("return h, c", "return 0 * h / 0, c")], "contains NaN"),
    ):
        report = examine("LSTMCell", changes)
        assert re.search(says, str(report.remarks[0])), report.remarks[0]
        assert report.passed < report.total
        assert "\n" not in report.remarks[0].words
