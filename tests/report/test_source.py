"""The code that notebooks show."""

import inspect

from coursework.models import gat
from coursework.report.notebook import source_of


def test_markers_are_not_shown_and_nothing_else_is_lost() -> None:
    whole = inspect.getsource(gat.GraphAttentionLayer)
    shown = source_of(gat.GraphAttentionLayer)
    assert "# solution:" in whole
    kept = [line for line in whole.splitlines() if "# solution:" not in line]
    assert shown.splitlines() == kept
