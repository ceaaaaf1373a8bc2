"""Commands that use a trained model: ``coursework evaluate | predict``."""

import functools
import gc
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option
from typer.core import TyperCommand

from coursework import settings
from coursework.console import guarded, show
from coursework.errors import ConfigError, DataError

USE = "Use a trained model on a tweet, a sentence or an image."
predict_app = typer.Typer(no_args_is_help=True, help=USE)
Checkpoint = Annotated[Path | None, Option(help="File of a trained model; the newest by default.")]


def _checkpoint(experiment: str, given: Path | None) -> Path:
    """The checkpoint to use: the one named, else the committed one, else the newest local one."""
    if given is not None:
        if not given.is_file():
            raise DataError(f"There is no checkpoint at {given}; name the file of a trained model.")
        return given
    kept = settings.checkpoints_dir() / f"{experiment}.pt"
    if kept.is_file():
        return kept
    trained = settings.runs_dir().glob(f"{experiment}-*/**/best.pt")
    newest = max(trained, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        remedy = f"run `coursework train {experiment}` first, or name a file with --checkpoint"
        raise DataError(f"There is no trained model yet; {remedy}.")
    return newest


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
    if not hasattr(module, "evaluate"):
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
        typer.echo(f"{probability:.3f}  {answer}  {text[:100]}")
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
    from coursework.experiments import translation_all

    lines = _texts(sentences, file)
    path = _checkpoint("translation_all", checkpoint)
    for english in translation_all.load(path)(lines, beam):
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
