"""Let a student's modules take the place of the package's, for a notebook.

A module of the student is run on top of the package's module of that name, in one namespace: what the
student wrote replaces what was there, and everything that is not asked for is still there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from coursework.errors import ConfigError
from coursework_tools.student import contents, edition


class _Overlay(MetaPathFinder, Loader):
    def __init__(self, files: dict[str, Path]) -> None:
        self.files = files
        self.solutions: dict[str, ModuleSpec] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self.files.get(fullname)
        solution = PathFinder.find_spec(fullname, path) if file is not None else None
        if file is None or solution is None:
            return None
        self.solutions[fullname] = solution
        spec = ModuleSpec(fullname, self, origin=str(file))
        spec.has_location = True  # so that the module's __file__ is the student's, for its source
        return spec

    def exec_module(self, module: ModuleType) -> None:
        solution, file = self.solutions[module.__name__], self.files[module.__name__]
        assert solution.loader is not None
        solution.loader.exec_module(module)
        exec(compile(file.read_text(encoding="utf-8"), file, "exec"), module.__dict__)


def use(folder: str | Path) -> None:
    """Import the modules of a folder that ``coursework student`` made in place of the package's."""
    root = edition.find(Path(folder))
    modules = [m for number in edition.problems_in(root) for m in contents.MODULES[number]]
    files = {f"coursework.{module}": root / edition.path_of(module) for module in modules}
    for file in files.values():
        if not file.is_file():
            raise ConfigError(f"{file} is missing; without it the solution would run in its place.")
    if any(isinstance(finder, _Overlay) and finder.files == files for finder in sys.meta_path):
        return  # the cell was run twice
    loaded = sorted(name for name in files if name in sys.modules)
    if loaded:
        raise ConfigError(
            f"{loaded[0]} has been imported already; restart the kernel and run this cell first."
        )
    sys.meta_path.insert(0, _Overlay(files))
