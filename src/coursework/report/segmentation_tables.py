"""Tables and sentences of problem 5, read from a record: a recorded result, or one made of a live run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coursework.experiments import segmentation
from coursework.report import store
from coursework.report.tables import Table

Record = Mapping[str, Any]

VARIANTS: Mapping[str, str] = {"skip": "with skip connections", "noskip": "without"}
"""Prefix of a metric -> the variant in words."""

CLAIMS: tuple[tuple[str, str, str], ...] = (
    ("training loss lower", "train_loss", "training loss, last epoch"),
    ("digit IoU lower", "test_digit_iou", "mean IoU of the digits, test"),
    ("background IoU lower", "test_iou_10", "IoU of the background, test"),
    ("outlines worse", "test_foreground_iou", "IoU of digit against background, test"),
    ("names worse", "test_naming", "right digit, of the digit pixels found, test"),
)
"""What is claimed of a network without skip connections, the measure that decides it, and its title: the
first claims a positive difference of the losses (with minus without), the others one of the scores."""

GOALS: tuple[tuple[str, str, str, float], ...] = (
    ("network of the assignment, mean of the digits", "segmentation-full", "mean", 0.85),
    ("deep network, mean of the digits", "segmentation-deep", "mean", 0.985),
    ("deep network, worst digit", "segmentation-deep", "worst", 0.975),
)
"""Title, result, which IoU on the test canvases, and the goal that was set before the runs."""


def of(run: Any, name: str = "segmentation-full") -> tuple[Record, bool]:
    """The recorded result, or the record of a live run where there is none; and whether it is recorded.

    Args:
        run: A live run.
        name: The recorded result.
    """
    if name in store.names():
        return store.read(name), True
    return store.make_record("segmentation-live", [run]), False


def paired(record: Record, key: str) -> dict[str, Any]:
    """Difference with minus without of a measure, seed by seed, summarised like a metric."""
    metrics = record["metrics"]
    values = zip(metrics[f"skip.{key}"]["values"], metrics[f"noskip.{key}"]["values"], strict=True)
    return store.summarise([a - b for a, b in values])


def _signed(summary: Mapping[str, Any]) -> str:
    text = f"{summary['mean']:+.4f}"
    if "low" in summary:
        text += f" [{summary['low']:+.4f}, {summary['high']:+.4f}]"
    return text


def last_epoch(record: Record, variant: str) -> str:
    """The last epoch in the assignment's format, means over the seeds."""
    histories = record["curves"][variant]
    rows = [history[-1] for history in histories]
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return segmentation.epoch_line(means, record["config"]["plan"]["epochs"])


def by_class(record: Record, shares: Sequence[float]) -> Table:
    """Test IoU of every class, with and without skip connections, and their paired difference.

    Args:
        record: A record with both variants.
        shares: Share of the pixels of each class.
    """
    names = [
        *((f"{c} (digit)", f"test_iou_{c}", f"{shares[c]:.2%}") for c in range(10)),
        ("10 (background)", "test_iou_10", f"{shares[10]:.2%}"),
        ("mean of the ten digits", "test_digit_iou", ""),
        ("mean of all eleven", "test_mean_iou", ""),
    ]
    metrics = record["metrics"]
    return Table(
        ["class", "IoU with skips", "IoU without", "difference", "share of pixels"],
        [
            (
                title,
                store.spread(metrics[f"skip.{key}"]),
                store.spread(metrics[f"noskip.{key}"]),
                _signed(paired(record, key)),
                share,
            )
            for title, key, share in names
        ],
        caption=f"Test canvases; {described(record)}",
    )


def measures(record: Record) -> Table:
    """What else is measured, with and without skip connections, and the paired difference."""
    titles = (
        ("training loss, last epoch", "train_loss"),
        ("IoU, mean of the digits", "test_digit_iou"),
        ("Dice, mean of the digits", "test_digit_dice"),
        ("outlines: IoU of digit against background", "test_foreground_iou"),
        ("both: boundary F1 of each digit within 2 pixels", "test_boundary_f1"),
        ("names: right digit, of the digit pixels found", "test_naming"),
        ("names: digits that most of their pixels name right", "test_digit_accuracy"),
        ("IoU of the background", "test_iou_10"),
        ("pixels that are right", "test_pixel_accuracy"),
    )
    metrics = record["metrics"]
    return Table(
        ["measure", "with skips", "without", "with - without"],
        [
            (
                title,
                store.spread(metrics[f"skip.{key}"]),
                store.spread(metrics[f"noskip.{key}"]),
                _signed(paired(record, key)),
            )
            for title, key in titles
        ],
        caption=f"Test canvases; {described(record)}",
    )


def kinds_of_error(record: Record) -> Table:
    """What the wrong pixels of the first seed are: mistakes of outline, or of name."""
    rows = []
    for name, title in VARIANTS.items():
        confusion = np.array(record["notes"]["test_confusion"][name])  # [C, C], rows the truth
        digits = confusion[:10, :10]
        kinds = (
            confusion[:10, 10].sum(),
            confusion[10, :10].sum(),
            digits.sum() - np.trace(digits),
        )
        wrong = max(int(sum(kinds)), 1)
        rows.append(
            (
                title,
                f"{sum(kinds) / confusion.sum():.2%}",
                *(f"{kind / wrong:.1%}" for kind in kinds),
            )
        )
    return Table(
        ["network", "wrong pixels", "of these: digit missed", "digit invented", "wrong digit"],
        rows,
        caption=f"Kinds of error on the test canvases, first seed; {described(record)}",
    )


