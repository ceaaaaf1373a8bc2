"""The command line: ``coursework data | run | train | evaluate | predict | grade | report | bench``, and for
students ``coursework student | check``.

Heavy libraries are imported inside the commands, so that ``--help`` answers at once. Errors that a user
can mend are printed as one sentence; wrong use ends with exit code 2, everything else with 1.
"""

from __future__ import annotations

import functools
import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from coursework import settings
from coursework.errors import ConfigError, CourseworkError, DataError

if TYPE_CHECKING:
    from rich.table import Table as RichTable

F = TypeVar("F", bound=Callable[..., Any])

app = typer.Typer(
    name="coursework",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Course solutions in deep learning: get the data, run the notebooks, train, measure.\n\n"
    "Start with `coursework data status`, then `coursework run`.",
)
data_app = typer.Typer(no_args_is_help=True, help="Data sets: what is in use, fetch, verify.")
predict_app = typer.Typer(
    no_args_is_help=True, help="Use a trained model on a tweet, a sentence or an image."
)
app.add_typer(data_app, name="data")
app.add_typer(predict_app, name="predict")


def _fail(message: str, code: int) -> typer.Exit:
    typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(message, err=True)
    return typer.Exit(code)


def _guarded(function: F) -> F:
    """Turn the errors of people into one sentence and an exit code."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except CourseworkError as error:
            raise _fail(str(error), 2 if isinstance(error, ConfigError) else 1) from error
        except KeyboardInterrupt as error:
            raise _fail(
                "interrupted; nothing half-written was kept, and a training goes on from its last "
                "checkpoint with --resume.",
                130,
            ) from error
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise _fail(f"{error.strerror or error}{where}.", 1) from error

    return wrapper  # type: ignore[return-value]


def _table(title: str, columns: list[str]) -> RichTable:
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(item: Any) -> None:
    from rich.console import Console

    # Without a terminal (a log, CI) Rich assumes 80 columns, too narrow for the tables.
    console = Console()
    Console(width=None if console.is_terminal else 160).print(item)


# ------------------------------------------------------------------------------------------------ data


def _size(size: int) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size //= 1000
    return f"{size:.0f} GB"


@data_app.command("status")
@_guarded
def data_status() -> None:
    """Which source of every data set is in use, and what to do for those that are not there."""
    from coursework.data import sources

    table = _table(
        "Data sets", ["data set", "source", "files", "size", "checksum", "licence", "to do by hand"]
    )
    for name, entry in sources.REGISTRY.items():
        row = sources.status(name)
        check = {True: "[green]ok[/]", False: "[red]wrong[/]", None: "–"}[row.ok]
        size = sum(file.size for file in row.checks)
        table.add_row(
            name,
            row.source,
            str(len(row.checks)) if row.ok is not None and row.checks else "–",
            _size(size) if size else "–",
            check,
            entry.licence,
            "–"
            if row.ok
            else "; ".join([*(row.problems if row.ok is False else []), entry.by_hand]),
        )
    _print(table)
    root = settings.data_root()
    typer.echo(f"data root: {root or 'not set (COURSEWORK_DATA)'}")
    typer.echo(f"cache: {settings.cache_dir()}")


@data_app.command("fetch")
@_guarded
def data_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets; all by default.")] = None,
    strict: Annotated[
        bool, typer.Option(help="Exit with 1 if one is not available, instead of saying so.")
    ] = False,
) -> None:
    """Download what is missing, verified and renamed into place."""
    from coursework.data import sources

    failed = []
    for name in names or list(sources.REGISTRY):
        try:
            source = sources.fetch(name)
            typer.echo(f"{name}: {source.label}")
        except DataError as error:
            failed.append(name)
            typer.echo(str(error), err=True)
    if failed and (strict or names):
        raise _fail(f"not available: {', '.join(failed)}; the lines above say what to do.", 1)
    for name in failed:
        standin = sources.info(name).standin
        typer.echo(f"{name}: {f'the stand-in is used ({standin})' if standin else 'no stand-in'}.")


@data_app.command("verify")
@_guarded
def data_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets; all by default.")] = None,
) -> None:
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
        raise _fail(
            f"wrong or missing: {', '.join(bad)}; `coursework data fetch {' '.join(bad)}` gets them.",
            1,
        )


# ------------------------------------------------------------------------------------- run, train, ...


@app.command("run")
@_guarded
def run_notebooks(
    notebooks: Annotated[
        list[str] | None, typer.Argument(help="Names or numbers, e.g. `6`; all by default.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Preset that is trained live: quick or full.")
    ] = None,
    inplace: Annotated[
        bool, typer.Option("--inplace", help="Store outputs and figures (real data only).")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Notebooks side by side; one a core by default.")
    ] = None,
) -> None:
    """Execute the notebooks and print what every sub-question came to."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from coursework.report import questions
    from coursework_tools.publishing import run as runner

    if preset is not None and preset not in settings.PRESETS:
        raise ConfigError(f"There is no preset {preset!r}; choose from quick, full.")
    names = questions.select(notebooks or [])
    started = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    interactive = sys.stdout.isatty() and settings.progress()
    with Progress(*columns, TimeElapsedColumn(), disable=not interactive) as bars:
        tasks = {
            name: bars.add_task(name, total=None, start=False, state="waiting") for name in names
        }

        def begin(name: str) -> None:
            bars.start_task(tasks[name])
            bars.update(tasks[name], state="starting")

        def advance(name: str, done: int, total: int) -> None:
            bars.update(tasks[name], total=total, completed=done, state=f"cell {done}/{total}")

        def end(outcome: runner.Execution) -> None:
            bars.update(tasks[outcome.notebook], state=outcome.error or "done")
            bars.stop_task(tasks[outcome.notebook])
            if not interactive:
                typer.echo(
                    f"{outcome.notebook}: {outcome.seconds:.0f} s  {outcome.error or 'done'}"
                )

        outcomes = runner.run(names, jobs=jobs, preset=preset, inplace=inplace,
                              on_begin=begin, on_cell=advance, on_end=end)  # fmt: skip

    table = _table(
        "Answers of this run",
        ["problem", "question", "result", "value", "data", "seconds", "where to look"],
    )
    root = settings.repo_root()
    for outcome in outcomes:
        path = outcome.path
        where = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        number = outcome.notebook.split("_")[0]
        if outcome.error:
            table.add_row(number, "–", "[red]failed[/]", outcome.error, "–",
                          f"{outcome.seconds:.0f}", where)  # fmt: skip
        for answer in outcome.answers:
            colour = "[yellow]" if answer.source.startswith("STAND-IN") else ""
            table.add_row(number, answer.part, answer.result, answer.value,
                          colour + answer.source, "", where)  # fmt: skip
        table.add_section()
    _print(table)
    runner.keep_seconds(outcomes)
    typer.echo(f"{len(outcomes)} notebooks in {time.perf_counter() - started:.0f} s")
    failed = [outcome.notebook for outcome in outcomes if outcome.error]
    if failed:
        raise _fail(f"failed: {', '.join(failed)}; the table says where.", 1)


