"""Right answers that are written in another way than the solutions get full marks too."""

from __future__ import annotations

import textwrap
import tomllib
from pathlib import Path

import pytest
from solved_edition import BY_NAME, solved

from coursework_tools.student import edition, markers, runner

OTHERS: dict[str, dict[str, str]] = tomllib.loads(
    Path(__file__).with_name("right_answers.toml").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", OTHERS)
def test_another_right_answer_gets_full_marks(name: str, tmp_path: Path) -> None:
    task, answers = BY_NAME[name], OTHERS[name]
    text = solved(task.module)
    for region in markers.regions(edition.source_of(task.module)):
        if region.where in answers:
            answer = answers[region.where].strip()
            code = "\n".join(region.code)
            assert code in text
            text = text.replace(code, textwrap.indent(answer, region.indent), 1)
    path = tmp_path / "answer.py"
    path.write_text(text, encoding="utf-8")
    report = runner.judge(task, path)
    assert report.remarks == ()
    assert report.passed == report.total
