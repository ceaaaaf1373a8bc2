"""The training loop, on Lightning Fabric: one for every experiment.

A run of one process that is killed and resumed ends in the same weights, bit for bit, on a CPU with the same
threads and precision: the order of the data is a function of (seed, epoch), the learning rate one of the
progress, and a checkpoint holds the state of torch's random generators and the position within the epoch.
Under ``torchrun`` every process takes its share of the rows of each batch, and the loss is divided by the
samples of the *whole* batch: the gradients are those of one process, but for dropout and batch normalisation.
"""

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils._pytree import tree_map_only

from coursework.config import Count, Positive, Share, Weight, config
from coursework.errors import ConfigError, TrainingError
from coursework.training import checkpoints
from coursework.training.devices import choose_precision, device_of, first_process, make_fabric

__all__ = ["Fit", "Lazy", "Plan", "device_of", "first_process", "fit", "on_tensors"]


@config
class Plan:
    """How a model is trained; part of every experiment's ``Config``."""

    epochs: Count
    learning_rate: Positive  # its peak
    weight_decay: Weight = 0.0  # decoupled for adamw, classic L2 for adam
    optimizer: Literal["adam", "adamw"] = "adamw"
    # all but constant fall to zero; one-cycle is another name of cosine, of older records; linear-twice
    # is linear in each half of the run and averages the weights at their ends (Izmailov et al. 2018)
    schedule: Literal["constant", "cosine", "one-cycle", "linear", "linear-twice"] = "constant"
    warmup: Share = 0.0  # share of the run (or of each half) over which the rate rises from zero
    clip_norm: Positive | None = None  # largest gradient norm
    patience: Count | None = None  # epochs without a better monitor before the run stops
    monitor: str | None = "loss"  # metric that decides which weights are kept; None: the last
    mode: Literal["min", "max"] = "min"  # whether a smaller or a larger monitor is better
    second_monitor: str | None = None  # larger is better; with it, see ``_Training.judge``
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"  # auto: bf16 where it is fast

    def __post_init__(self) -> None:
        if self.monitor is None and (self.patience or self.second_monitor):
            raise ConfigError("patience and second_monitor need a monitor; set one.")
        if self.schedule == "linear-twice" and (self.epochs % 2 or self.patience):
            raise ConfigError("linear-twice has two halves; set epochs=4, say, and patience=none.")

    def rate(self, progress: float) -> float:
        """Factor on the peak learning rate at ``progress`` in [0, 1) of the run."""
        if self.schedule == "linear-twice":
            progress = 2 * progress % 1
        if progress < self.warmup:
            return progress / self.warmup
        rest = (progress - self.warmup) / (1 - self.warmup)
        if self.schedule.startswith("linear"):
            return 1 - rest
        return 1.0 if self.schedule == "constant" else 0.5 * (1 + math.cos(math.pi * rest))

    def before_restart(self) -> "Plan":
        """The plan of the half before the warm restart; itself if it has none."""
        if self.schedule == "linear-twice":
            return dataclasses.replace(self, epochs=self.epochs // 2, schedule="linear")
        return self


@dataclass
class Fit:
    """Where a training is, and what it leaves behind: plain values, stored with every checkpoint."""

    history: list[dict[str, float]] = field(default_factory=list)  # one record per epoch
    best_epoch: int = 0  # from 1
    best: dict[str, float] = field(default_factory=dict)  # its validation metrics
    seconds: float = 0.0  # of training, resumed parts included
    samples: int = 0
    epoch: int = 0  # finished epochs; how far the next one has come:
    position: int = 0
    loss: float = 0.0
    count: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of what a loss counts besides
    epoch_seconds: float = 0.0
    waited: int = 0  # epochs without a better monitor
    reached: dict[str, float] = field(default_factory=dict)  # best value of each monitor
    step_seconds: float = 0.0  # forward, loss, backward and update, since this process started
    validation_seconds: float = 0.0  # since this process started
    precision: str = "32-true"
    device: str = "cpu"
    processes: int = 1


class Lazy(Sequence[Any]):
    """Batches of an epoch, each made from its rows when it is asked for."""

    def __init__(self, rows: Sequence[Any], make: Callable[[Any], Any]) -> None:
        self.rows, self.make = rows, make  # which samples each batch has

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.make(self.rows[index])


# (model, batch) -> loss *summed* over the samples, number of samples; and perhaps further sums, such as
# {"accuracy": hits}, recorded as train_accuracy
Loss = Callable[[nn.Module, Any], tuple[Tensor, int] | tuple[Tensor, int, Mapping[str, float]]]


def fit(
    model: nn.Module,
    plan: Plan,
    *,
    batches: Callable[[int], Sequence[Any]],  # of an epoch, from 0: a function of it and the seed
    loss: Loss,
    validate: Callable[[nn.Module], dict[str, float]],  # in eval mode, no gradients: the metrics
    parameters: Iterable[Any] | None = None,  # or groups; where they are not model.parameters()
    shard: bool = True,  # over processes; not full-graph batches, which every process repeats
    line: Callable[[Mapping[str, float], int], str] | None = None,  # of an epoch's record, epochs
    log_every: int = 1,  # epochs; the last one is always printed
    **saving: Any,
) -> Fit:
    """Train ``model``, seeded before it is built, in place; it ends with its best weights, in eval mode. A
    loss or gradient that is not finite is a ``TrainingError``. ``saving``: fields of :class:`Saving`."""
    groups = list(model.parameters() if parameters is None else parameters)
    now = _Training(model, plan, groups, shard, Saving(**saving))
    while not now.finished():
        todo = batches(now.state.epoch)
        if len(todo) == 0:
            raise TrainingError(f"Epoch {now.state.epoch + 1} has no batches; add training rows.")
        now.wrapped.train()
        now.started = now.saved = time.perf_counter()
        for index in range(now.state.position, len(todo)):
            now.step(todo, index, loss)
            now.checkpoint_if_due(index + 1 < len(todo))
        now.stop_clock()
        row = now.end_epoch(validate)
        if now.finished() or now.state.epoch % log_every == 0:
            now.say((line or epoch_line)(row, plan.epochs))
    if now.best_weights is not None:
        model.load_state_dict(now.best_weights)
    model.eval().to("cpu")
    return now.state


@dataclass(frozen=True)
class Saving:
    """Where a training is stored, and what it is."""

    run_dir: Path | None = None  # of last.pt and best.pt; None keeps the best weights in memory
    resume: bool = False  # go on from last.pt if there is one
    identity: Mapping[str, Any] = field(default_factory=dict)  # a checkpoint of another is refused
    bundle: Mapping[str, Any] = field(default_factory=dict)  # in best.pt: vocabulary, config
    log: Callable[[str], None] | None = print  # None: silence
    checkpoint_seconds: float = 120.0  # shortest time between two checkpoints within an epoch


class _Training:
    """A model with its optimiser on a device, and where the training is."""

    def __init__(
        self, model: nn.Module, plan: Plan, groups: list[Any], shard: bool, saving: Saving
    ) -> None:
        self.model, self.plan, self.saving = model, plan, saving
        self.fabric = make_fabric(plan.precision)
        self.rank, self.processes = 0, 1  # without shards every process repeats the whole batch
        if shard:
            self.rank, self.processes = self.fabric.global_rank, self.fabric.world_size
        kind = torch.optim.Adam if plan.optimizer == "adam" else torch.optim.AdamW
        # fused: one kernel for the whole update, which takes much of a small network's step otherwise
        optimizer = kind(groups, lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True)
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        self.wrapped, self.optimizer = self.fabric.setup(model, optimizer)
        self.state = Fit()
        self.best_weights: dict[str, Tensor] | None = None
        self.averaged = AveragedModel(model) if plan.schedule == "linear-twice" else None
        if self.averaged is not None and next(model.buffers(), None) is not None:
            raise ConfigError("linear-twice cannot average batch statistics; set another schedule.")
        self.started = self.saved = time.perf_counter()
        if saving.resume and saving.run_dir is not None:
            self.resume(saving.run_dir / "last.pt")
        precision = choose_precision(plan.precision)
        if not self.state.samples:
            self.state.precision = precision
        elif not self.state.precision.endswith(precision):
            self.state.precision += f", then {precision}"
            self.say(f"the precision has changed: trained in {self.state.precision}")
        self.state.device, self.state.processes = self.fabric.device.type, self.processes

    def finished(self) -> bool:
        """Whether the last epoch is done, or the patience is used up."""
        waited_enough = self.plan.patience is not None and self.state.waited >= self.plan.patience
        return self.state.epoch >= self.plan.epochs or waited_enough

    def step(self, todo: Sequence[Any], index: int, loss: Loss) -> None:
        """Forward, loss, backward, clip, update: one batch."""
        rate = self.plan.rate((self.state.epoch + index / len(todo)) / self.plan.epochs)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * rate
        batch = on_tensors(todo[index], self.mine)
        started = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        total, count, *further = loss(self.wrapped, batch)
        whole, everyone = self.over_processes(total.detach(), count)
        # Gradients of several processes are averaged: undo that, and divide by the whole batch.
        self.fabric.backward(total * (self.processes / max(everyone, 1)))
        most = self.plan.clip_norm or math.inf
        norm = self.fabric.clip_gradients(
            self.wrapped, self.optimizer, max_norm=most, error_if_nonfinite=False
        )
        if not (math.isfinite(whole) and math.isfinite(norm)):
            self.give_up(todo, index, whole, float(norm))
        self.optimizer.step()
        self.state.step_seconds += time.perf_counter() - started
        self.state.loss += whole
        self.state.count += everyone
        for name, value in (further[0] if further else {}).items():
            value, _ = self.over_processes(torch.as_tensor(value), 0)
            self.state.sums[name] = self.state.sums.get(name, 0.0) + value
        self.state.samples += everyone
        self.state.position = index + 1

    def mine(self, tensor: Tensor) -> Tensor:
        """This process's rows of a tensor of the batch, on its device."""
        if self.processes > 1:  # a sparse graph, which every process has whole, cannot be sliced
            tensor = tensor[self.rank :: self.processes]
        return tensor.to(self.fabric.device)

    def over_processes(self, total: Tensor, count: int) -> tuple[float, int]:
        """Loss and number of samples of the whole batch, so that all processes judge it alike."""
        if self.processes == 1:
            return float(total), count
        sums = torch.tensor([float(total), count], dtype=torch.float64, device=self.fabric.device)
        whole, everyone = self.fabric.all_reduce(sums, reduce_op="sum").tolist()
        return whole, int(everyone)

    def end_epoch(self, validate: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
        """Validate, keep the best weights, write the checkpoints; the record of the epoch."""
        state = self.state
        if self.averaged is not None and (state.epoch + 1) % (self.plan.epochs // 2) == 0:
            self.averaged.update_parameters(self.model)  # at first a copy, in the end the mean
            self.model.load_state_dict(self.averaged.module.state_dict())
        self.wrapped.eval()
        started = time.perf_counter()
        with torch.no_grad():
            metrics = {name: float(value) for name, value in validate(self.wrapped).items()}
        state.validation_seconds += time.perf_counter() - started
        state.epoch += 1
        row = {
            "epoch": state.epoch,
            "train_loss": state.loss / max(state.count, 1),
            **{f"train_{key}": value / max(state.count, 1) for key, value in state.sums.items()},
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
            "seconds": state.epoch_seconds,
            **metrics,
        }
        state.history.append(row)
        if self.judge(metrics):
            state.best, state.best_epoch = metrics, state.epoch
            self.best_weights = copy.deepcopy(self.model.state_dict())
            self.store("best.pt", {"model": self.best_weights, "bundle": dict(self.saving.bundle)})
        state.position, state.loss, state.count, state.epoch_seconds = 0, 0.0, 0, 0.0
        state.sums = {}
        self.checkpoint()
        return row

    def judge(self, metrics: Mapping[str, float]) -> bool:
        """Whether to keep this epoch's weights; counts what goes against the patience. With a second monitor
        an epoch is kept if both values are at least as good as in every epoch before, and the patience counts
        epochs in which neither is (the rule of the authors of the graph attention network)."""
        if self.plan.monitor is None:
            return True
        good, monitors = [], {self.plan.monitor: self.plan.mode}
        if self.plan.second_monitor is not None:
            monitors[self.plan.second_monitor] = "max"
        for monitor, mode in monitors.items():
            if monitor not in metrics:
                own = ", ".join(sorted(metrics))
                raise ConfigError(f"monitor is {monitor!r}, but validation yields {own}; set one.")
            value, best = metrics[monitor], self.state.reached.get(monitor)
            tie = len(monitors) == 2 and value == best
            good.append(best is None or tie or _better(value, best, mode))
            if good[-1]:
                self.state.reached[monitor] = value
        self.state.waited = 0 if any(good) else self.state.waited + 1
        return all(good)

    def stop_clock(self) -> None:
        elapsed = time.perf_counter() - self.started
        self.started += elapsed
        self.state.epoch_seconds += elapsed
        self.state.seconds += elapsed

    def checkpoint_if_due(self, within_epoch: bool) -> None:
        """Write a checkpoint within an epoch where the last one is old enough."""
        since = time.perf_counter() - self.saved
        if within_epoch and self.saving.run_dir and since > self.saving.checkpoint_seconds:
            self.stop_clock()
            self.saved = self.started
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write all that a resumed run needs to end in the same weights."""
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best_weights": self.best_weights,
            "averaged": self.averaged and self.averaged.state_dict(),
            "fit": dataclasses.asdict(self.state),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }
        self.store("last.pt", content, keep_previous=True)

    def store(self, name: str, content: Mapping[str, Any], **options: Any) -> None:
        if self.saving.run_dir is not None and self.fabric.is_global_zero:
            content = {"identity": dict(self.saving.identity), **content}
            checkpoints.save(content, self.saving.run_dir / name, **options)

    def resume(self, path: Path) -> None:
        """Go on where the checkpoint was written, if there is one of this run."""
        try:
            latest = checkpoints.load_latest(path)
        except TrainingError as error:
            what = f"No checkpoint in {path.parent} can be read; delete this folder"
            raise TrainingError(f"{what}, or train without --resume.") from error
        if latest is None:
            self.say(f"no checkpoint in {path.parent}; this training starts from the beginning")
            return
        path, found = latest
        identity, theirs = dict(self.saving.identity), found.get("identity", {})
        if theirs != identity:
            changed = sorted(k for k in {**theirs, **identity} if theirs.get(k) != identity.get(k))
            what = f"Checkpoint {path} belongs to another run (different: {', '.join(changed)})"
            raise TrainingError(f"{what}; train without --resume, or with the options of that run.")
        try:
            self.model.load_state_dict(found["model"])
            self.optimizer.load_state_dict(found["optimizer"])
            self.best_weights, self.state = found["best_weights"], Fit(**found["fit"])
            if self.averaged is not None:
                self.averaged.load_state_dict(found["averaged"])
            torch.set_rng_state(found["rng"])
            if found["cuda_rng"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(found["cuda_rng"])
        except checkpoints.MISFITS as error:
            what = f"Checkpoint {path} was written by another version of this training"
            raise TrainingError(f"{what}; delete it, or train without --resume.") from error
        self.state.step_seconds = self.state.validation_seconds = 0.0
        place = f"at epoch {self.state.epoch + 1}, batch {self.state.position}"
        self.say(f"resumed from {path.name} {'when it was finished' if self.finished() else place}")

    def give_up(self, todo: Sequence[Any], index: int, loss: float, gradient: float) -> None:
        """Keep the batch that cannot be learned from, with its rows, and say where it was."""
        epoch, kept = self.state.epoch, ""
        if self.saving.run_dir is not None:
            rows = torch.as_tensor(todo.rows[index]).tolist() if isinstance(todo, Lazy) else None
            content = on_tensors(todo[index], Tensor.cpu)
            where = {"epoch": epoch, "batch": index, "loss": loss, "gradient": gradient}
            self.store("bad_batch.pt", where | {"rows": rows, "content": content})
            kept = f"; the last good checkpoint and bad_batch.pt are in {self.saving.run_dir}"
        if self.processes > 1:
            self.fabric.barrier()  # torchrun ends the first process when another fails
        what = f"gradient is {gradient}" if math.isfinite(loss) else f"loss is {loss}"
        step = f"step {epoch * len(todo) + index + 1}: epoch {epoch + 1}, batch {index + 1}"
        remedy = f"lower learning_rate or set clip_norm{kept}"
        raise TrainingError(f"The {what} in {step} of {len(todo)}; {remedy}.")

    def say(self, text: str) -> None:
        if self.saving.log is not None and self.fabric.is_global_zero:
            self.saving.log(text)


def _better(value: float, best: float, mode: str) -> bool:
    if math.isnan(best):  # of the first epoch, say: every number is better than none
        return not math.isnan(value)
    return value > best if mode == "max" else value < best


def on_tensors(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The batch (a tensor, or tuples, lists and dictionaries of them) with every tensor changed."""
    return tree_map_only(Tensor, change, batch)


def epoch_line(row: Mapping[str, float], epochs: int) -> str:
    """What is printed of an epoch unless the experiment says otherwise."""
    skip = {"epoch", "train_loss", "learning_rate", "seconds"}
    width = len(str(epochs))
    parts = [f"epoch {int(row['epoch']):{width}d}/{epochs}", f"train loss {row['train_loss']:.4f}"]
    parts += [f"{k.replace('_', ' ')} {v:.4f}" for k, v in row.items() if k not in skip]
    return "  ".join([*parts, f"{row['seconds']:.1f} s"])
