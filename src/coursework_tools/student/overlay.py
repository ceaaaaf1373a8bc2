"""Let a student's modules take the place of the package's, for a notebook.

A module of the student is run on top of the package's module of that name, in one namespace: what the
student wrote replaces what was there, and everything that is not asked for is still there.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from coursework.errors import ConfigError
from coursework_tools.student import contents, edition

_used: dict[str, Path] = {}  # module -> file that is in use in its place


def use(folder: str | Path) -> None:
    """Run the modules of a folder that ``coursework student`` made on top of the package's.

    They are imported in the order of the problems: none of them is imported by one before it.
    """
    root = edition.find(Path(folder))
    modules = [m for number in edition.problems_in(root) for m in contents.MODULES[number]]
    files = {f"coursework.{module}": root / edition.path_of(module) for module in modules}
    for file in files.values():
        if not file.is_file():
            raise ConfigError(f"{file} is missing; without it the solution would run in its place.")
    if files == _used:
        return  # the cell was run twice
    for name, file in files.items():
        if name in sys.modules:
            raise ConfigError(
                f"{name} has been imported already; restart the kernel and run this cell first."
            )
        module = importlib.import_module(name)
        module.__file__ = str(file)  # where its source is shown from
        exec(compile(file.read_text(encoding="utf-8"), file, "exec"), module.__dict__)
    _used.update(files)
