"""The mutation runner changes what it says, and tells tests that notice from tests that do not."""

from __future__ import annotations

import ast

import mutate

SOURCE = '''
"""Words with 3 numbers."""
def clip(x: float, low: int = 0) -> float:
    if not x > low and x != 2:
        raise ValueError(f"{x} is below {low + 1}")
    return -x * 2.0 if x < 9 else x
'''


def test_mutants_change_one_thing_each_and_no_message() -> None:
    found = list(mutate.mutants(SOURCE))
    texts = [ast.unparse(m.tree) for m in found]
    assert len(set(texts)) == len(found)
    assert ast.unparse(ast.parse(SOURCE)) not in texts
    assert all("3 numbers" in t and "low + 1}" in t and "x: float" in t for t in texts)
    assert {m.what for m in found} == {
        "0 -> 1", "condition turned round", "And -> Or", "without Not", "Gt -> GtE",
        "NotEq -> Eq", "2 -> 3", "Mult -> Div", "without USub", "2.0 -> 3.0", "Lt -> LtE", "9 -> 10",
    }  # fmt: skip


def test_only_the_functions_that_are_asked_for() -> None:
    source = SOURCE + "\ndef other(y):\n    return y + 1\n"
    assert {m.what for m in mutate.mutants(source, ["other"])} == {"Add -> Sub", "1 -> 2"}


def test_every_target_has_tests_and_something_to_change() -> None:
    for name, (tests, functions) in mutate.targets().items():
        path = mutate.SOURCE / (name.replace(".", "/") + ".py")
        assert (mutate.ROOT / tests).is_file()
        first = next(mutate.mutants(path.read_text(encoding="utf-8"), functions), None)
        assert first is not None, name
