"""The training loop, on Lightning Fabric.

One loop for every experiment: an experiment says what its batches are, what the loss of a batch is and
how the model is validated; the loop does devices, precision, several processes, gradient clipping, the
learning-rate schedule, early stopping, checkpoints, resuming, and one printed line per epoch.

Three decisions make it repeatable:

* The order of the data is a function of (seed, epoch), never of what was drawn before.
* The learning rate is a function of the progress through the run, so there is no scheduler state.
* A checkpoint holds the state of the random generators and the position within the epoch; a run that
  is killed and resumed therefore ends in the same weights, bit for bit, on a CPU.

Under ``torchrun`` every process sees the same batches and takes its share of the rows of each, so a
sample is used exactly once per epoch, and the loss is divided by the number of samples of the *whole*
batch: the gradients equal those of one process up to the order of summation.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from coursework import settings
from coursework.errors import ConfigError, TrainingError
from coursework.training import checkpoints

Batch = Any
"""A tensor, or a tuple, list or dictionary of tensors whose first dimension is the sample."""

BAD_BATCH = "bad_batch.pt"
"""File of a run's folder that has the batch whose loss or gradient was not finite."""

Schedule = Literal["constant", "cosine", "one-cycle", "linear"]


@dataclass(frozen=True)
class Plan:
    """How a model is trained; part of every experiment's ``Config``.

    Attributes:
        epochs: Passes over the batches.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled for ``adamw``, classic L2 for ``adam``.
        optimizer: ``adam`` or ``adamw``.
        schedule: ``constant``; ``cosine`` or ``linear`` to zero; ``one-cycle`` (linear warm-up, cosine
            to zero). All but ``constant`` start with ``warmup``.
        warmup: Share of the run over which the rate rises linearly from zero.
        clip_norm: Largest gradient norm, or None.
        patience: Epochs without a better ``monitor`` before the run stops, or None.
        monitor: Validation metric that decides which weights are the best.
        mode: Whether ``monitor`` is better when larger or smaller.
        second_monitor: A second validation metric, larger is better, or None. With it the best weights
            are those where *neither* metric has been better before, and ``patience`` counts epochs in
            which neither is as good as ever: the rule of the authors of the graph attention network.
        precision: ``auto`` takes bfloat16 autocast where the hardware computes in it, else float32.
    """

    epochs: int
    learning_rate: float
    weight_decay: float = 0.0
    optimizer: Literal["adam", "adamw"] = "adamw"
    schedule: Schedule = "constant"
    warmup: float = 0.0
    clip_norm: float | None = None
    patience: int | None = None
    monitor: str = "loss"
    mode: Literal["min", "max"] = "min"
    second_monitor: str | None = None
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs is {self.epochs}; it must be at least 1.")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning_rate is {self.learning_rate}; it must be positive.")
        if not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f"weight_decay is {self.weight_decay}; it must be 0 or positive.")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ConfigError(f"clip_norm is {self.clip_norm}; it must be positive, or none.")
        for name, known in (
            ("schedule", get_args(Schedule)),
            ("mode", ("min", "max")),
            ("precision", ("auto", "32-true", "bf16-mixed")),
        ):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; choose {', '.join(known)}.")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup is {self.warmup}; it is a share of the run in [0, 1).")
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"patience is {self.patience}; it must be at least 1, or none.")


