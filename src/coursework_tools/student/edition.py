"""Write the student's folder: skeletons of the modules, notebooks with prompts, and how to go on."""

import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import coursework
from coursework import files
from coursework.errors import ConfigError
from coursework.report.questions import NOTEBOOKS
from coursework_tools import checkout
from coursework_tools.student import markers, notebooks
from coursework_tools.student.contents import MODULES, Remark, Report

COPY = "write a second edition with `coursework student --folder NEW` and copy it from there"
MANIFEST = "edition.json"  # tells a student's folder from others, and which problems are in it


def problems_of(wanted: int | None) -> list[int]:
    """One problem, or all; ConfigError if there is no such problem."""
    if wanted is not None and wanted not in MODULES:
        raise ConfigError(f"There is no problem {wanted}; choose from 1 to {len(MODULES)}.")
    return list(MODULES) if wanted is None else [wanted]


def path_of(module: str) -> str:
    """Where a module lies, in the package and in a student's folder: ``models/lstm.py``."""
    return f"{module.replace('.', '/')}.py"


def source_of(module: str) -> str:
    return (Path(coursework.__file__).parent / path_of(module)).read_text(encoding="utf-8")


def skeleton_of(module: str) -> str:
    """The student's version of a module."""
    return markers.skeleton(source_of(module), f"coursework.{module}")


def notebook_of(problem: int) -> str:
    """Name of a problem's notebook, without ending."""
    return next(name for name in NOTEBOOKS if name.startswith(f"{problem}_"))


def write(folder: Path, problem: int | None = None, force: bool = False) -> list[str]:
    """Write one problem, or all, into a student's folder, beside what is there; the files, relative to it."""
    import nbformat  # not above: it takes longer to import than a check of an object

    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder with --folder.")
    problems = problems_of(problem)
    checkout.inside("notebooks", "coursework student")
    texts = {path_of(m): skeleton_of(m) for number in problems for m in MODULES[number]}
    for name in map(notebook_of, problems):
        document = notebooks.edition(checkout.notebook(name), name)
        texts[f"notebooks/{name}.ipynb"] = nbformat.writes(document) + "\n"
    earlier = problems_in(folder) if (folder / MANIFEST).is_file() else []
    together, readme = sorted({*problems, *earlier}), folder / "README.md"
    there = [path for path in texts if (folder / path).exists()]
    if readme.exists() and not earlier:
        there.append(readme.name)
    if there and not (force and earlier):
        what = f"{folder} holds {', '.join(there)}, which would be overwritten"
        anew = "or start anew with --force and lose them" if earlier else "it is no student edition"
        raise ConfigError(f"{what}; choose another --folder, {anew}.")
    said = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    if force or not earlier or said == _readme(earlier):  # notes of the student's own stay
        texts[readme.name] = _readme(together)
    texts[MANIFEST] = json.dumps({"problems": together}) + "\n"
    for path, text in texts.items():
        files.write(folder / path, text)
    return list(texts)


def find(folder: Path | None = None) -> Path:
    """The student's folder: the one named, else the working folder, else ``student`` in it."""
    for candidate in [folder] if folder else [Path(), Path("student")]:
        if (candidate / MANIFEST).is_file():
            return candidate.resolve()
    where = f"{folder} is no" if folder else "Neither this folder nor ./student is a"
    remedy = "make one with `coursework student`, or name its folder with --folder"
    raise ConfigError(f"{where} student edition; {remedy}.")


def problems_in(folder: Path) -> list[int]:
    """The problems that an edition was made for; ConfigError if its manifest is broken."""
    try:
        wanted = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["problems"]
        problems = [number for number in MODULES if number in wanted]
    except (ValueError, KeyError, TypeError):
        problems = []
    if not problems:
        remedy = f"put {json.dumps({'problems': list(MODULES)})} into it"
        raise ConfigError(f"{folder / MANIFEST} is broken; {remedy}.")
    return problems


def in_words(folder: Path, problems: Sequence[int]) -> Iterator[Report]:
    """What became of the questions in words; a bad notebook costs no other."""
    import nbformat

    for problem in problems:
        name = notebook_of(problem)
        path, asked = folder / "notebooks" / f"{name}.ipynb", notebooks.in_words(name)
        try:
            unanswered, gone = notebooks.open_questions(nbformat.read(path, as_version=4), name)
            states = {"no answer yet to": unanswered, "no cell with an answer to": gone}
            said = [Remark("to do", f"{w} {', '.join(p)}.") for w, p in states.items() if p]
        except Exception:  # whatever may be in such a file
            unanswered, gone = asked, []
            words = "not readable" if path.exists() else f"missing; {COPY}"
            said = [Remark("error", f"The notebook is {words}.")]
        if asked:
            answered = len(asked) - len(unanswered) - len(gone)
            yield Report(str(problem), answered, len(asked), tuple(said))


def _readme(problems: Sequence[int]) -> str:
    titles = "\n".join(f"- Problem {n}: {NOTEBOOKS[notebook_of(n)]}" for n in problems)
    text = resources.files(__package__).joinpath("README.txt").read_text("utf-8")
    return text.format(problems=titles, code=markers.HERE, words=notebooks.HERE, first=problems[0])


_used: dict[str, Path] = {}  # module -> file that is in use in its place


def use(folder: str | Path) -> None:
    """Run the modules of a student's folder on top of the package's, each in the namespace of its own: what
    the student wrote replaces what was there, and what is not asked for is still there."""
    root = find(Path(folder))
    # in the order of the problems: none of them is imported by one before it
    modules = [m for number in problems_in(root) for m in MODULES[number]]
    own = {f"coursework.{module}": root / path_of(module) for module in modules}
    for file in own.values():
        if not file.is_file():
            raise ConfigError(f"{file} is missing; {COPY}.")
    if own == _used:
        return  # the cell was run twice
    for name, file in own.items():
        if name in sys.modules:
            remedy = "restart the kernel and run this cell first"
            raise ConfigError(f"{name} has been imported already; {remedy}.")
        module = importlib.import_module(name)
        module.__file__ = str(file)  # where its source is shown from
        exec(compile(file.read_text(encoding="utf-8-sig"), file, "exec"), module.__dict__)
    _used.update(own)
