"""Write the student's folder: skeletons of the modules, notebooks with prompts, and how to go on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from coursework import settings
from coursework.errors import ConfigError, CourseworkError, DataError
from coursework.report.questions import NOTEBOOKS
from coursework.student import markers, notebooks

MANIFEST = "edition.json"
"""File that tells a student's folder from others, and which problems are in it."""

MODULES: dict[int, tuple[str, ...]] = {
    1: ("models.lstm",),
    2: ("models.attention", "models.transformer"),
    3: ("models.graph_conv", "experiments.karate"),
    4: ("models.gcn", "models.gat"),
    5: ("models.unet",),
    6: (),
}
"""Problem -> modules, below the package, in which something is asked for."""

_README = """\
# Coursework, student edition

{problems}

Write where it says `{code}` (in `models/` and `experiments/`) and `{words}`
(in `notebooks/`). Docstrings, shapes and hints say what is wanted; names of parameters have to stay, since
weights are copied by name. Then, in this folder:

```bash
coursework check                 # every object beside a trusted one: what differs, in words
coursework check --problem {first}     # one problem only
jupyter lab notebooks            # the notebooks run with your modules
```

A check judges one object at a time: whatever else it builds on is taken from the solutions, so a mistake
counts once, where it is made. It says what is observed (shape, value, gradient, masking, leakage, dropout)
and never what to write. Answers in words are not judged, only found to be there.
"""


def problems_of(wanted: int | None) -> list[int]:
    """The problems of an edition: one, or all.

    Raises:
        ConfigError: There is no such problem.
    """
    if wanted is None:
        return list(MODULES)
    if wanted not in MODULES:
        raise ConfigError(f"There is no problem {wanted}; choose from 1 to {len(MODULES)}.")
    return [wanted]


def path_of(module: str) -> Path:
    """Where a module lies, in the package and in a student's folder: ``models/lstm.py``."""
    return Path(*module.split(".")).with_suffix(".py")


def source_of(module: str) -> str:
    """Text of the solution of a module."""
    package = Path(__file__).resolve().parents[1]
    return (package / path_of(module)).read_text(encoding="utf-8")


def skeleton_of(module: str) -> str:
    """The student's version of a module."""
    return markers.skeleton(source_of(module), f"coursework.{module}")


def notebook_of(problem: int) -> str:
    """Name of a problem's notebook, without ending."""
    return next(name for name in NOTEBOOKS if name.startswith(f"{problem}_"))


def write(folder: Path, problem: int | None = None, force: bool = False) -> list[Path]:
    """Write a student's folder.

    Args:
        folder: Where it goes; made if it is not there.
        problem: One problem; all by default.
        force: Whether files that are there already are replaced.

    Returns:
        The files, relative to the folder.

    Raises:
        ConfigError: A file is there already, or there is no such problem.
        DataError: The folder cannot be written, or a notebook is not there.
    """
    problems = problems_of(problem)
    files = {path_of(m): skeleton_of(m) for number in problems for m in MODULES[number]}
    files |= {
        Path("notebooks") / f"{name}.ipynb": _notebook(name) for name in map(notebook_of, problems)
    }
    files[Path("README.md")] = _readme(problems)
    files[Path(MANIFEST)] = json.dumps({"problems": problems}) + "\n"
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder with --folder.")
    there = [path for path in files if (folder / path).exists()]
    if there and not force:
        raise ConfigError(
            f"{folder} holds {there[0].as_posix()}"
            f"{f' and {len(there) - 1} more files of an edition' if len(there) > 1 else ''}, which would "
            "be overwritten; choose another --folder, or add --force to start anew and lose them."
        )
    for path, text in files.items():
        target = folder / path
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8", newline="\n")
            os.replace(temporary, target)
        except OSError as error:
            raise DataError(f"{target} cannot be written ({error.strerror}).") from error
    return list(files)


def find(folder: Path | None = None) -> Path:
    """The student's folder: the one named, else the working folder, else ``student`` in it.

    Raises:
        ConfigError: None of them is one.
    """
    candidates = [folder] if folder is not None else [Path(), Path("student")]
    for candidate in candidates:
        if (candidate / MANIFEST).is_file():
            return candidate.resolve()
    where = f"{folder} is" if folder is not None else "Neither this folder nor ./student is"
    raise ConfigError(
        f"{where} no student edition; make one with `coursework student`, "
        "or name its folder with --folder."
    )


def problems_in(folder: Path) -> list[int]:
    """The problems that an edition was made for.

    Raises:
        ConfigError: Its manifest is broken.
    """
    try:
        problems = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["problems"]
        return [number for number in MODULES if number in problems]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'{folder / MANIFEST} is broken; put {{"problems": [1, 2, 3, 4, 5, 6]}} into it.'
        ) from error


def words_missing(folder: Path, problems: Iterable[int]) -> dict[str, list[str]]:
    """Questions in words that are still open, by notebook; notebooks that are not there are left out.

    Raises:
        CourseworkError: A notebook cannot be read.
    """
    import nbformat

    found = {}
    for name in map(notebook_of, problems):
        path = folder / "notebooks" / f"{name}.ipynb"
        if path.is_file():
            try:
                document = nbformat.read(path, as_version=4)
            except (ValueError, nbformat.ValidationError) as error:
                raise CourseworkError(f"{path} is not a readable notebook.") from error
            found[name] = notebooks.open_questions(document)
    return found


def _notebook(name: str) -> str:
    import nbformat

    path = settings.repo_root() / "notebooks" / f"{name}.ipynb"
    try:
        document = nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise DataError(
            f"There is no notebook at {path}; `coursework student` needs the checkout of the repository."
        ) from error
    return str(nbformat.writes(notebooks.edition(document, name))) + "\n"


def _readme(problems: Sequence[int]) -> str:
    titles = "\n".join(f"- Problem {n}: {NOTEBOOKS[notebook_of(n)]}" for n in problems)
    return _README.format(
        problems=titles, code=markers.HERE, words=notebooks.HERE, first=problems[0]
    )