@dataclass
class Fit:
    """What a training leaves behind.

    Attributes:
        history: One record per epoch: ``epoch``, ``train_loss``, ``learning_rate``, ``seconds`` and the
            validation metrics.
        best_epoch: Epoch (from 1) whose weights the model now holds.
        best: Validation metrics of that epoch.
        seconds: Training time over all epochs, resumed parts included.
        samples_per_second: Throughput of the training steps.
        precision: What ``auto`` came to.
        device: Device type that it ran on.
        processes: Number of processes.
        resumed_from: Epoch that a resumed run started in, or None.
        step_seconds: Time of forward, loss, backward and update, since the start of this process.
        validation_seconds: Time of validation, since the start of this process.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    samples_per_second: float = 0.0
    precision: str = "32-true"
    device: str = "cpu"
    processes: int = 1
    resumed_from: int | None = None
    step_seconds: float = 0.0
    validation_seconds: float = 0.0


_RECORDINGS: list[list[Fit]] = []


@contextmanager
def recorded() -> Iterator[list[Fit]]:
    """Collect the record of every training that ends inside, for experiments that keep theirs."""
    fits: list[Fit] = []
    _RECORDINGS.append(fits)
    try:
        yield fits
    finally:
        _RECORDINGS[:] = [other for other in _RECORDINGS if other is not fits]


def choose_precision(wanted: str = "auto") -> str:
    """``bf16-mixed`` where the hardware multiplies bfloat16 (GPU, or a CPU with the instructions).

    On a CPU without them autocast is slower than float32 (four times, measured on one with AVX-512
    and no more), and some kernels do not exist at all.
    """
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "bf16-mixed" if _cpu_multiplies_bf16() else "32-true"


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU has instructions for bfloat16; oneDNN alone says yes where it emulates them."""
    emulated_or_not = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    if not emulated_or_not():
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in asked)


def rate_factor(progress: float, schedule: Schedule, warmup: float) -> float:
    """Factor on the peak learning rate at ``progress`` in [0, 1] of the run."""
    if schedule == "constant":
        return min(1.0, progress / warmup) if warmup and progress < warmup else 1.0
    if progress < warmup:
        return progress / warmup
    rest = (progress - warmup) / (1 - warmup)
    if schedule == "linear":
        return 1 - rest
    return 0.5 * (1 + math.cos(math.pi * rest))  # cosine, one-cycle


def make_fabric(precision: str = "auto") -> Any:
    """A launched Fabric: the GPU where there is one, all processes where ``torchrun`` started several."""
    from lightning.fabric import Fabric

    # It tells the precision on stderr; here that is part of the record.
    for part in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(part).setLevel(logging.WARNING)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        fabric = Fabric(
            accelerator="auto",
            strategy="ddp",
            devices=int(os.environ.get("LOCAL_WORLD_SIZE", processes)),
            num_nodes=processes // int(os.environ.get("LOCAL_WORLD_SIZE", processes)),
            precision=choose_precision(precision),
        )
        fabric.launch()
        return fabric
    return Fabric(accelerator="auto", devices=1, precision=choose_precision(precision))


