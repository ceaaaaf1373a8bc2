"""Fixtures of the student edition's tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from solved_edition import BY_NAME, Change, Examine, solved

from coursework.student import checks
from coursework.student.tasks import TASKS


@pytest.fixture
def examine(tmp_path: Path) -> Examine:
    """Examine an object of the solved edition after some changes of its text."""

    def run(name: str, changes: Sequence[Change] = ()) -> checks.Report:
        task = BY_NAME[name]
        text = solved(task.module)
        for old, new in changes:
            assert old in text, f"{task.module} has no {old!r} any more"
            text = text.replace(old, new)
        path = tmp_path / f"{task.module.split('.')[-1]}.py"
        path.write_text(text, encoding="utf-8")
        return checks.examine(task, path, TASKS)

    return run
