"""The writeup: ``writeup/solutions.typ`` typeset as ``solutions.pdf``, and once for each course.

What the sources name (``result("NAME")``, ``fig("NAME")``, ``listing("TITLE", "FILE", "OBJECT", ...)``) is
read while they are typeset. A digest of it in the document's keywords tells a stale PDF from a fresh.
"""

import ast
import hashlib
import itertools
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from coursework import files, settings
from coursework.errors import ResultsError
from coursework.report import alt, questions, store
from coursework_tools import checkout
from coursework_tools.student.markers import Definition, names_in, regions

# Documents by name: the homework set that each answers, or "" for both.
DOCUMENTS = {"solutions": "", "csci5527": "CSCI5527 HW4", "csc413": "CSC413 A4"}

_RESULTS = re.compile(
    r"\b(result|with|known|cell|lines|rows-of|when|optional)\("
    r'(?:\[\w+\], )?((?:"[\w-]+"(?:, )?)+)'
)
_LISTING = re.compile(r'#listing\(((?:\s*"[^"]+",?)+)\s*\)')


def folder() -> Path:
    """Folder of the Typst sources; ResultsError without the checkout."""
    return checkout.inside("writeup/solutions.typ", "coursework report").parent


def text() -> str:
    """All Typst sources, one after the other."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder().glob("*.typ")))


def results(source: str) -> tuple[list[str], list[str]]:
    """Results that a text needs, and those in whose place it can say "not recorded yet"."""
    required, optional = set[str](), set[str]()
    for call, names in _RESULTS.findall(source):
        chosen = optional if call in ("when", "optional") else required
        chosen.update(re.findall(r'"([\w-]+)"', names))
    return sorted(required), sorted(optional - required)


def figures(source: str) -> list[str]:
    return sorted(set(re.findall(r'\bfig\("([\w-]+)"', source)))


class Listing(NamedTuple):
    """Code that the document shows: ``objects`` of a file below ``src/coursework``."""

    title: str
    path: str
    objects: tuple[str, ...]  # classes, functions or Class.method, in the order of the document


def listings(source: str) -> list[Listing]:
    found = [re.findall(r'"([^"]+)"', match) for match in _LISTING.findall(source)]
    return [Listing(title, path, tuple(objects)) for title, path, *objects in found]


class Line(NamedTuple):
    """A line of a listing; ``number`` is its place in the file, 0 for a gap."""

    number: int
    text: str
    marked: bool = False


def _find(body: list[ast.stmt], name: str, where: str) -> Definition:
    for node in body:
        if isinstance(node, Definition) and node.name == name:
            return node
    raise ResultsError(f"{where} has no {name}; mend the #listing in writeup/*.typ that names it.")


def _only_raises(node: ast.stmt) -> bool:
    """Whether a statement does nothing but check arguments and raise."""
    match node:
        case ast.Expr(ast.Call(function)) | ast.Assign(value=ast.Call(function)):
            called = ast.unparse(function).rpartition(".")[2]
            return called.startswith(("require", "expect", "probability", "check_"))
        case ast.If(orelse=[]) | ast.For():
            return all(map(_only_raises, node.body))
    return isinstance(node, ast.Raise)


def _unread(function: ast.FunctionDef, gone: list[ast.stmt]) -> list[ast.stmt]:
    """Assignments to names that only the statements in ``gone`` and checks read."""
    kept = set(ast.walk(function)).difference(*map(ast.walk, gone))
    made = [n for n in kept if isinstance(n, ast.Assign)]
    rest = kept.difference(*(ast.walk(n) for n in made if _only_raises(n)))
    read = {n.id for n in rest if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return [n for n in made if not any(read & names_in(target) for target in n.targets)]


def _left_out(module: ast.Module) -> set[int]:
    """Numbers of the lines that belong to docstrings or only check arguments."""
    parts = list(ast.walk(module))
    checks = [p for p in parts if isinstance(p, ast.stmt) and _only_raises(p)]
    gone = [check for check in checks if not isinstance(check, ast.Assign)]
    functions = [part for part in parts if isinstance(part, ast.FunctionDef)]
    while more := [node for function in functions for node in _unread(function, gone)]:
        gone += more
    gone += [d.body[0] for d in parts if isinstance(d, Definition) and ast.get_docstring(d)]
    return {n for part in gone for n in range(part.lineno, (part.end_lineno or 0) + 1)}


def cut(listing: Listing) -> list[Line]:
    """The lines of a listing without docstrings and argument checks; what a student writes is marked."""
    path = settings.repo_root() / "src" / "coursework" / listing.path
    if not path.is_file():
        raise ResultsError(f"There is no {listing.path}; mend the #listing in writeup/*.typ.")
    content = path.read_text(encoding="utf-8")
    module, lines, marked = ast.parse(content), ["", *content.splitlines()], regions(content)
    solution = {n for one in marked for n in range(one.first + 1, one.last) if lines[n].strip()}
    skip = _left_out(module) | {n for region in marked for n in (region.first, region.last)}
    skip |= {n - 1 for n in skip if lines[n - 1].lstrip().startswith("# ")}  # what it is there for
    chosen: list[int] = []
    for name in listing.objects:
        owner, _, method = name.partition(".")
        node = _find(module.body, owner, listing.path)
        chosen.append(0)
        if method:
            chosen += [node.lineno] * (node.lineno not in chosen)  # the class, once
            node = _find(node.body, method, listing.path)
        first = min(part.lineno for part in (node, *node.decorator_list))
        chosen += [n for n in range(first, (node.end_lineno or 0) + 1) if n not in skip]
    # one blank line in a row, none at the ends
    pairs = itertools.pairwise(chosen)
    kept = [n for before, n in pairs if lines[n].strip() or lines[before].strip()]
    while not lines[kept[-1]].strip():
        kept.pop()
    rows = [Line(n, lines[n], n in solution) for n in kept]
    if not any(row.marked for row in rows):
        raise ResultsError(f"No line of the listing {listing.title} is marked as `# solution:`.")
    return rows


def inputs() -> dict[str, str]:
    """What is handed to Typst: names of the results, code, claims, questions; and a digest of that and
    of every file that the document is made from."""
    from coursework.theory import claims

    source, names, root = text(), store.names(), settings.repo_root()
    required, optional = results(source)
    if missing := [name for name in required if name not in names]:
        what = f"The writeup needs the results {', '.join(missing)}, which are not recorded"
        raise ResultsError(f"{what}; restore them from git or record them again (see `make full`).")
    for name in {*required, *optional} & set(names):
        if store.read(name)["data"]["standin"]:
            raise ResultsError(f"Result {name} is from stand-in data; remove it from the results.")
    handed = {
        "recorded": names,
        "required": required,
        "optional": optional,
        "listings": {one.title: [line._asdict() for line in cut(one)] for one in listings(source)},
        "claims": [claim.as_record() for claim in claims.CLAIMS],
        "questions": [asdict(question) for question in questions.QUESTIONS],
        "notebooks": questions.NOTEBOOKS,
        "alt": {name: alt.text(name) for name in figures(source)},
    }
    values = {key: json.dumps(value) for key, value in handed.items()}
    digest = hashlib.sha256()
    for key, value in sorted(values.items()):
        digest.update(f"{key}={value}\n".encode())
    sources = sorted(path for path in folder().iterdir() if path.suffix in {".typ", ".bib"})
    sources += [settings.results_dir() / f"{name}.json" for name in [*required, *optional]]
    sources += sorted((folder() / "reading").glob("*.json"))
    sources += [root / "figures" / f"{name}.png" for name in figures(source)]
    for path in sources:
        if path.is_file():
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return values | {"digest": digest.hexdigest()}


def compiler(document: str = "solutions") -> Any:
    """Typst with everything handed in; also what can be asked about the document."""
    import typst

    return typst.Compiler(
        str(folder() / "solutions.typ"),
        root=str(settings.repo_root()),
        ignore_system_fonts=True,
        sys_inputs=inputs() | {"course": DOCUMENTS[document]},
    )


def typeset(document: str = "solutions", tags: bool = True) -> bytes:
    """A document as PDF; ResultsError if it cannot be made."""
    import typst

    try:
        return compiler(document).compile(format="pdf", timestamp=0, pdf_tags=tags)
    except typst.TypstError as error:
        # Where a floating figure meets the end of a frame, Typst 0.15 may fail to close its tags.
        if tags and "tags weren't properly closed" in str(error):
            return typeset(document, tags=False)
        raise ResultsError(f"The writeup cannot be typeset: {error.diagnostic}".strip()) from error


def target(document: str = "solutions") -> Path:
    return folder() / f"{document}.pdf"


def write() -> list[Path]:
    return [files.write(target(document), typeset(document)) for document in DOCUMENTS]


def stale() -> list[str]:
    """Names of the kept documents that were not made from what is there now."""
    sign = f"inputs-{inputs()['digest']}".encode()
    paths = [target(document) for document in DOCUMENTS]
    return [path.name for path in paths if not path.is_file() or sign not in path.read_bytes()]
