"""The student's notebooks: the questions stay, the answers become prompts, the outputs are cleared.

Of a section that asks for words the heading and the question stay (it is quoted, or begins with
**Question.**), of others everything but the cells in :data:`LEFT_OUT`, and what needs them to run.
"""

import builtins
import copy
import itertools
import re
import symtable
from typing import Any

from coursework.report.questions import Question, of_notebook
from coursework_tools.student.contents import IN_WORDS, LEFT_OUT, OBSERVED

SETUP = """\
# Your own modules take the place of the package's. After a change of yours restart the kernel.
from coursework_tools import student

student.use("..")"""

HERE = "##### Your answer here #####"  # as long as it stands there, the question is open

_ANSWER_SHEET = re.compile(r"^## Answers", re.MULTILINE)
_ADDS = re.compile(r"page\.live\(\s*\"([^\"]+)\"")
_ASKS = ("## ", "> ", "**Question.**")
_PAGE = re.compile(r"(Page\(\"\w+\")\)")  # shows the recorded answers


def edition(document: Any, notebook: str) -> Any:
    """The student's version of a notebook (by its name without ending); ``document`` stays as it is."""
    from nbformat import v4

    result, questions = copy.deepcopy(document), of_notebook(notebook)
    starts = [n for n, cell in enumerate(result.cells) if cell.source.startswith("## ")]
    head, *sections = (result.cells[a:b] for a, b in itertools.pairwise([0, *starts, None]))
    defined = {*dir(builtins), "get_ipython", "display"}
    cells = [head[0], v4.new_code_cell(SETUP, id="student"), *runnable(head[1:], defined)]
    for section in sections:
        asked = [q for q in questions if _about(section[0].source, q.part)]
        kept = [cell for cell in section if cell.id not in LEFT_OUT.get(notebook, ())]
        if _ANSWER_SHEET.match(section[0].source):
            section[0].source = section[0].source.split("\n", 1)[0]
            kept = [section[0], *(c for c in section if "page.answers()" in c.source)]
        elif asked and all(question.part in IN_WORDS for question in asked):
            kept = [cell for cell in section if cell.cell_type == "markdown"]
            for cell in kept:
                parts = (p for p in cell.source.split("\n\n") if p.startswith(_ASKS))
                cell.source = "\n\n".join(parts)
            kept = [cell for cell in kept if cell.source]
        elif not asked and notebook == "6_theory":
            continue  # the register of all claims, which are the answers
        kept = runnable(kept, defined)
        answered = {part for cell in kept for part in _ADDS.findall(cell.source)}
        if unanswered := [question for question in asked if question.part not in answered]:
            kept += _prompts(unanswered, section[0].id)
        cells += kept
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = _PAGE.sub(r"\1, recorded=False)", cell.source)
            cell.metadata.pop("tags", None)  # there is nothing left to compare with
    result.cells = cells
    return result


def in_words(notebook: str) -> list[str]:
    """Numbers of the questions that ask for words."""
    return [q.part for q in of_notebook(notebook) if q.part in IN_WORDS | OBSERVED]


def open_questions(document: Any, notebook: str) -> tuple[list[str], list[str]]:
    """Questions in words whose cell has no answer yet, and those that no cell is there for."""
    texts = [cell for cell in document.cells if cell.cell_type == "markdown"]
    unanswered, gone = list[str](), list[str]()
    for part in in_words(notebook):
        heads = [c for c in texts if c.source.startswith("## ") and _about(c.source, part)]
        ids, said = {f"{c.get('id')}-answer" for c in heads}, f"answer to question {part} "
        answers = [c.source for c in texts if c.get("id") in ids or said in c.source]
        # beside what was asked
        own = [re.sub(r"(?m)^\*\*TODO:\*\*.*$", "", a).strip() for a in answers if HERE not in a]
        if not any(own):
            (unanswered if answers else gone).append(part)
    return unanswered, gone


def _about(text: str, part: str) -> bool:
    heading = text.split("\n", 1)[0]
    return bool(re.search(rf"(?<![\w.]){re.escape(part)}(?![\w.])", heading))


def _prompts(questions: list[Question], after: str) -> list[Any]:
    """A cell for the answer in words, and one for its numbers and the answer sheet."""
    from nbformat import v4

    words = "\n\n".join(
        f"**TODO:** your answer to question {question.part} ({question.asks}). "
        "Justify every step; the result alone is not an answer."
        for question in questions
        if question.part in IN_WORDS | OBSERVED
    )
    sheet = "\n".join(
        f'page.live("{question.part}", "your answer in a few words", value="what you measured")'
        for question in questions
    )
    code = f"# TODO: check your answer on numbers\n##### Your code here #####\n\n#####\n{sheet}"
    written = [v4.new_markdown_cell(f"{words}\n\n{HERE}", id=f"{after}-answer")] if words else []
    return [*written, v4.new_code_cell(code, id=f"{after}-check")]


def runnable(cells: list[Any], defined: set[str]) -> list[Any]:
    """The cells that can run where these names are ``defined``; those that they define are added."""
    kept = []
    for cell in cells:
        if cell.cell_type == "code":
            used, bound = _names(symtable.symtable(cell.source, "cell", "exec"))
            if used - bound - defined:
                continue
            defined |= bound
        kept.append(cell)
    return kept


def _names(table: symtable.SymbolTable) -> tuple[set[str], set[str]]:
    """Global names that a cell reads, in its functions too, and those that it binds."""
    top = table.get_type() == "module"
    symbols = [s for s in table.get_symbols() if top or s.is_global()]
    used = {s.get_name() for s in symbols if s.is_referenced()}
    bound = {s.get_name() for s in symbols if s.is_assigned() or s.is_imported()}  # by :=, too
    for more_used, more_bound in map(_names, table.get_children()):
        used, bound = used | more_used, bound | more_bound
    return used, bound
