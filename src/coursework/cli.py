"""The command line; heavy libraries are imported inside the commands, so that ``--help`` answers at once."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from coursework import cli_trained, settings
from coursework.console import Cell, failure, guarded, show, survive_any_encoding, track
from coursework.errors import ConfigError, DataError, ResultsError

if TYPE_CHECKING:
    from coursework.experiments.base import Run

app = typer.Typer(
    name="coursework",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Course solutions in deep learning: get the data, run the notebooks, train, measure.\n\n"
    "Start with `coursework data status`, then `coursework run`.",
)
data_app = typer.Typer(no_args_is_help=True, help="Data sets: what is in use, fetch, verify.")
app.add_typer(data_app, name="data")
app.command("evaluate")(cli_trained.evaluate)
app.add_typer(cli_trained.predict_app, name="predict")

DataSets = Annotated[list[str] | None, Argument(help="Data sets; all by default.")]


@data_app.command("status")
@guarded
def data_status() -> None:
    """Which source of every data set is in use, and what to do for those that are not there."""
    from rich.filesize import decimal

    from coursework.data import sources

    rows: list[Sequence[Cell]] = []
    todo = []
    for name, entry in sources.REGISTRY.items():
        row = sources.status(name)
        total = sum(file.size for file in row.checks)
        size = decimal(total, precision=0) if total else "–"
        files = str(len(row.checks)) if row.ok is not None and row.checks else "–"
        checksum = {True: ("ok", "green"), False: ("wrong", "red"), None: ("–", "")}[row.ok]
        rows.append((name, row.source, files, size, checksum, entry.licence))
        if not row.ok:
            problems = row.problems if row.ok is False else []
            todo.append(f"{name}: {'; '.join([*problems, entry.by_hand])}")
    show("Data sets", ["data set", "source", "files", "size", "checksum", "licence"], rows)
    for line in ["To do by hand:", *todo] if todo else []:
        typer.echo(line)
    typer.echo(f"data root: {settings.data_root() or 'not set (COURSEWORK_DATA)'}")
    typer.echo(f"cache: {settings.cache_dir()}")


@data_app.command("fetch")
@guarded
def data_fetch(
    names: DataSets = None,
    strict: Annotated[bool, Option(help="Exit with 1 if one is not available.")] = False,
) -> None:
    """Download what is missing, verified and renamed into place."""
    from coursework.data import sources

    failed = []
    for name in names or list(sources.REGISTRY):
        try:
            typer.echo(f"{name}: {sources.find(name, real=True).label}")
        except DataError as error:
            failed.append(name)
            typer.echo(str(error), err=True)
    if failed and (strict or names):
        raise failure(f"not available: {', '.join(failed)}; the lines above say what to do.")
    for name in failed:
        standin = sources.info(name).standin
        stops = "no stand-in, what needs it stops"
        typer.echo(f"{name}: {f'the stand-in is used ({standin})' if standin else stops}.")


@data_app.command("verify")
@guarded
def data_verify(names: DataSets = None) -> None:
    """Compute the checksums anew and compare; a file that is missing counts as wrong."""
    from coursework.data import sources

    bad = []
    for name in names or list(sources.REGISTRY):
        row = sources.status(name, again=True)
        if not row.checks:
            typer.echo(f"{name}: inside an installed package, no file to compare")
        for check in row.checks:
            typer.echo(f"{name}: {check.path.name} {check.problem or 'ok'}")
        if not row.ok:
            bad.append(name)
    if bad:
        remedy = f"`coursework data fetch {' '.join(bad)}` gets them."
        raise failure(f"wrong or missing: {', '.join(bad)}; {remedy}")


@app.command("train")
@guarded
def train(
    experiment: Annotated[str, Argument(help="A wrong name is answered with the list.")],
    preset: Annotated[str, Option(help="quick, full, or one of the experiment's own.")] = "quick",
    set_: Annotated[
        list[str] | None, Option("--set", help="E.g. plan.epochs=3; repeatable.")
    ] = None,
    seed: Annotated[int, Option(min=0, max=2**32 - 1, help="First seed.")] = 0,
    seeds: Annotated[int, Option(min=1, help="How many seeds, one after the other.")] = 1,
    jobs: Annotated[int, Option(min=1, help="Seeds trained side by side, one thread each.")] = 1,
    backend: Annotated[str, Option(help="Where: loky (this machine) or dask.")] = "loky",
    scheduler: Annotated[str | None, Option(help="Address of the cluster; else local.")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on from the last checkpoint.")] = False,
    record: Annotated[str | None, Option(help="Its name; else EXPERIMENT-PRESET.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace one of more seeds.")] = False,
) -> None:
    """Train an experiment and record its result.

    Results of unchanged presets (other than quick) on the real data go to `writeup/results`,
    everything else to `build/results`.
    """
    from coursework.experiments import base
    from coursework.report import store
    from coursework.training import engine, parallel

    base.get(experiment)
    if record is not None and not re.fullmatch(store.NAME, record):
        remedy = "use small letters, digits, '-', '_' and '.'"
        raise ConfigError(f"A result cannot be recorded as {record!r}; {remedy}.")
    standard = base.preset_of(experiment, preset)
    config = base.override(standard, set_ or [])
    changed = config != standard
    title = f"{experiment}, preset {preset}{' (changed)' if changed else ''}"
    numbers = range(seed, seed + seeds)
    runs = []
    say = typer.echo if engine.first_process() else None  # under torchrun one process reports
    if jobs == 1 and backend == "loky":
        for number in numbers:
            if say is not None:
                say(f"{title}, seed {number}")
            runs.append(base.train_seed(experiment, config, preset, number, resume=resume, log=say))
    else:
        typer.echo(f"{title}, seeds {seed} to {seed + seeds - 1}, {jobs} at a time ({backend})")
        one = functools.partial(base.train_quietly, experiment, config, preset, resume)
        done = parallel.map_seeds(one, numbers, jobs, backend, scheduler)
        runs = list(track(done, "seeds", total=seeds))
    if say is not None:
        wanted = preset != "quick" and (not changed or record is not None)
        _record(record or f"{experiment}-{preset}", runs, wanted, overwrite)


def _record(name: str, runs: Sequence[Run], official: bool, overwrite: bool) -> None:
    """Print and store the result; only an official one on real data goes to ``writeup/results``."""
    from coursework.report import store
    from coursework.report.tables import shown

    official = official and not any(run.source.is_standin for run in runs)
    stored = 0
    with contextlib.suppress(ResultsError):  # none, or none that can be read
        stored = len(store.read(name)["seeds"])
    if official and stored > len(runs) and not overwrite:
        official = False
        what = f"{name} is recorded with {stored} seeds and stays as it is; this result"
        remedy = "--overwrite replaces the recorded one"
        typer.echo(f"{what} of {len(runs)} goes to build/results. {remedy}.")
    folder = settings.results_dir() if official else settings.build_dir() / "results"
    record = store.make_record(name, runs)
    if any("test_" in metric for metric in record["metrics"]):
        record["notes"]["test_looks"] = store.looks(name) + 1
    path = store.write(record, folder)
    metrics = store.read(name, folder)["metrics"].items()
    forms = "mean ± std (n) .4f", "low to high .4f"
    rows = [(key, *(shown(metric, form) for form in forms)) for key, metric in metrics]
    show(f"{name} ({runs[0].source.label})", ["metric", "mean ± std", "95 % interval"], rows)
    typer.echo(f"recorded in {path}")


def main() -> None:
    """Run the commands that the solutions alone provide."""
    survive_any_encoding()
    app()


if __name__ == "__main__":
    main()