@app.command("train")
@_guarded
def train(
    experiment: Annotated[
        str,
        typer.Argument(help="For example sentiment; a wrong name is answered with the list."),
    ],
    preset: Annotated[
        str, typer.Option(help="Named configuration: quick, full, or one of the experiment's own.")
    ] = "quick",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a number, e.g. `--set plan.epochs=3`; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="First seed.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, one after the other.")] = 1,
    jobs: Annotated[
        int, typer.Option(min=1, help="Seeds trained side by side, with one thread each.")
    ] = 1,
    backend: Annotated[
        str, typer.Option(help="Where they run: loky (this machine) or dask.")
    ] = "loky",
    scheduler: Annotated[
        str | None, typer.Option(help="Address of the cluster; one on this machine by default.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    record: Annotated[
        str | None,
        typer.Option(help="Name to record the result under; EXPERIMENT-PRESET by default."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a recorded result of more seeds.")
    ] = False,
) -> None:
    """Train an experiment and record its result.

    Results of unchanged presets (other than quick) on the real data go to `writeup/results`,
    everything else to `build/results`.
    """
    from coursework.experiments import base
    from coursework.report import store
    from coursework.training import engine, parallel
    from coursework.training.progress import track

    base.get(experiment)
    if record is not None and not store.is_name(record):
        raise ConfigError(
            f"A result cannot be recorded as {record!r}; use small letters, digits, '-', '_' and '.'."
        )
    config = base.override(base.preset_of(experiment, preset), set_ or [])
    changed = config != base.preset_of(experiment, preset)
    title = f"{experiment}, preset {preset}{' (changed)' if changed else ''}"
    numbers = range(seed, seed + seeds)
    runs = []
    say = typer.echo if engine.first_process() else None  # under torchrun one process reports
    if jobs == 1 and backend == "loky":
        for number in numbers:
            if say is not None:
                say(f"{title}, seed {number}")
            runs.append(base.train_seed(experiment, config, preset, number, resume, log=say))
    else:
        typer.echo(f"{title}, seeds {seed} to {seed + seeds - 1}, {jobs} at a time ({backend})")
        one = functools.partial(base.train_quietly, experiment, config, preset, resume)
        done = parallel.map_seeds(
            one, numbers, jobs, backend=cast(parallel.Backend, backend), scheduler=scheduler
        )
        runs = list(track(done, "seeds", total=seeds))
    if say is None:
        return
    name = record or f"{experiment}-{preset}"
    official = (
        preset != "quick" and (not changed or record) and not any(r.source.is_standin for r in runs)
    )
    if official and store.seeds_of(name) > seeds and not overwrite:
        official = False
        typer.echo(
            f"{name} is recorded with {store.seeds_of(name)} seeds and stays as it is; this result "
            f"of {seeds} goes to build/results. --overwrite replaces the recorded one."
        )
    folder = settings.results_dir() if official else settings.build_dir() / "results"
    path = store.write(store.make_record(name, runs), folder)
    _print_metrics(store.read(name, folder)["metrics"], f"{name} ({runs[0].source.label})")
    typer.echo(f"recorded in {path}")


def _print_metrics(metrics: dict[str, Any], title: str) -> None:
    from coursework.report.tables import spread

    table = _table(title, ["metric", "mean ± std", "95 % interval"])
    for key, metric in metrics.items():
        interval = f"{metric['low']:.4f} to {metric['high']:.4f}" if "low" in metric else "–"
        table.add_row(key, spread(metric), interval)
    _print(table)


def _checkpoint(experiment: str, given: Path | None) -> Path:
    """The checkpoint to use: the one named, else the committed one, else the newest local one."""
    if given is not None:
        if not given.is_file():
            raise DataError(f"There is no checkpoint at {given}; name the file of a trained model.")
        return given
    kept = settings.checkpoints_dir() / f"{experiment}.pt"
    if kept.is_file():
        return kept
    trained = sorted(
        settings.runs_dir().glob(f"{experiment}-*/**/best.pt"),
        key=lambda path: path.stat().st_mtime,
    )
    if not trained:
        raise DataError(
            f"There is no trained model yet; run `coursework train {experiment}` first, "
            "or name a file with --checkpoint."
        )
    return trained[-1]


_CHECKPOINT = typer.Option("--checkpoint", help="File of a trained model; the newest by default.")


@app.command("evaluate")
@_guarded
def evaluate(
    experiment: Annotated[str, typer.Argument(help="Name of the experiment.")],
    checkpoint: Annotated[Path | None, _CHECKPOINT] = None,
) -> None:
    """Measure a trained model on its test data."""
    from coursework.experiments import base

    module = base.get(experiment)
    if not hasattr(module, "evaluate"):
        raise ConfigError(f"Experiment {experiment} keeps no model that could be evaluated alone.")
    path = _checkpoint(experiment, checkpoint)
    table = _table(f"{experiment}: {path.parent.name}/{path.name}", ["metric", "value"])
    for key, value in module.evaluate(path).items():
        table.add_row(key, f"{value:.4f}")
    _print(table)


@app.command("report")
@_guarded
def report(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if something is stale.")
    ] = False,
) -> None:
    """Validate the results, condense them into the headline and the README, typeset the writeup."""
    import json

    from coursework.report import store
    from coursework_tools.publishing import headline, readme, writeup

    names = store.names()
    for name in names:
        store.read(name)
    target = settings.results_dir() / "headline.json"
    if check:
        try:
            stored = json.loads(target.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # missing or broken is stale
            stored = None
        stale = readme.stale() + ([] if stored == headline.condense() else [target.name])
        if stale:
            raise _fail(f"{', '.join(stale)} is stale; run `coursework report`.", 1)
        if not writeup.is_fresh():
            raise _fail(
                f"{writeup.target().name} is older than what it tells of; run `coursework report`.",
                1,
            )
        typer.echo(f"{len(names)} results, headline, README and writeup agree")
        return
    headline.write()
    readme.update()
    typer.echo(headline.table())
    typer.echo(f"{len(names)} results condensed into {target.name}; README and docs are up to date")
    typer.echo("typesetting ...")
    typer.echo(f"written to {writeup.write()}")


@app.command("grade")
@_guarded
def grade(
    notebooks: Annotated[
        list[str] | None, typer.Argument(help="Notebooks by name or number; all by default.")
    ] = None,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Run the tests that are named as evidence.")
    ] = True,
    html: Annotated[
        Path | None, typer.Option(help="Also write the rubric as one HTML page to this file.")
    ] = None,
) -> None:
    """The rubric of both homework sets: where each answer is, and what its evidence says now."""
    from coursework.report import questions
    from coursework_tools.grading import grade as grader

    if run:
        typer.echo("running the tests that are named as evidence ...", err=True)
    lines = grader.assess(notebooks or [], run=run)
    colours = {"holds": "green", "fails": "red", "not run": "yellow", "awaited": "yellow"}
    for homework in dict.fromkeys(line.item.question.homework for line in lines):
        columns = [
            "question",
            "points",
            "asks",
            "answer",
            "evidence now",
            "numbers",
            "for a person",
        ]
        table = _table(homework, columns)
        for line in lines:
            if line.item.question.homework == homework:
                page = f" (PDF page {line.page})" if line.page else ""
                numbers = [
                    f"{number.number.label}: {number.value_text()}"
                    + (f"; bar {number.bar_text()}" if number.bar is not None else "")
                    for number in line.numbers
                ]
                table.add_row(
                    line.item.key, questions.worth(line.item.points), line.item.asks,
                    f"{line.item.question.notebook}: {line.section}{page}",
                    f"[{colours[line.verdict]}]{line.verdict}[/]: {line.says}",
                    "\n".join(numbers) or "–", line.item.judge,
                )  # fmt: skip
                table.add_section()
        _print(table)
    typer.echo(grader.summary(lines))
    if html is not None:
        typer.echo(f"written to {grader.write(lines, html)}")
    if grader.problems(lines):
        raise _fail("not all evidence is there and holds; the tables say which.", 1)


