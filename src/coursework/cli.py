"""The command line; heavy libraries are imported inside the commands, so that ``--help`` answers at once."""

from __future__ import annotations

import contextlib
import functools
import gc
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option
from typer.core import TyperCommand

from coursework import settings
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
predict_app = typer.Typer(no_args_is_help=True, help="Use a model on a tweet, sentence or image.")
app.add_typer(predict_app, name="predict")

DataSets = Annotated[list[str] | None, Argument(help="Data sets; all by default.")]
Checkpoint = Annotated[
    Path | None, Option(help="A trained model; else the committed one, else your newest.")
]


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
        files = str(len(row.checks)) if row.ok is not None else "–"
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
def data_fetch(names: DataSets = None) -> None:
    """Download what is missing, verified and renamed into place."""
    from coursework.data import sources

    failed = []
    for name in names or list(sources.REGISTRY):
        try:
            typer.echo(f"{name}: {sources.find(name, real=True).label}")
        except DataError as error:
            failed.append(name)
            typer.echo(str(error), err=True)
    if failed and names:
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
        for check in row.checks:
            typer.echo(f"{name}: {check.path.name} {check.problem or 'ok'}")
        if not row.ok:
            bad.append(name)
    if bad:
        remedy = f"`coursework data fetch {' '.join(bad)}` gets them, or says what to do."
        raise failure(f"wrong or missing: {', '.join(bad)}; {remedy}")


@app.command("train")
@guarded
def train(
    experiment: Annotated[str, Argument(help="Such as sentiment; a wrong name prints the list.")],
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
    record: Annotated[str | None, Option(help="Name; EXPERIMENT-PRESET by default.")] = None,
    overwrite: Annotated[bool, Option("--overwrite", help="Replace whatever is there.")] = False,
) -> None:
    """Train an experiment and record its result.

    On the real data it goes to `writeup/results`, that of a changed preset only with `--record`. Results of
    quick presets, of stand-ins, or without all seeds that are recorded go to `build/results`.
    """
    from coursework.experiments import base
    from coursework.report import store
    from coursework.training import engine, parallel

    base.get(experiment)
    if record is not None and (record == "headline" or not re.fullmatch(store.NAME, record)):
        remedy = "use small letters, digits, '-', '_' and '.', but not 'headline'"
        raise ConfigError(f"A result cannot be recorded as {record!r}; {remedy}.")
    standard = base.preset_of(experiment, preset)
    config = base.override(standard, set_ or [])
    changed = config != standard
    title = f"{experiment}, preset {preset}{' (changed)' if changed else ''}"
    numbers = range(seed, seed + seeds)
    code = store.provenance()  # now: hours later the files may be others
    runs = []
    say = typer.echo if engine.first_process() else None  # under torchrun one process reports
    if jobs == 1 and backend == "loky" and not scheduler:
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
        wanted = not preset.startswith("quick") and (not changed or record is not None)
        _record(record or f"{experiment}-{preset}", runs, code, wanted, overwrite, changed)


def _record(
    name: str, runs: Sequence[Run], code: dict[str, Any], official: bool, overwrite: bool, changed: bool
) -> None:  # fmt: skip
    """Print and store the result; only an official one on real data goes to ``writeup/results``."""
    from coursework.report import store
    from coursework.report.tables import shown

    record, kept = store.make_record(name, runs) | code, ""
    standin = any(run.source.is_standin for run in runs)
    official &= not standin
    with contextlib.suppress(ResultsError):  # none, or none that can be read
        stored = store.read(name)
        others = set(stored["seeds"]) - {run.seed for run in runs}
        if others:
            kept = f"with other seeds too ({', '.join(map(str, sorted(others)))})"
        changed |= any(stored[key] != record[key] for key in ("experiment", "preset"))
        if changed and any(stored[key] != record[key] for key in ("experiment", "config")):
            kept = "from another experiment or config"
    if official and kept and not overwrite:
        official = False
        remedy = "this one goes to build/results. --overwrite replaces the recorded one"
        typer.echo(f"{name} is recorded {kept} and stays as it is; {remedy}.")
    if any("test_" in metric for metric in record["metrics"]):
        record["notes"]["test_looks"] = store.looks(name) + (not standin)
    forms = "mean ± std (n) .4f", "low to high .4f"
    rows = [(key, *(shown(m, form) for form in forms)) for key, m in record["metrics"].items()]
    show(f"{name} ({runs[0].source.label})", ["metric", "mean ± std", "95 % interval"], rows)
    folder = settings.results_dir() if official else settings.build_dir() / "results"
    typer.echo(f"recorded in {store.write(record, folder)}")