def share(batch: Batch, rank: int, processes: int) -> Batch:
    """Rows ``rank, rank + processes, ...`` of every tensor in the batch."""
    if processes == 1:
        return batch
    if isinstance(batch, Tensor):
        return batch[rank::processes]
    if isinstance(batch, Mapping):
        return {key: share(value, rank, processes) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(share(value, rank, processes) for value in batch)
    return batch


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move every tensor in the batch."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(to_device(value, device) for value in batch)
    return batch


def fit(
    model: nn.Module,
    plan: Plan,
    *,
    batches: Callable[[int], Sequence[Batch]],
    loss: Callable[[nn.Module, Batch], tuple[Tensor, int]],
    validate: Callable[[nn.Module], dict[str, float]],
    parameters: Iterable[Any] | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    identity: Mapping[str, Any] | None = None,
    bundle: Mapping[str, Any] | None = None,
    shard: bool = True,
    log: Callable[[str], None] | None = print,
    log_every: int = 1,
    checkpoint_seconds: float = 120.0,
) -> Fit:
    """Train ``model`` in place and leave it with its best weights.

    Args:
        model: The network; seed before building it.
        plan: Hyper-parameters of the optimisation.
        batches: Epoch (from 0) -> the batches of that epoch, a function of the epoch and the run's seed
            only. Batches with a method ``rows(index)`` tell which samples a batch has.
        loss: (model, batch) -> (loss *summed* over the samples of the batch, number of samples).
        validate: model (in eval mode, no gradients) -> metrics; must contain ``plan.monitor``.
        parameters: Parameter groups where they are not simply ``model.parameters()``.
        run_dir: Folder for ``last.pt`` and ``best.pt``; None keeps the best weights in memory only.
        resume: Go on from ``last.pt`` in ``run_dir`` if there is one.
        identity: What the run is (experiment, config, seed); a checkpoint of another run is refused.
        bundle: Plain data stored with ``best.pt`` (config, vocabulary) so that it can be used alone.
        shard: Split batches over processes; False for full-graph batches that every process repeats.
        log: Where the line per epoch goes, None for silence.
        log_every: Print every so many epochs (the last one always).
        checkpoint_seconds: Shortest time between two checkpoints within an epoch.

    Returns:
        The record of the training.

    Raises:
        TrainingError: If a loss or a gradient is not finite (the last good checkpoint is kept, and
            the batch beside it as ``bad_batch.pt``), or a checkpoint belongs to another run.
        ConfigError: If ``plan.monitor`` is not among the validation metrics.
    """
    fabric = make_fabric(plan.precision)
    device = fabric.device
    rank, processes = (fabric.global_rank, fabric.world_size) if shard else (0, 1)
    groups = list(parameters) if parameters is not None else list(model.parameters())
    optimizer = _optimizer(plan, groups)
    peaks = [group["lr"] for group in optimizer.param_groups]
    wrapped, optimizer = fabric.setup(model, optimizer)

    record = Fit(
        precision=choose_precision(plan.precision), device=device.type, processes=processes
    )
    best_state: dict[str, Tensor] | None = None
    epoch, position, running_loss, running_count, epoch_seconds = 0, 0, 0.0, 0, 0.0
    trained_samples, waited = 0, 0
    reached: dict[str, float] = {}  # the best value so far of each metric that is monitored
    identity = dict(identity or {})

    last_path = run_dir / "last.pt" if run_dir is not None else None
    if (
        resume
        and last_path is not None
        and (state := checkpoints.load_latest(last_path)) is not None
    ):
        if state["identity"] != identity:
            changed = sorted(k for k in identity if state["identity"].get(k) != identity[k])
            raise TrainingError(
                f"Checkpoint {last_path} belongs to another run (different: {', '.join(changed)}); "
                "train without --resume, or with the options of that run."
            )
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        best_state = state["best_state"]
        record.history, record.best = state["history"], state["best"]
        record.best_epoch, record.seconds = state["best_epoch"], state["seconds"]
        epoch, position = state["epoch"], state["position"]
        running_loss, running_count = state["running_loss"], state["running_count"]
        epoch_seconds, trained_samples = state["epoch_seconds"], state["trained_samples"]
        waited, reached = state["waited"], state["reached"]
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda_rng"])
        record.resumed_from = epoch + 1
        if log is not None and fabric.is_global_zero:
            log(f"resumed from {last_path.name} at epoch {epoch + 1}, batch {position}")

    def checkpoint() -> None:
        if last_path is None or not fabric.is_global_zero:
            return
        checkpoints.save(
            {
                "identity": identity,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "best_state": best_state,
                "history": record.history,
                "best": record.best,
                "best_epoch": record.best_epoch,
                "seconds": record.seconds,
                "epoch": epoch,
                "position": position,
                "running_loss": running_loss,
                "running_count": running_count,
                "epoch_seconds": epoch_seconds,
                "trained_samples": trained_samples,
                "waited": waited,
                "reached": reached,
                "rng": torch.get_rng_state(),
                "cuda_rng": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
            },
            last_path,
            keep_previous=True,
        )

    stopped = plan.patience is not None and waited >= plan.patience
    while epoch < plan.epochs and not stopped:
        todo = batches(epoch)
        if len(todo) == 0:
            raise TrainingError(f"Epoch {epoch + 1} has no batches; is the training set empty?")
        wrapped.train()
        saved_at = started = time.perf_counter()
        for index in range(position, len(todo)):
            progress = (epoch + index / len(todo)) / plan.epochs
            factor = rate_factor(progress, plan.schedule, plan.warmup)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            batch = to_device(share(todo[index], rank, processes), device)
            step_started = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            total, count = loss(wrapped, batch)
            everyone: float = count
            whole = total.detach()  # of all shares, so that all processes judge it alike
            if processes > 1:
                whole, everyone = _sum_over_processes(fabric, float(whole), count)
            # With several processes gradients are averaged, so the mean over the whole batch is
            # (sum of this share) * processes / (samples of all shares).
            mean = total * (processes / max(everyone, 1))
            fabric.backward(mean)
            if plan.clip_norm is not None:
                norm = fabric.clip_gradients(
                    wrapped, optimizer, max_norm=plan.clip_norm, error_if_nonfinite=False
                )
            else:
                norm = _gradient_norm(optimizer)
            value, length = float(whole), float(norm)
            if not (math.isfinite(value) and math.isfinite(length)):
                kept = ""
                if run_dir is not None:
                    kept = f"; the last good checkpoint and {BAD_BATCH} are in {run_dir}"
                    if fabric.is_global_zero:
                        found = {"epoch": epoch, "batch": index, "loss": value, "gradient": length}
                        _keep_batch(run_dir / BAD_BATCH, todo, identity, found)
                    if processes > 1:
                        fabric.barrier()  # torchrun ends the first process when another fails
                what = f"loss is {value}" if not math.isfinite(value) else f"gradient is {length}"
                raise TrainingError(
                    f"The {what} in step {epoch * len(todo) + index + 1}: epoch {epoch + 1}, "
                    f"batch {index + 1} of {len(todo)}; "
                    f"lower learning_rate or set clip_norm{kept}."
                )
            optimizer.step()
            record.step_seconds += time.perf_counter() - step_started
            running_loss += value
            running_count += int(everyone)
            trained_samples += int(everyone)
            position = index + 1
            if (
                last_path is not None
                and time.perf_counter() - saved_at > checkpoint_seconds
                and position < len(todo)
            ):
                now = time.perf_counter()
                epoch_seconds, record.seconds = (
                    epoch_seconds + now - started,
                    record.seconds + now - started,
                )
                started = saved_at = now
                checkpoint()
        elapsed = time.perf_counter() - started
        epoch_seconds += elapsed
        record.seconds += elapsed

        wrapped.eval()
        validation_started = time.perf_counter()
        with torch.no_grad():
            metrics = {name: float(value) for name, value in validate(wrapped).items()}
        record.validation_seconds += time.perf_counter() - validation_started
        for monitor in filter(None, (plan.monitor, plan.second_monitor)):
            if monitor not in metrics:
                raise ConfigError(
                    f"monitor is {monitor!r}, but validation yields {', '.join(sorted(metrics))}."
                )
        row = {
            "epoch": epoch + 1,
            "train_loss": running_loss / max(running_count, 1),
            "learning_rate": float(optimizer.param_groups[0]["lr"]),
            "seconds": epoch_seconds,
            **metrics,
        }
        record.history.append(row)
        best, waits = _judge(plan, metrics, reached)
        waited = waited + 1 if waits else 0
        if best:
            record.best, record.best_epoch = metrics, epoch + 1
            best_state = copy.deepcopy(model.state_dict())
            if run_dir is not None and fabric.is_global_zero:
                checkpoints.save(
                    {"identity": identity, "model": best_state, "bundle": dict(bundle or {})},
                    run_dir / "best.pt",
                )
        stopped = plan.patience is not None and waited >= plan.patience
        final = stopped or epoch + 1 == plan.epochs
        if log is not None and fabric.is_global_zero and (final or (epoch + 1) % log_every == 0):
            log(_line(row, plan.epochs))
        epoch, position = epoch + 1, 0
        running_loss, running_count, epoch_seconds = 0.0, 0, 0.0
        checkpoint()

    if best_state is not None:
        model.load_state_dict(best_state)
    model.eval()
    model.to("cpu")
    record.samples_per_second = trained_samples / record.seconds if record.seconds else 0.0
    for fits in _RECORDINGS:
        fits.append(record)
    return record


def fresh_run_dir(name: str, identity: Mapping[str, Any], *, resume: bool) -> Path:
    """Folder of a run, named after what it is; emptied of checkpoints unless the run is resumed."""
    import hashlib
    import json

    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
    folder = settings.runs_dir() / f"{name}-{digest[:10]}"
    if not resume and folder.is_dir():
        # Below it too: a network that this run has not come to must not be resumed from an older one.
        for file in folder.rglob("*.pt") if first_process() else ():
            file.unlink(missing_ok=True)
    return folder


def first_process() -> bool:
    """Whether this is the process that writes: the only one, or the first under ``torchrun``."""
    return int(os.environ.get("RANK", "0")) == 0


def _optimizer(plan: Plan, groups: list[Any]) -> torch.optim.Optimizer:
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}.get(plan.optimizer)
    if kind is None:
        raise ConfigError(f"optimizer is {plan.optimizer!r}; choose adam or adamw.")
    # One kernel for the whole update: a seventh of a small Transformer's step on a CPU otherwise.
    return kind(groups, lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True)