@app.command("site")
@_guarded
def build_site(
    output: Annotated[
        Path | None, typer.Option(help="Folder of the pages; build/site by default.")
    ] = None,
) -> None:
    """Build the static site of notebooks, rubric, theory, benchmark and reference; check its links."""
    from coursework_tools.publishing import site

    typer.echo(f"written to {site.build(output) / 'index.html'}")


@app.command("bench")
@_guarded
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Rows, e.g. `lstm`; all by default. A wrong one is answered with the list."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller sizes and fewer rounds.")] = False,
    record: Annotated[
        bool,
        typer.Option(
            help="Record the full benchmark and its figures in writeup/results and figures."
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(help="Where networks run: cpu, cuda, or auto (the GPU if there is one).")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(help="Threads; one by default.")] = None,
) -> None:
    """Time our layers against the libraries', as ratios from one run (above one: ours is faster)."""
    from coursework.report import store
    from coursework_tools.bench import run as harness
    from coursework_tools.publishing import speed

    preset = "quick" if quick else "full"
    result = harness.run(names or [], preset, on_pair=typer.echo, device=device, threads=threads)
    official = record and not names and not quick
    folder = settings.results_dir() if official else settings.build_dir() / "results"
    name = "bench" if result.config.device == "cpu" else "bench-gpu"
    written = store.make_record(name, [result])
    lines = speed.table(written)
    table = _table(f"Speed, ours against the peer: {lines.caption}", list(lines.columns))
    for line in lines.rows:
        table.add_row(*line)
    _print(table)
    stored = settings.repo_root() / "figures"
    target = stored if official and name == "bench" else settings.figures_dir()
    for figure in speed.plot(written, target):
        typer.echo(f"drawn in {target / figure}.png")
    typer.echo(f"recorded in {store.write(written, folder)}")


