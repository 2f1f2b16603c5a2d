"""Methods that the paper compares, each from a table to its average effect, and how their errors are summed up.

Letters: N rows, D covariates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from dowhy_cina.calls.direct import estimate_effect
from dowhy_cina.calls.per_dataset import CinaPerDataset
from dowhy_cina.learning.evaluation.classical import (
    difference_in_means,
    double_machine_learning,
    horvitz_thompson,
    inverse_propensity,
)
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.mathematics.solvers import MAX_ROWS

#: From covariates (N, D), treatment (N,) and outcome (N,) to the average effect.
Method = Callable[[Array, Array, Array], float]

EXACT = "Algorithm 1, exact"
ZERO_SHOT = "zero-shot weights"
SELF_SUPERVISED = "zero-shot weights, self-supervised"
DEFAULT = "zero-shot weights + regressions"
DML = "DML, boosted trees"
IPW = "self-normalised IPW, logistic"
SVM = "SVM weights"


def zero_shot(**options: Any) -> Method:
    """Make a method of a pretrained checkpoint."""
    return lambda x, t, y: estimate_effect(x, t, y, device="cpu", **options).value


def algorithm_1(x: Array, t: Array, y: Array) -> float:
    """Weights of the table's own values, solved for."""
    return CinaPerDataset().fit(x, t).effect(y)


def svm_weights(x: Array, t: Array, y: Array) -> float:
    """Dual variables of scikit-learn's support vector machine in its default settings, normalised in each arm.

    References
    ----------
    Tarr & Imai (2021), Estimating average treatment effects with support vector machines, arXiv:2102.11926.
    """
    machine = SVC(cache_size=500).fit(StandardScaler().fit_transform(x), t)
    alpha = np.zeros(len(t))
    alpha[machine.support_] = np.abs(machine.dual_coef_[0])
    means = [np.average(y[t == arm], weights=alpha[t == arm]) for arm in (0, 1)]
    return float(means[1] - means[0])


METHODS: dict[str, Method] = {
    "difference in means": lambda x, t, y: difference_in_means(x, t, y)[0],
    "IPW, logistic": lambda x, t, y: horvitz_thompson(x, t, y)[0],
    IPW: lambda x, t, y: inverse_propensity(x, t, y)[0],
    DML: lambda x, t, y: double_machine_learning(x, t, y)[0],
    SVM: svm_weights,
    EXACT: algorithm_1,
    SELF_SUPERVISED: zero_shot(checkpoint="cina-selfsup", augmentation="none"),
    ZERO_SHOT: zero_shot(augmentation="none"),
    DEFAULT: zero_shot(),
}


def measure(x: Array, t: Array, y: Array, effect: float) -> list[dict[str, Any]]:
    """Absolute error in sd of the outcome and processor seconds of every method that takes so many rows."""
    records = []
    for name, method in METHODS.items():
        if name == EXACT and len(t) > MAX_ROWS:
            continue
        began = time.process_time()
        value = method(x, t, y)
        seconds = time.process_time() - began
        records.append({"method": name, "error": abs(value - effect) / float(y.std()), "seconds": seconds})
    return records


def summarise(records: Iterable[dict[str, Any]], by: list[str], figures: tuple[str, ...] = ("error",)) -> pd.DataFrame:
    """Mean and standard error over tables of each figure, the number of tables, and the error over the exact one's.

    Parameters
    ----------
    records : iterable of dict
        A record for each table and method: ``by``, ``table`` and the figures.
    by : list of str
        What a row of the result is for; the last is ``method``.
    figures : tuple of str
        Columns to sum up; ``error`` is among them.

    Returns
    -------
    DataFrame
        In the order of the records. ``ratio`` is the mean error over that of :data:`EXACT` on the same tables,
        ``ratio_se`` its standard error by the delta method; NaN where there is no exact solution.
    """
    frame = pd.DataFrame(records)
    groups = frame.groupby(by, sort=False)
    table = pd.DataFrame({"tables": groups.size()})
    for name in figures:
        table[name] = groups[name].mean()
        table[f"{name}_se"] = groups[name].std() / np.sqrt(groups.size())
    if "seconds" in frame:
        table["seconds"] = groups["seconds"].median()
    wide = frame.pivot_table(index=[*by[:-1], "table"], columns="method", values="error", sort=False)
    found = {key: _ratio(wide, key if isinstance(key, tuple) else (key,)) for key in table.index}
    table["ratio"], table["ratio_se"] = zip(*(found[key] for key in table.index), strict=True)
    return table.reset_index()


def _ratio(wide: pd.DataFrame, key: tuple[Any, ...]) -> tuple[float, float]:
    """Mean error of a method over the exact solution's on the tables of one group, and its standard error."""
    if EXACT not in wide:
        return np.nan, np.nan
    own = wide.xs(key[:-1], level=list(range(len(key) - 1))) if len(key) > 1 else wide
    pairs = own[[key[-1], EXACT]].dropna().to_numpy()
    if not len(pairs):
        return np.nan, np.nan
    ours, exact = pairs[:, 0], pairs[:, 1]
    ratio = float(ours.mean() / exact.mean())
    return ratio, float(np.std(ours - ratio * exact, ddof=1) / exact.mean() / np.sqrt(len(pairs)))
