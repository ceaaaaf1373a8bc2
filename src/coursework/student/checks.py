"""How a student's version is judged: tasks, their checks, and what to say where one fails.

A check runs the student's object beside a trusted one (PyTorch's own, or the formula written out) with the
same weights on the same random numbers. Where they differ, the result is compared with that of *every
mistake that is often made* here: if one of them gives exactly the student's numbers, its remark is the
feedback. Otherwise the remark says what differs, and by how much, but not what would be right.

Each object is judged on its own: whatever else of the module it uses is taken from the solutions.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from coursework.student.remarks import DROPOUT_IN_EVAL, NO_GRADIENT, Kind, Remark

Values = Tensor | Sequence[Tensor]
Known = Sequence[tuple[Remark, Values]]
Check = Callable[[Any], None]


class Finding(Exception):
    """A check does not pass.

    Args:
        remark: What to say.
        named: Whether the mistake was recognised; general remarks are not shown beside such ones.
    """

    def __init__(self, remark: Remark, named: bool = True) -> None:
        super().__init__(str(remark))
        self.remark = remark
        self.named = named


@dataclass(frozen=True)
class Task:
    """An object that is asked for.

    Attributes:
        name: How it is called in the report.
        problem: Number of the notebook.
        question: Number of the sub-question.
        module: Its module below the package, such as ``models.lstm``.
        names: What of the module belongs to it.
        checks: What it has to pass; filled by :meth:`check`.
    """

    name: str
    problem: int
    question: str
    module: str
    names: tuple[str, ...]
    checks: list[Check] = field(default_factory=list, compare=False)

    def check(self, function: Check) -> Check:
        """Add a check: a function of the student's module that raises :class:`Finding`."""
        self.checks.append(function)
        return function


@dataclass(frozen=True)
class Report:
    """What became of one task.

    Attributes:
        task: Its name.
        passed: Number of checks that it passed.
        total: Number of its checks.
        remarks: What to say, the most telling first; empty if all passed.
    """

    task: str
    passed: int
    total: int
    remarks: tuple[Remark, ...]


def examine(task: Task, path: Path, others: Sequence[Task]) -> Report:
    """Run the checks of a task on a student's file.

    Args:
        task: The task.
        path: The file.
        others: All tasks; those of the same module are replaced by the solutions.
    """
    total = len(task.checks)
    try:
        student = _load(path, task, others)
    except BaseException as error:  # whatever a module may do while it is imported
        return Report(task.name, 0, total, (_crash(error, path, "does not import"),))
    findings: list[Finding] = []
    for check in task.checks:
        with _double_precision():
            try:
                check(student)
            except Finding as finding:
                findings.append(finding)
            except NotImplementedError as error:
                findings.append(Finding(Remark("to do", str(error) or "Still to be written.")))
            except (Exception, SystemExit) as error:
                findings.append(Finding(_crash(error, path, f"{task.name} ends"), named=False))
    return Report(task.name, total - len(findings), total, _telling(findings))


def _telling(findings: list[Finding]) -> tuple[Remark, ...]:
    """Each remark once; of the general ones only the first, and only where no mistake was recognised."""
    named = [finding.remark for finding in findings if finding.named]
    return tuple(dict.fromkeys(named)) or tuple(finding.remark for finding in findings[:1])


def _load(path: Path, task: Task, others: Sequence[Task]) -> ModuleType:
    """The student's module, with what belongs to other tasks taken from the solutions."""
    name = f"_student_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    solution = solution_of(task)
    for other in others:
        if other.module == task.module and other.name != task.name:
            for given in other.names:
                setattr(module, given, getattr(solution, given))
    for wanted in task.names:
        if not hasattr(module, wanted):
            raise ImportError(f"{wanted} is missing in {path.name}")
    return module


def solution_of(task: Task) -> ModuleType:
    """The package's own module."""
    return importlib.import_module(f"coursework.{task.module}")


def _crash(error: BaseException, path: Path, what: str) -> Remark:
    """An error of the student's code in one line, with its place in the student's file."""
    text = str(error).strip().splitlines()
    line = ""
    if isinstance(error, SyntaxError) and error.lineno:
        line = f", line {error.lineno}"
        text = [error.msg]
    else:
        places = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename) == path
        ]
        if places:
            line = f", line {places[-1]}"
    message = f": {text[0][:160]}" if text else ""
    return Remark("error", f"{what} in {type(error).__name__} ({path.name}{line}){message}.")