def _sum_over_processes(fabric: Any, *values: float) -> Any:
    tensor = torch.tensor(values, dtype=torch.float64, device=fabric.device)
    return fabric.all_reduce(tensor, reduce_op="sum").tolist()


def _gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """Norm of the gradient, for the only question whether it is finite."""
    gradients = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    return torch.nn.utils.get_total_norm(gradients)


def _keep_batch(
    path: Path, todo: Sequence[Batch], identity: Mapping[str, Any], found: Mapping[str, Any]
) -> None:
    """Store the batch that cannot be learned from, and which samples it has where the batches know."""
    rows = getattr(todo, "rows", None)
    known = None if rows is None else torch.as_tensor(rows(found["batch"])).tolist()
    batch = to_device(todo[found["batch"]], torch.device("cpu"))
    checkpoints.save({"identity": dict(identity), **found, "rows": known, "content": batch}, path)


def _judge(
    plan: Plan, metrics: Mapping[str, float], reached: dict[str, float]
) -> tuple[bool, bool]:
    """Whether an epoch is the best so far, and whether it counts against the patience.

    ``reached`` is brought up to date.
    """
    first = plan.monitor not in reached
    better = first or _better(metrics[plan.monitor], reached[plan.monitor], plan.mode)
    if plan.second_monitor is None:
        if better:
            reached[plan.monitor] = metrics[plan.monitor]
        return better, not better
    good = []
    for monitor, mode in ((plan.monitor, plan.mode), (plan.second_monitor, "max")):
        value = metrics[monitor]
        as_good = first or value == reached[monitor] or _better(value, reached[monitor], mode)
        if as_good:
            reached[monitor] = value
        good.append(as_good)
    return all(good), not any(good)


def _better(value: float, best: float, mode: str) -> bool:
    if math.isnan(best):  # of the first epoch, say: every number is better than none
        return not math.isnan(value)
    return value > best if mode == "max" else value < best


def _line(row: Mapping[str, float], epochs: int) -> str:
    width = len(str(epochs))
    parts = [f"epoch {int(row['epoch']):{width}d}/{epochs}", f"train loss {row['train_loss']:.4f}"]
    skip = {"epoch", "train_loss", "learning_rate", "seconds"}
    parts += [f"{k.replace('_', ' ')} {v:.4f}" for k, v in row.items() if k not in skip]
    return "  ".join([*parts, f"{row['seconds']:.1f} s"])
