"""Errors of conditional effects on rows that were not fitted: PEHE, and coverage of the intervals of single rows.

PEHE is the root mean squared error of the effect at a table's test rows (precision in estimation of heterogeneous
effects). Letters: N training rows, D covariates, M test rows.

References
----------
Hill (2011), Bayesian nonparametric modeling for causal inference, JCGS 20(1).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from tqdm import tqdm

from dowhy_cina.calls.direct import estimate_effect
from dowhy_cina.learning.evaluation.draws import check_draws
from dowhy_cina.learning.evaluation.learners import dr_learner, ridge, t_learner, x_learner
from dowhy_cina.learning.simulators import REGISTRY, draw_table, simulator_names
from dowhy_cina.mathematics.scaling import Array

#: One row of each arm in so many is for testing.
TEST_SHARE = 10
NAN = float("nan")
FIGURES = ("pehe", "coverage", "seconds")


@dataclass(frozen=True)
class RowProblem:
    """Rows to fit on, and others whose effects are to be estimated.

    Attributes
    ----------
    covariates : (N, D) array
    treatment : (N,) array
        0 or 1.
    outcome : (N,) array
    at : (M, D) array
        Covariates of the test rows.
    effects : (M,) array
        Their effects, in the outcome's unit.
    exact : bool
        Whether these are differences of means; intervals need not hold a difference of outcomes with their noise.
    """

    covariates: Array
    treatment: Array
    outcome: Array
    at: Array
    effects: Array
    exact: bool = True


class RowEffects(NamedTuple):
    """Estimated effects of M rows, and the ends of their 95 % intervals where the method has any."""

    effects: Array
    lower: Array | None = None
    upper: Array | None = None


#: From covariates, treatment and outcome of the training rows and covariates of the test rows to their effects.
RowMethod = Callable[[Array, Array, Array, Array], RowEffects]


def own(checkpoint: str | Path, device: str = "auto") -> RowMethod:
    """Conditional effects of a checkpoint."""
    options: dict[str, Any] = {"checkpoint": checkpoint, "device": device}

    def method(x: Array, t: Array, y: Array, at: Array) -> RowEffects:
        table = estimate_effect(x, t, y, **options).conditional_effects(at)
        return RowEffects(*(table[name].to_numpy() for name in ("effect", "lower", "upper")))

    return method


def _plain(learner: Callable[..., Array]) -> RowMethod:
    return lambda x, t, y, at: RowEffects(learner(x, t, y, at))


_REGRESSION = partial(HistGradientBoostingRegressor, random_state=0)
_CLASSIFICATION = partial(HistGradientBoostingClassifier, random_state=0)
T_LEARNER = "T-learner, boosted trees"
#: Learners on scikit-learn's boosted trees in default settings, and on ridge regressions, by name.
ROW_METHODS: dict[str, RowMethod] = {
    "T-learner, ridge": _plain(partial(t_learner, regression=ridge)),
    T_LEARNER: _plain(partial(t_learner, regression=_REGRESSION)),
    "X-learner, boosted trees": _plain(partial(x_learner, regression=_REGRESSION, classification=_CLASSIFICATION)),
    "DR-learner, boosted trees": _plain(partial(dr_learner, regression=_REGRESSION, classification=_CLASSIFICATION)),
}


def draw_test_rows(treatment: Array, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Tenth of each arm's rows at random, rounded down.

    Parameters
    ----------
    treatment : (N,) array
    rng : Generator

    Returns
    -------
    (N,) array of bool
    """
    test = np.zeros(len(treatment), dtype=bool)
    for arm in (0, 1):
        rows = rng.permutation(np.flatnonzero(treatment == arm))
        test[rows[: len(rows) // TEST_SHARE]] = True
    return test


def split(x: Array, t: Array, y: Array, effects: Array, test: npt.NDArray[np.bool_], exact: bool = True) -> RowProblem:
    """Set the test rows of a table aside."""
    return RowProblem(x[~test], t[~test], y[~test], x[test], effects[test], exact)


def row_figures(problem: RowProblem, found: RowEffects, seconds: float) -> dict[str, float]:
    """PEHE in the outcome's unit, and the share of the intervals that hold the effect, NaN where there is none."""
    error = found.effects - problem.effects
    coverage = NAN
    if problem.exact and found.lower is not None and found.upper is not None:
        coverage = float(np.mean((found.lower <= problem.effects) & (problem.effects <= found.upper)))
    return {"pehe": float(np.sqrt(np.mean(error**2))), "coverage": coverage, "seconds": seconds}


def measure_rows(problem: RowProblem, method: RowMethod) -> dict[str, float]:
    """Figures of a method on a table: :func:`row_figures` with the seconds of fit and estimates together."""
    began = time.perf_counter()
    found = method(problem.covariates, problem.treatment, problem.outcome, problem.at)
    return row_figures(problem, found, time.perf_counter() - began)


def summarise_rows(figures: Iterable[dict[str, float]]) -> dict[str, float]:
    """Mean and median PEHE over tables with the mean's standard error, mean coverage, median seconds, tables."""
    table = pd.DataFrame(list(figures), columns=list(FIGURES))
    return {
        "pehe": float(table["pehe"].mean()),
        "median": float(table["pehe"].median()),
        "standard error": float(table["pehe"].std() / np.sqrt(len(table))),
        "coverage": float(table["coverage"].mean()),
        "seconds": float(table["seconds"].median()),
        "tables": len(table),
    }


def simulated_rows(family: str, count: int, seed: int, rows: int, columns: int) -> Iterator[RowProblem]:
    """Tables of a simulator, a tenth of each arm's rows set aside; outcomes and effects in sd of the outcome."""
    for index in range(count):
        # Another stream than those of recipes, which begin with the seed itself, and than that of average effects.
        rng = np.random.default_rng([seed, 78, index])
        table = draw_table(rng, rows, columns, families=[family])
        scale = float(table.outcome.std())
        effects, test = (table.mu1 - table.mu0) / scale, draw_test_rows(table.treatment, rng)
        yield split(table.covariates, table.treatment, table.outcome / scale, effects, test)


def evaluate_conditional(
    checkpoint: str | Path = "cina-small",
    families: str | Sequence[str] = tuple(REGISTRY),
    *,
    tables: int = 5,
    rows: int = 1000,
    columns: int = 10,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> pd.DataFrame:
    """Measure conditional effects of a checkpoint on rows of simulated tables that it did not see, beside a T-learner.

    Parameters
    ----------
    checkpoint : str or Path
        Bundled name or path.
    families : str or sequence of str
        Names of simulators; all by default.
    tables : int
        Tables of each, at least one.
    rows, columns : int
        Their shape, at least 20 rows and 1 column; a tenth of each arm's rows is scored, the others are fitted.
    seed : int
        At least 0.
    device : str
    progress : bool
        Show a progress bar.

    Returns
    -------
    DataFrame
        A row for each family and method, the checkpoint and a T-learner of boosted trees. ``pehe``, root mean squared
        error of the effect at the test rows in sd of the outcome, its mean over tables; ``median`` and ``standard
        error`` of it; ``coverage`` of the 95 % intervals of single rows, missing for the T-learner; ``seconds``,
        median; ``tables``.

    Raises
    ------
    InputError, InputTypeError
        If a simulator is not known, or a number is no whole one or too small.
    CheckpointError
        If the checkpoint cannot be read.
    """
    families, draws = simulator_names(families), check_draws(tables, seed, rows, columns)
    methods = {"checkpoint": own(checkpoint, device), T_LEARNER: ROW_METHODS[T_LEARNER]}
    found = []
    for family in tqdm(families, desc="families", disable=not progress):
        problems = list(simulated_rows(family, *draws))
        for name, method in methods.items():
            figures = (measure_rows(problem, method) for problem in problems)
            found.append({"family": family, "method": name, **summarise_rows(figures)})
    return pd.DataFrame(found).set_index(["family", "method"])