@contextlib.contextmanager
def _double_precision() -> Iterator[None]:
    """Float64 and a fixed seed, so that only mistakes make a difference; no gradient is left on."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning is no mistake
            torch.manual_seed(0)
            yield
    finally:
        torch.set_default_dtype(before)


# --- comparing ---------------------------------------------------------------------------------


def same(
    got: Any,
    expected: Values,
    known: Known = (),
    *,
    what: str = "the output",
    otherwise: Remark | None = None,
    kind: Kind = "value",
) -> None:
    """Pass if the values agree; else raise what there is to say.

    Args:
        got: What the student's object returned.
        expected: What it should have returned.
        known: Mistakes that are often made, with what they would return.
        what: How the values are called in a general remark.
        otherwise: Remark where no known mistake fits, in place of the general one.
        kind: Kind of the general remark.

    Raises:
        Finding: They do not agree.
    """
    wanted, values = _tensors(expected), _tensors(got)
    if values is not None and wanted is not None and _equal(values, wanted):
        return
    for remark, value in known:
        if values is not None and _equal(values, _tensors(value) or []):
            raise Finding(remark)
    assert wanted is not None
    if values is None or len(values) != len(wanted):
        many = "one tensor" if len(wanted) == 1 else f"{len(wanted)} tensors"
        raise Finding(
            Remark("shape", f"{_capital(what)} should be {many}, but is {_kind(got)}."), False
        )
    if otherwise is not None:
        raise Finding(otherwise, named=False)
    for value, right in zip(values, wanted, strict=True):
        if value.shape != right.shape:
            words = f"has shape {list(value.shape)}, not {list(right.shape)}"
            raise Finding(Remark("shape", f"{_capital(what)} {words}."), named=False)
    raise Finding(Remark(kind, _difference(values, wanted, what)), named=False)


def surely(got: Any, expected: Values, remark: Remark) -> None:
    """Pass if the values agree; a difference can mean one thing only.

    Raises:
        Finding: They do not agree.
    """
    values = _tensors(got)
    if values is None or not _equal(values, _tensors(expected) or []):
        raise Finding(remark)


def _tensors(value: Any) -> list[Tensor] | None:
    """Tensors of a (nested) sequence, or None if something else is in it."""
    if isinstance(value, Tensor):
        return [value.to_dense() if value.layout != torch.strided else value]
    if isinstance(value, tuple | list):
        parts = [_tensors(part) for part in value]
        return None if None in parts else [one for part in parts for one in part or []]
    return None


def _equal(values: list[Tensor], wanted: list[Tensor]) -> bool:
    return len(values) == len(wanted) and all(
        a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-7, atol=1e-9)
        for a, b in zip(values, wanted, strict=True)
    )


def _difference(values: list[Tensor], wanted: list[Tensor], what: str) -> str:
    a = torch.cat([value.detach().double().flatten() for value in values])
    b = torch.cat([right.detach().double().flatten() for right in wanted])
    if bool(a.isnan().any()):
        return f"{_capital(what)} contains NaN."
    gap = (a - b).abs()
    wrong = int((gap > 1e-9).sum())
    return (
        f"{_capital(what)} has the right shape, but {wrong} of {len(a)} numbers differ, "
        f"by up to {float(gap.max()):.2g}."
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _kind(got: Any) -> str:
    if isinstance(got, tuple | list):
        return f"a {type(got).__name__} of {len(got)}"
    return "None" if got is None else f"of type {type(got).__name__}"


def gradients(own: Callable[..., Values], trusted: Callable[..., Values], **leaves: Tensor) -> None:
    """Pass if both functions have the same values and the same gradient by each of their arguments.

    Raises:
        Finding: A gradient is missing or differs.
    """
    found = []
    for function in (own, trusted):
        inputs = {name: value.detach().clone().requires_grad_() for name, value in leaves.items()}
        outputs = _tensors(function(**inputs)) or []
        weights = torch.Generator().manual_seed(1)
        loss = sum(
            (
                (out * torch.randn(out.shape, generator=weights, dtype=out.dtype)).sum()
                for out in outputs
            ),
            torch.zeros(()),
        )
        if not loss.requires_grad:
            raise Finding(NO_GRADIENT, named=False)
        found.append(torch.autograd.grad(loss, list(inputs.values()), allow_unused=True))
    for name, mine, right in zip(leaves, *found, strict=True):
        _compare_gradients(name, mine, right)


def parameter_gradients(
    own: nn.Module, trusted: nn.Module, call: Callable[[nn.Module], Tensor]
) -> None:
    """Pass if every parameter of two modules with equal weights gets the same gradient.

    Raises:
        Finding: A gradient is missing or differs.
    """
    for module in (own, trusted):
        loss = call(module).square().sum()
        if not loss.requires_grad:
            raise Finding(NO_GRADIENT, named=False)
        loss.backward()
    for name, parameter in trusted.named_parameters():
        _compare_gradients(name, own.get_parameter(name).grad, parameter.grad)


def _compare_gradients(name: str, mine: Tensor | None, right: Tensor | None) -> None:
    if right is None:
        return
    if mine is None or not torch.allclose(mine, right, rtol=1e-6, atol=1e-8):
        how = "gets no gradient" if mine is None else "gets another gradient than it should"
        raise Finding(Remark("gradient", f"{name} {how}."), named=False)


def take_weights(own: nn.Module, trusted: nn.Module) -> nn.Module:
    """Copy the weights by name, and say plainly which one has no place.

    Raises:
        Finding: A parameter is missing, unknown, or of another shape.
    """
    mine, theirs = own.state_dict(), trusted.state_dict()
    for name, value in theirs.items():
        if name not in mine:
            raise Finding(Remark("shape", f"There is no {name}; the prompt says how it is called."))
        if mine[name].shape != value.shape:
            words = f"{name} has shape {list(mine[name].shape)}, not {list(value.shape)}"
            raise Finding(Remark("shape", f"{words}."))
    unknown = [name for name in mine if name not in theirs]
    if unknown:
        raise Finding(Remark("shape", f"{unknown[0]} is one parameter too many."))
    own.load_state_dict(theirs)
    return own


def scatter(module: nn.Module) -> nn.Module:
    """Give every parameter random values, so that equal defaults (zero biases) hide no mistake."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def quiet_in_eval(call: Callable[[], Values], expected: Values) -> None:
    """Pass if a module with dropout, in eval mode, gives the result without dropout."""
    first, second = call(), call()
    if not _equal(_tensors(first) or [], _tensors(second) or []):
        raise Finding(DROPOUT_IN_EVAL)
    same(first, expected, what="the output in eval mode")