def _checkpoint(experiment: str, given: Path | None) -> Path:
    """The checkpoint to use: the one named, else the committed one, else the newest local one."""
    if given is not None:
        if not given.is_file():
            raise DataError(f"There is no checkpoint at {given}; name the file of a trained model.")
        return given
    kept = settings.checkpoints_dir() / f"{experiment}.pt"
    if kept.is_file():
        return kept
    trained = settings.runs_dir().glob(f"{experiment}-*-seed*/**/best.pt")
    newest = max(trained, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        remedy = f"run `coursework train {experiment}` first, or name a file with --checkpoint"
        raise DataError(f"There is no trained model yet; {remedy}.")
    return newest


@app.command("evaluate")
@guarded
def evaluate(
    experiment: Annotated[str, Argument(help="Name of the experiment.")],
    checkpoint: Checkpoint = None,
    hand_labelled: Annotated[
        bool, Option("--hand-labelled", help="On tweets that people labelled (sentiment, minilm).")
    ] = False,
) -> None:
    """Measure a trained model on its test data."""
    from coursework.data import sentiment140
    from coursework.experiments import base
    from coursework.stats import wilson

    module = base.get(experiment)
    if not hasattr(module, "evaluate") or "ensemble" in base.TABLES[experiment]:
        what = f"Experiment {experiment} keeps no model that could be evaluated alone"
        raise ConfigError(f"{what}; `coursework train {experiment}` prints its results.")
    if hand_labelled and experiment not in ("sentiment", "minilm"):
        raise ConfigError("Only models of sentiment and minilm can read the hand-labelled tweets.")
    path = _checkpoint(experiment, checkpoint)
    if hand_labelled:
        texts, labels = sentiment140.hand_labelled()
        model: Any = module
        right = int(((model.load(path).predict(texts) > 0.5) == labels).sum())
        low, high = wilson(right, len(labels))
        metrics = {"hand_labelled_accuracy": right / len(labels), "low": low, "high": high}
    else:
        metrics = module.evaluate(path)
    rows = [(key, f"{value:.4f}") for key, value in metrics.items()]
    show(f"{experiment}: {path.parent.name}/{path.name}", ["metric", "value"], rows)


@predict_app.callback()
def _start() -> None:
    # Importing torch makes a million objects that stay; counting through them costs a tenth of the start.
    gc.set_threshold(200_000)


class _OfTexts(TyperCommand):
    """A command whose arguments are texts, which may begin with a dash."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if type(error).__name__ == "NoSuchOption":
                error.message += " Put -- before a text that begins with a dash."  # type: ignore[attr-defined]
            raise


def _texts(words: list[str] | None, file: Path | None) -> list[str]:
    from coursework.data.text import read_lines

    if words and file is None:
        return words
    if words or file is None:
        both = ", not both" if words else ""
        raise ConfigError(f"Give a text in quotes, or a file with --file{both}.")
    return read_lines(file, functools.partial(typer.echo, err=True))


@predict_app.command("sentiment", cls=_OfTexts)
@guarded
def predict_sentiment(
    texts: Annotated[list[str] | None, Argument(help="Tweets, each in quotes.")] = None,
    file: Annotated[Path | None, Option(help="A text file, one tweet per line.")] = None,
    explain: Annotated[bool, Option("--explain", help="What each word and sign adds.")] = False,
    checkpoint: Checkpoint = None,
) -> None:
    """Probability that a tweet is positive.

    The answer is positive, negative, undecided (between 0.4 and 0.6) or no known word. Emoticons and
    common emoji count.
    """
    from coursework.experiments import sentiment, sentiment_errors

    lines = _texts(texts, file)
    classifier = sentiment.load(_checkpoint("sentiment", checkpoint))
    for text, (probability, answer) in zip(lines, classifier.judge(lines), strict=True):
        typer.echo(f"{probability:.3f}  {answer}  {text[:100]}{'…' * (len(text) > 100)}")
        if explain and answer != "no known word":
            parts = str(sentiment_errors.saliency(classifier, text))
            typer.echo(textwrap.fill(parts, initial_indent=" " * 7, subsequent_indent=" " * 7))


@predict_app.command("translate", cls=_OfTexts)
@guarded
def predict_translate(
    sentences: Annotated[list[str] | None, Argument(help="French, each in quotes.")] = None,
    file: Annotated[Path | None, Option(help="A text file, one sentence per line.")] = None,
    beam: Annotated[int | None, Option(help="Width of the beam, 1 to 64; 5 by default.")] = None,
    checkpoint: Checkpoint = None,
) -> None:
    """French to English; a line may hold several sentences."""
    from coursework.experiments import translation

    lines = _texts(sentences, file)
    path = _checkpoint("translation_all", checkpoint)
    for english in translation.load(path)(lines, beam):
        typer.echo(english)


@predict_app.command("segment")
@guarded
def predict_segment(
    image: Annotated[Path, Argument(help="PNG, JPEG, .npy or .npz; grey or colour, any size.")],
    output: Annotated[Path | None, Option(help="Place of the mask; else beside the image.")] = None,
    invert: Annotated[bool, Option("--invert", help="Dark digits on a light background.")] = False,
    checkpoint: Checkpoint = None,
) -> None:
    """Mark the digits in an image: a coloured mask, and the image with the colours over it.

    The network has learned bright digits about 20 pixels high on black; a warning says where an image
    is something else.
    """
    import warnings

    import numpy as np

    from coursework.experiments import canvas, segmentation

    pixels = canvas.as_grey(canvas.read_image(image)).numpy()  # [H, W]
    if invert:
        pixels = 1 - pixels
    target, over = canvas.mask_files(image, output)
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always", UserWarning)
        mask = segmentation.load(_checkpoint("segmentation", checkpoint)).predict(pixels)
    for doubt in doubts:
        typer.echo(f"Warning: {doubt.message}", err=True)
    canvas.colour(mask).save(target)
    canvas.overlay(pixels, mask).save(over)
    found = [str(digit) for digit in np.unique(mask) if digit < 10]
    typer.echo(f"digits: {', '.join(found) or 'none'}; mask in {target}, overlay in {over}")


def main() -> None:
    """Run the commands that are imported: those of the solutions, with the tools theirs too."""
    survive_any_encoding()
    app()