def verdict(summary: Mapping[str, Any]) -> str:
    """Whether a claimed positive difference holds: decided by the 95 % interval over the seeds."""
    if "low" not in summary:
        return "one run decides nothing"
    if summary["low"] > 0:
        return "holds"
    return "refuted" if summary["high"] < 0 else "open"


def claims(record: Record) -> Table:
    """Which claims about the network without skip connections hold, by the paired differences."""
    rows = []
    for title, key, measure in CLAIMS:
        summary = paired(record, key)
        agree = sum(value > 0 for value in summary["values"])
        rows.append(
            (
                f"without: {title}",
                measure,
                _signed(summary),
                f"{agree} of {len(summary['values'])}",
                verdict(summary),
            )
        )
    return Table(
        ["claim", "decided by", "with - without [95 % interval]", "runs that agree", "verdict"],
        rows,
        caption=f"Claims; {described(record)}",
    )


def conclusion(record: Record) -> str:
    """The comparison in words, as the numbers of the record have it."""
    metrics = record["metrics"]

    def pair(key: str, digits: int = 4) -> str:
        a, b = (metrics[f"{name}.{key}"]["mean"] for name in VARIANTS)
        return f"{a:.{digits}f} with and {b:.{digits}f} without"

    several = len(record["seeds"]) > 1
    sentences = []
    for key, title in (("train_loss", "training loss"), ("test_digit_iou", "mean digit IoU")):
        summary = paired(record, key)
        side = "lower" if summary["mean"] < 0 else "higher"
        if not several:
            strength = "in this one run"
        elif verdict(summary) == "open":
            strength = "on the mean, but the seeds do not agree enough to tell"
        else:
            strength = f"in a way that {len(record['seeds'])} seeds confirm"
        sentences.append(
            f"**With** skip connections the {title} is **{side}** {strength}: {pair(key)} "
            f"(difference {_signed(summary)})."
        )
    outlines, names = paired(record, "test_foreground_iou"), paired(record, "test_naming")
    larger = "outlines" if abs(outlines["mean"]) > abs(names["mean"]) else "names"
    sentences.append(
        f"Of the two reasons for a lower IoU the {larger} differ more: {_signed(outlines)} in the IoU of "
        f"digit against background, {_signed(names)} in the share of right names."
    )
    return " ".join(sentences)


def described(record: Record) -> str:
    """Where the numbers of a record come from, in a few words."""
    seeds = len(record["seeds"])
    if record["name"] == "segmentation-live":
        label = f"live, {record['preset']} preset, one seed"
    else:
        label = f"recorded as {record['name']}, mean ± std over {seeds} seeds"
        if seeds == 1:
            label = f"recorded as {record['name']}, one seed"
    return f"{label}; STAND-IN data" if record["data"]["standin"] else label


def throughput(record: Record) -> str:
    """How fast the first seed trained, and on what."""
    config, machine = record["config"], record["machine"]
    speeds = " and ".join(
        f"{speed:.0f} ({VARIANTS[name]})"
        for name, speed in record["notes"]["canvases_per_second"].items()
    )
    device = machine["device"] if machine["device"] != "cpu" else machine["processor"]
    threads = machine["threads"]
    return (
        f"Training took in {speeds} canvases of {config['height']} × {config['width']} pixels a second, on "
        f"{device} with {threads} thread{'' if threads == 1 else 's'}; "
        f"{config['canvases'] * config['plan']['epochs']:,} canvases in all."
    )


def band(
    record: Record, variant: str, key: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A curve over the epochs.

    Args:
        record: The record.
        variant: ``skip`` or ``noskip``.
        key: ``train_loss``, ``digit_iou``, ``loss`` or ``iou_0`` to ``iou_10``.

    Returns:
        Epochs, the mean over the seeds, the smallest and the largest value, ``[epochs]`` each.
    """
    histories = record["curves"][variant]
    values = np.array([[row[key] for row in history] for history in histories])  # [seeds, epochs]
    epochs = np.array([row["epoch"] for row in histories[0]])
    return epochs, values.mean(0), values.min(0), values.max(0)


def goals() -> Table:
    """The goals that were set, and what the recorded runs reached on test digits."""
    rows = []
    for title, name, which, goal in GOALS:
        if name not in store.names():
            rows.append((title, goal, "not recorded yet", ""))
            continue
        metrics = store.read(name)["metrics"]
        reached = metrics["skip.test_digit_iou"]["mean"]
        if which == "worst":
            reached = min(metrics[f"skip.test_iou_{c}"]["mean"] for c in range(10))
        rows.append((title, goal, f"{reached:.4f}", "yes" if reached >= goal else "no"))
    return Table(
        ["IoU on the test canvases, with skip connections", "goal", "reached", "met"],
        rows,
        caption=f"Goals; {segmentation.DATA_LABEL}",
    )


def variants(found: Mapping[str, Mapping[str, float]], caption: str) -> Table:
    """A network on the variants of the canvases.

    Args:
        found: Variant -> measures, from :func:`segmentation.judge_variants`.
        caption: One line above the table.
    """
    titles = {
        "plain": "side by side, as trained",
        "overlap": "anywhere, one on top of the other",
        "rotation": "turned by up to 15°",
        "noise": "noise of 25 grey levels",
        "all": "overlapping, turned and noisy",
    }
    return Table(
        ["canvases", "mean IoU", "worst digit", "digit against background", "right names",
         "digits named right", "boundary F1"],
        [
            (
                titles.get(name, name),
                f"{row['digit_iou']:.4f}",
                f"{min(row[f'iou_{c}'] for c in range(10)):.4f}",
                *(f"{row[key]:.4f}" for key in
                  ("foreground_iou", "naming", "digit_accuracy", "boundary_f1")),
            )
            for name, row in found.items()
        ],
        caption=caption,
    )  # fmt: skip
