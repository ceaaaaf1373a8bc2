"""How a student's version is judged: beside the solution, and beside the solution with one thing wrong.

A *probe* builds an object from a module and calls it. With the same weights and inputs the student's
object must give the solution's numbers, gradients included. Where it does not, the remark is that of the
*mistake* (``mistakes.txt``: a change of the solution's text) that gives the student's numbers. Otherwise
it says what differs, and by how much, but never what would be right.
"""

import functools
import importlib
import inspect
import itertools
import re
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from coursework_tools.student.contents import MISTAKES, Change, Remark, Report, Task

# a function of a module and of random numbers, to tensors; defaults are the shapes of the numbers
Call = Callable[..., Any]
# object -> "what is compared" or "kind: what is compared" -> probe; filled by ``probes.py``
PROBES: dict[str, dict[str, Call]] = {}
# (object, probe) -> weights of what the probe builds one after the other; filled by the solution
WEIGHTS: defaultdict[tuple[Task, str], list[dict[str, Tensor]]] = defaultdict(list)


class Mismatch(Exception):
    """The parameters are not those of the solution: what to say, and what they are."""


class Result(NamedTuple):
    """What a probe returned, or the error that it ended in."""

    returned: Any = None
    values: list[Tensor] | None = None  # None unless only tensors
    gradients: dict[str, Tensor] | None = None  # None: no value depends on any leaf
    error: BaseException | None = None

    @property
    def shapes(self) -> list[tuple[str, list[int]]]:
        """Sort (float, int, bool) and shape of each value."""
        return [(re.sub(r"torch\.|\d", "", str(x.dtype)), [*x.shape]) for x in self.values or ()]


def solution_of(task: Task) -> ModuleType:
    return importlib.import_module(f"coursework.{task.module}")


@functools.cache
def mutant(task: Task, changes: tuple[Change, ...] = ()) -> ModuleType:
    """The solution's module with text of the task's objects changed; LookupError where it is gone."""
    solution = solution_of(task)
    if not changes:
        return solution
    text = "\n\n".join(inspect.getsource(getattr(solution, name)) for name in task.names)
    for old, new in changes:
        if old not in text:
            where = f"mistakes.txt, [{task.name}]: {', '.join(task.names)} in {solution.__name__}"
            raise LookupError(f"{where} has no text {old!r} any more; quote what stands there now.")
        text = text.replace(old, new)
    made = ModuleType(solution.__name__)
    vars(made).update(vars(solution))
    exec(compile(text, f"<{task.name} with a mistake>", "exec"), vars(made))
    return made


def verify(task: Task) -> None:
    """Raise LookupError unless all that the task's mistakes quote is there, and the solution runs."""
    names = {_split(name)[1] for name in PROBES[task.name]}
    for mistake in MISTAKES[task.name]:
        for changes in mistake.changes:
            mutant(task, changes)
        for name in {*mistake.at, *mistake.otherwise} - names:
            raise LookupError(f"mistakes.txt, [{task.name}]: no probe is called {name!r}.")
    for name in PROBES[task.name]:
        if (error := known(task, name).error) is not None:
            raise LookupError(f"The solution of {task.name} fails in {name!r}.") from error


def examine(task: Task, student: ModuleType, place: Callable[[Any], str] = repr) -> Report:
    """Run the probes of a task on a student's module; ``place`` describes an error of its code."""
    named, general, passed = list[Remark](), list[Remark](), 0
    for name in PROBES[task.name]:
        right, got = known(task, name), attempt(task, name, student)
        if alike(got, right):
            if gap := _gradient_gap(got, right):
                general.append(Remark("gradient", gap))
            passed += not gap
        elif isinstance(got.error, NotImplementedError):
            named.append(Remark("to do", str(got.error) or "Still to be written."))
        elif remark := _recognised(task, name, got):
            named.append(remark)
        elif isinstance(got.error, Mismatch):
            named.append(Remark("shape", got.error.args[0]))
        elif got.error is not None:
            general.append(Remark("error", f"{task.name} ends in {place(got.error)}."))
        else:
            general.append(_difference(task, name, got, right))
    remarks = tuple(dict.fromkeys(named)) or tuple(general[:1])
    return Report(task.name, passed, len(PROBES[task.name]), remarks)


def _split(name: str) -> list[str]:
    """The kind of a probe, and what it compares."""
    return f"value: {name}".split(": ")[-2:]


def _recognised(task: Task, name: str, got: Result) -> Remark | None:
    """The remark of the mistake that gives the same numbers, or that alone can make this difference."""
    kind, what = _split(name)
    likely = sorted(MISTAKES[task.name], key=lambda mistake: mistake.remark.kind != kind)
    same = (m for m in likely if any(alike(got, known(task, name, c)) for c in m.changes))
    alone = (m for m in likely if what in m.at and got.shapes == known(task, name).shapes)
    return next((mistake.remark for mistake in itertools.chain(same, alone)), None)


class Factory:
    """A module whose classes give their objects known weights, in the order in which they are built. The
    solution's are scattered, so that equal defaults (zero biases) hide no mistake, and kept."""

    def __init__(self, task: Task, module: ModuleType, weights: list[dict[str, Tensor]]) -> None:
        self.solution, self.module, self.weights = solution_of(task), module, weights
        self.built: list[nn.Module] = []

    def __getattr__(self, name: str) -> Any:
        made, original = getattr(self.module, name), getattr(self.solution, name)
        is_class = isinstance(original, type) and issubclass(original, nn.Module)
        return partial(self.build, made) if is_class else made

    def build(self, made: Any, *arguments: Any, **options: Any) -> nn.Module:
        own: nn.Module = made(*arguments, **options)
        if self.module is self.solution:
            with torch.no_grad():
                for parameter in own.parameters():
                    parameter.add_(0.3 * torch.randn_like(parameter))
            self.weights.append({k: v.clone() for k, v in own.state_dict().items()})
        else:
            _take_weights(own, self.weights[len(self.built)])
        self.built.append(own)
        return own


