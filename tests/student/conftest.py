from collections.abc import Sequence
from pathlib import Path

import pytest
from solved_edition import BY_NAME, Examine, solved

from coursework_tools.student import engine, runner
from coursework_tools.student.contents import Change


@pytest.fixture
def examine(tmp_path: Path) -> Examine:
    """Examine an object of the solved edition after some changes of its text."""

    def run(name: str, changes: Sequence[Change] = ()) -> engine.Report:
        task = BY_NAME[name]
        text = solved(task.module)
        for old, new in changes:
            assert old in text, f"{task.module} has no {old!r} any more"
            text = text.replace(old, new)
        path = tmp_path / f"{task.module.split('.')[-1]}.py"
        path.write_text(text, encoding="utf-8")
        return runner.judge(task, path)

    return run
