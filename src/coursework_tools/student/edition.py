"""Write the student's folder: skeletons of the modules, notebooks with prompts, and how to go on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import coursework
from coursework import files, settings
from coursework.errors import ConfigError, DataError
from coursework.report.questions import NOTEBOOKS
from coursework_tools.student import markers, notebooks
from coursework_tools.student.contents import MODULES
from coursework_tools.student.mistakes import Remark

MANIFEST = "edition.json"
"""File that tells a student's folder from others, and which problems are in it."""


def problems_of(wanted: int | None) -> list[int]:
    """One problem, or all; ConfigError if there is no such problem."""
    if wanted is not None and wanted not in MODULES:
        raise ConfigError(f"There is no problem {wanted}; choose from 1 to {len(MODULES)}.")
    return list(MODULES) if wanted is None else [wanted]


def path_of(module: str) -> Path:
    """Where a module lies, in the package and in a student's folder: ``models/lstm.py``."""
    return Path(*module.split(".")).with_suffix(".py")


def source_of(module: str) -> str:
    """Text of the solution of a module."""
    package = Path(coursework.__file__).resolve().parent
    return (package / path_of(module)).read_text(encoding="utf-8")


def skeleton_of(module: str) -> str:
    """The student's version of a module."""
    return markers.skeleton(source_of(module), f"coursework.{module}")


def notebook_of(problem: int) -> str:
    """Name of a problem's notebook, without ending."""
    return next(name for name in NOTEBOOKS if name.startswith(f"{problem}_"))


def write(folder: Path, problem: int | None = None, force: bool = False) -> list[Path]:
    """Write one problem, or all, into a student's folder, beside what is there; the files, relative to it.

    ConfigError if work would be lost, or there is no such problem; DataError if it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder with --folder.")
    problems = problems_of(problem)
    texts = {path_of(m): skeleton_of(m) for number in problems for m in MODULES[number]}
    for number in problems:
        texts[Path("notebooks", f"{notebook_of(number)}.ipynb")] = _notebook(notebook_of(number))
    ours = (folder / MANIFEST).is_file()
    earlier = problems_in(folder) if ours else []
    together = sorted({*problems, *earlier})
    readme = Path("README.md")
    if force or not earlier or _unchanged(folder / readme, _readme(earlier)):
        texts[readme] = _readme(together)
    replaceable = {readme} if earlier else set()
    there = [path for path in texts if (folder / path).exists() and path not in replaceable]
    if there and not (force and ours):
        many = f" and {len(there) - 1} more files" if len(there) > 1 else ""
        remedy = (
            "or add --force to start anew and lose them" if ours else "it is no student edition"
        )
        raise ConfigError(
            f"{folder} holds {there[0].as_posix()}{many}, which would be overwritten; "
            f"choose another --folder, {remedy}."
        )
    texts[Path(MANIFEST)] = json.dumps({"problems": together}) + "\n"
    for path, text in texts.items():
        try:
            files.write(folder / path, text)
        except OSError as error:
            raise DataError(f"{folder / path} cannot be written ({error.strerror}).") from error
    return list(texts)


def find(folder: Path | None = None) -> Path:
    """The student's folder: the one named, else the working folder, else ``student`` in it."""
    for candidate in [folder] if folder is not None else [Path(), Path("student")]:
        if (candidate / MANIFEST).is_file():
            return candidate.resolve()
    where = f"{folder} is no" if folder is not None else "Neither this folder nor ./student is a"
    raise ConfigError(
        f"{where} student edition; make one with `coursework student`, "
        "or name its folder with --folder."
    )


def problems_in(folder: Path) -> list[int]:
    """The problems that an edition was made for; ConfigError if its manifest is broken."""
    try:
        wanted = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["problems"]
        problems = [number for number in MODULES if number in wanted]
    except (ValueError, KeyError, TypeError):
        problems = []
    if not problems:
        raise ConfigError(
            f'{folder / MANIFEST} is broken; put {{"problems": [1, 2, 3, 4, 5, 6]}} into it.'
        )
    return problems


def in_words(folder: Path, problems: Sequence[int]) -> Iterator[tuple[int, int, int, list[Remark]]]:
    """Problem, answered and asked questions in words, and what to say; a bad notebook costs no other."""
    for problem in problems:
        import nbformat  # not above: it takes longer to import than a check of an object

        name = notebook_of(problem)
        path, asked = f"notebooks/{name}.ipynb", notebooks.in_words(name)
        if not asked:
            continue
        try:
            states = notebooks.open_questions(nbformat.read(folder / path, as_version=4), name)
        except FileNotFoundError:
            words = "The notebook is missing; `coursework student --folder ...` writes another one."
            yield problem, 0, len(asked), [Remark("error", words)]
        except Exception:  # whatever may be in such a file
            yield problem, 0, len(asked), [Remark("error", "The file is no readable notebook.")]
        else:
            said = [
                Remark("to do", f"{words} {', '.join(parts)}.")
                for words, parts in zip(
                    ("no answer yet to", "no cell with an answer to"), states, strict=True
                )
                if parts
            ]
            yield problem, len(asked) - sum(map(len, states)), len(asked), said


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


def _unchanged(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text


def _readme(problems: Sequence[int]) -> str:
    titles = "\n".join(f"- Problem {n}: {NOTEBOOKS[notebook_of(n)]}" for n in problems)
    text = resources.files(__package__).joinpath("README.txt").read_text("utf-8")
    return text.format(problems=titles, code=markers.HERE, words=notebooks.HERE, first=problems[0])