def _take_weights(own: nn.Module, weights: dict[str, Tensor]) -> None:
    if not isinstance(own, nn.Module):
        raise Mismatch(f"{type(own).__name__} is no nn.Module.")
    mine, shapes = ({k: [*v.shape] for k, v in w.items()} for w in (own.state_dict(), weights))
    for name in weights | mine:
        if name not in mine:
            raise Mismatch(f"There is no {name}; the prompt says how it is called.", mine)
        if name not in weights:
            raise Mismatch(f"{name} is one parameter too many.", mine)
        if mine[name] != shapes[name]:
            raise Mismatch(f"{name} has shape {mine[name]}, not {shapes[name]}.", mine)
    own.load_state_dict(weights)


@functools.cache
def known(task: Task, name: str, changes: tuple[Change, ...] = ()) -> Result:
    """The result of the solution, or of a wrong version of it."""
    if changes:
        known(task, name)  # the solution's weights serve every version
    return attempt(task, name, mutant(task, changes))


def attempt(task: Task, name: str, module: ModuleType) -> Result:
    """The result of a probe on any version of the module, in float64 and with a fixed seed."""
    probe, before = PROBES[task.name][name], torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning is no mistake
            torch.default_generator.manual_seed(0)
            shapes = [*inspect.signature(probe).parameters.values()][1:]
            leaves = {one.name: torch.randn(one.default, requires_grad=True) for one in shapes}
            factory = Factory(task, module, WEIGHTS[task, name])
            # copies: a function may write into its inputs, but not into leaves
            returned = probe(factory, *(leaf.clone() for leaf in leaves.values()))
            for own in factory.built:
                leaves |= dict(own.named_parameters())
            values = flat(returned)
            return Result(returned, values, _gradients(values or [], leaves))
    except (Exception, SystemExit) as error:
        return Result(error=error)
    finally:
        torch.set_default_dtype(before)


def _gradients(values: list[Tensor], leaves: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """The gradient of a random combination of the values by every leaf."""
    torch.default_generator.manual_seed(1)
    weighted = [value * torch.randn(value.shape) for value in values if value.requires_grad]
    if not weighted:
        return None
    loss = torch.cat([value.flatten() for value in weighted]).sum()
    wanted = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    found = torch.autograd.grad(loss, [*wanted.values()], materialize_grads=True, allow_unused=True)
    return dict(zip(wanted, found, strict=True))


def flat(value: Any) -> list[Tensor] | None:
    """Tensors of a (nested) sequence, or None if something else is in it."""
    if isinstance(value, Tensor):
        return [value.to_dense() if value.layout != torch.strided else value]
    parts = [flat(part) for part in value] if isinstance(value, tuple | list) else [None]
    return None if None in parts else [one for part in parts for one in part or []]


def alike(a: Result, b: Result) -> bool:
    """Whether two results have the same values, or ended in the same error."""
    if a.error is not None or b.error is not None:
        deep = isinstance(a.error, RecursionError) and isinstance(b.error, RecursionError)
        return deep or repr(a.error) == repr(b.error)
    # numbers that were rounded to float32 on the way are right
    close = partial(torch.allclose, rtol=1e-6, atol=1e-6, equal_nan=True)
    pairs = zip(a.values or [], b.values or [], strict=False)
    return a.shapes == b.shapes and all(close(x.double(), y.double()) for x, y in pairs)


def _gradient_gap(got: Result, right: Result) -> str:
    """What is wrong with the gradients, if anything is."""
    if right.gradients and got.gradients is None:
        return "The output has no gradient: something detaches it."
    for name, wanted in (right.gradients or {}).items():
        mine = (got.gradients or {}).get(name, torch.zeros(())).double()
        if not torch.allclose(mine, wanted, rtol=1e-5, atol=1e-6):
            how = "another gradient than it should" if mine.any() else "no gradient"
            return f"{name} gets {how}."
    return ""


def _difference(task: Task, name: str, got: Result, right: Result) -> Remark:
    """What differs, and by how much."""
    kind, what = _split(name)
    said, wanted = what[0].upper() + what[1:], right.values or []
    if got.values is None or len(got.values) != len(wanted):
        many = "one tensor" if len(wanted) == 1 else f"{len(wanted)} tensors"
        sort, items = type(got.returned).__name__, isinstance(got.returned, tuple | list)
        instead = f"a {sort} of {len(got.returned)}" if items else f"of type {sort}"
        return Remark("shape", f"{said} should be {many}, but is {instead}.")
    for (sort, shape), (right_sort, right_shape) in zip(got.shapes, right.shapes, strict=True):
        if shape != right_shape:
            return Remark("shape", f"{said} has shape {shape}, not {right_shape}.")
        if sort != right_sort:
            return Remark("shape", f"{said} should be {right_sort}, but is {sort}.")
    for mistake in MISTAKES[task.name]:
        if what in mistake.otherwise:
            return mistake.remark
    a, b = (torch.cat([x.detach().double().flatten() for x in y]) for y in (got.values, wanted))
    gap = (a - b).abs()
    wrong = f"{int((gap > 1e-9).sum())} of {len(a)} numbers differ, by up to {float(gap.max()):.2g}"
    seen = "contains NaN" if a.isnan().any() else f"has the right shape, but {wrong}"
    return Remark(kind, f"{said} {seen}.")