# --------------------------------------------------------------------------------------------- predict


@predict_app.callback()
def _start() -> None:
    # Importing torch makes a million objects that stay; counting through them costs a tenth of the start.
    gc.set_threshold(200_000)


def _lines(words: list[str] | None, file: Path | None) -> list[str]:
    if file is not None:
        return _decoded(file)
    if words:
        return list(words)
    raise ConfigError("Give a text in quotes, or a file with --file.")


def _decoded(file: Path) -> list[str]:
    """Lines of a text file in UTF-8, in UTF-16 with its mark, or else in Windows' Western encoding."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"There is no file {file}.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); name a text file.") from error
    if not raw.strip():
        raise DataError(f"{file} is empty; write one text per line.")
    try:
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        typer.echo(f"{file} is not UTF-8; read as Windows-1252.", err=True)
        text = raw.decode("cp1252", errors="replace")
    # not splitlines(), which also cuts at form feeds and other signs within a line
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


@predict_app.command("sentiment")
@_guarded
def predict_sentiment(
    texts: Annotated[list[str] | None, typer.Argument(help="Tweets, each in quotes.")] = None,
    file: Annotated[Path | None, typer.Option(help="A text file, one tweet per line.")] = None,
    checkpoint: Annotated[Path | None, _CHECKPOINT] = None,
) -> None:
    """Probability that a tweet is positive."""
    from coursework.experiments import sentiment

    lines = _lines(texts, file)
    path = _checkpoint("sentiment", checkpoint)
    for text, probability in zip(lines, sentiment.load(path).predict(lines), strict=True):
        verdict = "positive" if probability >= 0.5 else "negative"
        typer.echo(f"{probability:.3f}  {verdict}  {text[:100]}")


@predict_app.command("translate")
@_guarded
def predict_translate(
    sentences: Annotated[list[str] | None, typer.Argument(help="French, each in quotes.")] = None,
    file: Annotated[Path | None, typer.Option(help="A text file, one sentence per line.")] = None,
    beam: Annotated[
        int | None, typer.Option(help="Width of the beam, 1 to 64; 1 is greedy, 5 by default.")
    ] = None,
    checkpoint: Annotated[Path | None, _CHECKPOINT] = None,
) -> None:
    """French to English; a line may hold several sentences."""
    from coursework.experiments import translation_all

    lines = _lines(sentences, file)
    path = _checkpoint("translation_all", checkpoint)
    for english in translation_all.predict(lines, path, beam):
        typer.echo(english)


@predict_app.command("segment")
@_guarded
def predict_segment(
    image: Annotated[
        Path, typer.Argument(help="PNG, JPEG, .npy or .npz; grey or colour, any size.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Where the coloured mask goes; beside the image by default.")
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="For dark digits on a light ground.")
    ] = False,
    checkpoint: Annotated[Path | None, _CHECKPOINT] = None,
) -> None:
    """Mark the digits in an image: a coloured mask, and the image with the colours over it.

    The network knows bright digits about 20 pixels high on a dark ground.
    """
    import numpy as np

    from coursework.experiments import canvas, segmentation

    pixels = canvas.as_grey(canvas.read_image(image)).numpy()  # [H, W]
    if invert:
        pixels = 1 - pixels
    target, over = canvas.mask_files(image, output)
    mask = segmentation.load(_checkpoint("segmentation", checkpoint)).predict(pixels)
    canvas.colour(mask).save(target)
    canvas.overlay(pixels, mask).save(over)
    found = [str(digit) for digit in np.unique(mask) if digit < 10]
    typer.echo(f"digits: {', '.join(found) or 'none'}; mask in {target}, overlay in {over}")


# --------------------------------------------------------------------------------------------- student


@app.command("student")
@_guarded
def student(
    problem: Annotated[
        int | None, typer.Option(help="One problem, 1 to 6; all by default.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the edition goes.")] = Path("student"),
    force: Annotated[
        bool, typer.Option("--force", help="Start anew: what was written there is lost.")
    ] = False,
) -> None:
    """Write the student edition: skeletons and notebooks without the answers."""
    from coursework_tools.student import edition

    for path in edition.write(folder, problem, force):
        typer.echo(f"  {(folder / path).as_posix()}")
    where = "" if folder == Path("student") else f" --folder {folder}"
    typer.echo(f"Begin with {folder / 'README.md'}; `coursework check{where}` says what differs.")


@app.command("check")
@_guarded
def check(
    problem: Annotated[
        int | None, typer.Option(help="One problem, 1 to 6; all of the edition by default.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="A student edition; this folder or ./student by default.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Time that one object may take.")] = 60.0,
) -> None:
    """Check a student's versions; ends with 1 unless every object passes and every answer is there."""
    from rich.markup import escape

    from coursework.training.progress import track
    from coursework_tools.student import edition, runner

    root = edition.find(folder)
    there = edition.problems_in(root)
    problems = there if problem is None else edition.problems_of(problem)
    if not set(problems) <= set(there):
        raise ConfigError(f"The edition in {root} was made without problem {problem}.")
    table = _table(f"Student edition in {root}", ["problem", "object", "file", "score", "remarks"])
    rows = list(track(runner.rows(root, problems, seconds), "checking"))
    for row in rows:
        said = "\n".join(f"[bold]{one.kind}:[/] {escape(one.words)}" for one in row.remarks)
        score = f"[{'green' if row.right == row.total else 'red'}]{row.right}/{row.total}[/]"
        table.add_row(row.question, row.what, row.file, score, said or "[green]all right[/]")
    _print(table)
    objects = [row.right == row.total for row in rows if row.what != runner.IN_WORDS]
    if objects:
        typer.echo(f"{sum(objects)} of {len(objects)} objects pass all their checks.")
    if not rows or any(row.right < row.total for row in rows):
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the ``coursework`` command."""
    app()


if __name__ == "__main__":
    main()
