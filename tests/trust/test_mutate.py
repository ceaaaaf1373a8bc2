import ast
import functools

import mutate
import pytest

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
    targets = mutate.targets()
    for folder in ("models", "theory"):
        for path in (mutate.SOURCE / "coursework" / folder).glob("[!_]*.py"):
            assert f"coursework.{folder}.{path.stem}" in targets
    for name, target in targets.items():
        source = mutate.source_of(name).read_text(encoding="utf-8")
        for tests in (target.tests, target.also):
            assert all((mutate.ROOT / file).is_file() for file in tests[:1])
        for function in target.functions or (None,):
            wanted = () if function is None else (function,)
            assert next(mutate.mutants(source, wanted), None) is not None, (name, function)


def test_every_explained_survivor_is_still_a_mutant() -> None:
    @functools.cache
    def known(module: str) -> set[tuple[str, str]]:
        source = mutate.source_of(module).read_text(encoding="utf-8")
        found = mutate.changes(ast.parse(source), mutate.targets()[module].functions)
        return {(source.splitlines()[line - 1].strip(), what) for _, line, what, _ in found}

    for module, code, what in mutate.explained():
        assert (code, what) in known(module), (module, code, what)


def test_survivors_and_their_reasons_are_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutate, "explained", lambda: {("m", "x > 0", "Gt -> GtE"): "x is never 0"})
    outcome = {"tried": 4, "killed": 2, "seconds": 60.0, "survivors": [
        (3, "x > 0", "Gt -> GtE"), (5, "y = 1", "1 -> 2"),
    ]}  # fmt: skip
    page = mutate.document({"m": outcome})
    assert "**2 of 4 mutants noticed (50.0%)**, in 1 minutes." in page
    first, second = page.split("## Survivors")[1].split("**Not explained**")
    assert "**x is never 0**\n\n* m: Gt -> GtE: `x > 0`" in first
    assert "* m: 1 -> 2: `y = 1`" in second
