"""Intervals: of a share, of a mean over seeds, and of a paired difference; all at 95 %."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

Z = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Interval of a share (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def summarise(values: Sequence[float], overlap: float = 0.0) -> dict[str, Any]:
    """Mean, sample standard deviation and the interval of Student's t over the seeds.

    Where each seed splits the same rows anew, the interval is for the mean over all splits of these rows.
    With ``overlap`` (test rows divided by other rows) it is for new rows: Nadeau & Bengio 2003, corrected
    t-test, https://doi.org/10.1023/A:1024068626366.
    """
    count = len(values)
    summary: dict[str, Any] = {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if count > 1 else None,
        "values": list(values),
    }
    if count > 1:
        from scipy.stats import t

        half = float(t.ppf(0.975, count - 1)) * summary["std"] * math.sqrt(1 / count + overlap)
        low, high = summary["mean"] - half, summary["mean"] + half
        summary |= {"low": low, "high": high, "interval": f"t, {count} seeds"}
    return summary


def paired(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Mean of ``first - second`` over the same items and its interval; for hits, McNemar's setting."""
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    half = Z * difference.std(ddof=1) / math.sqrt(len(difference))
    mean = float(difference.mean())
    return mean, mean - float(half), mean + float(half)
