"""Planted mistakes: does the test that should notice one really notice it?

``python tests/trust/planted.py [WORDS] [--record]`` plants the mistakes of ``planted.txt`` whose promise,
module, remark or test has the words in it (all by default), one at a time, in a process that finds the
changed module where the real one would be (:mod:`mutate`), and runs the test; ``--record`` writes PLANTED.md
after each one, ``--again`` goes on from there.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import mutate

from coursework_tools.student.contents import parse

LIST, RECORD = (Path(__file__).with_name(name) for name in ("planted.txt", "PLANTED.md"))

HEAD = """# Planted mistakes

Written by `python tests/trust/planted.py --record`: **{} of {}** planted mistakes (of {} in the
list) are noticed by the test beside them.

| promise | module | mistake | test | |
|---|---|---|---|---|
"""


class Planted(NamedTuple):
    promise: str
    path: Path  # of the module
    words: str
    changes: tuple[tuple[str, str], ...]  # text, and what stands there with the mistake
    test: str  # that should notice

    @property
    def module(self) -> str:
        return ".".join(self.path.relative_to(mutate.SOURCE).with_suffix("").parts)

    def planted(self) -> str:
        """The source with the mistake."""
        source = self.path.read_text(encoding="utf-8")
        for old, new in self.changes:
            source = source.replace(old, new)
        return source


def planted() -> Iterator[Planted]:
    """All mistakes, in the order of the list."""
    for section, mistakes in parse(LIST.read_text(encoding="utf-8")).items():
        promise, _, path = section.partition(" @ ")
        for one in mistakes:
            (changes,), (test,) = one.changes, one.at
            yield Planted(promise, mutate.SOURCE / path, one.remark.words, changes, test)


def outcome(one: Planted, sound: set[str]) -> str:
    """``noticed`` or ``survived``; a test that fails without the mistake says nothing."""
    code = compile(one.planted(), str(one.path), "exec")

    def passes(code: CodeType | None) -> bool:
        return bool(mutate.survivors(one.module, [one.test], [code], 300, 1))

    if one.test not in sound and not passes(None):
        return "survived: its test fails without any change"
    sound.add(one.test)
    return "survived" if passes(code) else "noticed"


def main() -> int:
    """Plant; 1 if a mistake survives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="?", default="")
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.name}")
    parser.add_argument("--again", action="store_true", help="only those not noticed in it yet")
    options = parser.parse_args()
    known = RECORD.read_text(encoding="utf-8").splitlines() if options.again else []
    chosen = [one for one in planted() if options.words in f"{one.promise} {one[1:]}"]
    mutate.prepare()
    for name in [name for name in sys.modules if name.partition("_")[0].startswith("coursework")]:
        del sys.modules[name]  # what the reader of the list imported would not be found changed
    sound: set[str] = set()
    rows, found = [], Counter[str]()
    for one in chosen:
        begun, place = time.monotonic(), one.path.relative_to(mutate.SOURCE)
        row = f"| {one.promise} | {place} | {one.words} | {one.test[6:]} | {{}} |"
        said = "noticed" if row.format("noticed") in known else outcome(one, sound)
        found[said] += 1
        print(f"{said} ({time.monotonic() - begun:.0f} s): {place}: {one.words}", flush=True)
        rows.append(row.format(said))
        if options.record:  # after each, so that a run that is stopped leaves what it found
            head = HEAD.format(found["noticed"], len(rows), len(chosen))
            RECORD.write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
    print(f"{found['noticed']} of {len(chosen)} noticed")
    return found["noticed"] < len(chosen)


if __name__ == "__main__":
    raise SystemExit(main())
