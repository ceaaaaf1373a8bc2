import ast
import subprocess
import sys
from collections import Counter

import planted
import pytest
from mutate import ROOT


def test_every_mistake_can_be_planted_and_its_test_exists() -> None:
    mistakes = [*planted.planted()]
    record = (ROOT / "tests/trust/PLANTED.md").read_text(encoding="utf-8")
    assert record.count("| noticed |") == len(mistakes)  # else `planted.py --record`
    assert [one.words for one in mistakes if f" {one.words} |" not in record] == []
    assert min(Counter(one.promise for one in mistakes).values()) >= 3
    tests: dict[str, set[str]] = {}
    for one in mistakes:
        source = one.path.read_text(encoding="utf-8")
        assert [source.count(old) for old, _ in one.changes] == [1] * len(one.changes), one.words
        ast.parse(one.planted())
        file, _, name = one.test.partition("::")
        if file not in tests:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            tests[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name.partition("[")[0] in tests[file], one.test


@pytest.mark.nightly
def test_every_mistake_is_noticed() -> None:
    done = subprocess.run([sys.executable, planted.__file__], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
