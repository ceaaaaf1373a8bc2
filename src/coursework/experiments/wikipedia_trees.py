"""Problem 3(c): gradient boosting, the strongest model that is no network, and its predictions as inputs."""

from typing import Any

import numpy as np
from torch import Tensor


def boosted(x: np.ndarray, y: np.ndarray, rows: np.ndarray, trees: int) -> Any:
    """So many boosted trees for the absolute error, fitted on some rows of x `[N, F]` and y `[N]`."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=trees, learning_rate=0.1, min_samples_leaf=5,
        early_stopping=False, random_state=0,
    )  # fmt: skip
    return model.fit(x[rows], y[rows])


def out_of_fold(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray, groups: Tensor | None, trees: int = 200
) -> np.ndarray:
    """Predictions `[N]` of trees that did not see the page (stacked generalisation, Wolpert 1992).

    The known rows are cut into five folds, a group in one of them: trees fitted on four predict the
    fifth, and a page that is not known has the mean of all five.
    """
    from sklearn.model_selection import GroupKFold

    group = rows if groups is None else groups.numpy()[rows]
    known, found = np.full(len(y), np.nan), []
    for four, fifth in GroupKFold(5, shuffle=True, random_state=0).split(rows, groups=group):
        found.append(boosted(x, y, rows[four], trees).predict(x))
        known[rows[fifth]] = found[-1][rows[fifth]]
    return np.where(np.isnan(known), np.mean(found, axis=0), known)
