"""Balance beyond means: squares and products of covariates, variances and distribution functions, as R's cobalt shows.

Letters: N rows, D covariates.

References
----------
Greifer (2024), cobalt: Covariate Balance Tables and Plots; Austin (2009), Balance diagnostics for comparing the
distribution of baseline covariates between treatment groups in propensity-score matched samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.errors import check_choice
from dowhy_cina.mathematics.scaling import standardise, unit_of, usual_arithmetic
from dowhy_cina.results.diagnostics import balance_table

Array = npt.NDArray[np.float64]

#: What balance may be asked of.
KINDS = ("means", "squares", "interactions")


@dataclass(frozen=True, eq=False)
class ComparedRows:
    """The rows of both arms with their weights, from which any table of balance follows.

    Attributes
    ----------
    covariates : DataFrame, N rows
        Numbers without missing values.
    treatment, weights : ndarray, shape (N,)
        0 or 1 of any type of number, and balancing weights, not negative.
    sample_weight : ndarray of shape (N,), optional
        Sampling weights of the arms before weighting.
    """

    covariates: pd.DataFrame
    treatment: npt.NDArray[Any]
    weights: Array
    sample_weight: Array | None = None

    @property
    def _in_size(self) -> Array:
        """Covariates (N, D) in powers of two near their largest values, whose squares neither overflow nor vanish."""
        values = self.covariates.to_numpy(dtype=np.float64)
        return np.asarray(values * unit_of(np.abs(values).max(axis=0, initial=0.0)))

    @usual_arithmetic()
    def balance_of(self, kind: str) -> pd.DataFrame:
        """See :meth:`dowhy_cina.EffectResult.balance_of`."""
        check_choice(kind, KINDS, "kind")
        if kind == "means":
            return self._means(self.covariates).join(self._distributions())
        parts = [self._means(block) for block in self._products(kind == "interactions")]
        if not parts:
            return self._means(self.covariates.iloc[:, :0])
        return pd.concat(parts)

    def _means(self, covariates: pd.DataFrame) -> pd.DataFrame:
        return balance_table(covariates, self.treatment.astype(np.float64), self.weights, self.sample_weight)

    def _products(self, interactions: bool) -> list[pd.DataFrame]:
        """Squares, and products with later columns, of standardised columns that vary; binary ones have no square."""
        values, names = self._in_size, [str(name) for name in self.covariates.columns]
        columns, scaling = standardise(values.T, np.inf)
        scaled, varies = columns.T, np.flatnonzero(~scaling.constant)
        blocks = []
        for place, first in enumerate(varies):
            others = varies[place:] if interactions else varies[place : place + 1]
            if len(np.unique(values[:, first])) < 3:
                others = others[1:]
            if len(others):
                titles = [f"{names[first]}²" if j == first else f"{names[first]} * {names[j]}" for j in others]
                blocks.append(pd.DataFrame(scaled[:, [first]] * scaled[:, others], columns=titles))
        return blocks

    def _distributions(self) -> pd.DataFrame:
        """Ratios of variances and largest differences of distribution functions, before and after weighting."""
        values = self._in_size
        given = np.ones(len(values)) if self.sample_weight is None else self.sample_weight
        columns = {}
        for when, weights in (("before", given), ("after", self.weights)):
            arms = [_shares(weights * (self.treatment == arm)) for arm in (1, 0)]
            columns[f"variance_ratio_{when}"] = [_variance_ratio(column, *arms) for column in values.T]
            columns[f"largest_difference_{when}"] = [_largest_difference(column, *arms) for column in values.T]
        index = pd.Index([str(name) for name in self.covariates.columns], name="covariate", dtype=object)
        return pd.DataFrame(columns, index=index, dtype=float)


def _shares(weights: Array) -> Array:
    total = weights.sum()
    return np.asarray(weights / total) if total > 0 else weights


def _variance_ratio(values: Array, treated: Array, control: Array) -> float:
    """Variance of the treated over that of the controls; NaN for a binary covariate, or where an arm does not vary."""
    if len(np.unique(values)) < 3:
        return np.nan
    one, zero = (float(arm @ np.square(values - arm @ values)) for arm in (treated, control))
    return one / zero if one > 0 and zero > 0 else np.nan


def _largest_difference(values: Array, treated: Array, control: Array) -> float:
    """Kolmogorov and Smirnov's distance of two weighted distributions."""
    order = np.argsort(values, kind="stable")
    steps = np.cumsum((treated - control)[order])
    # Where a value is the last of its kind; behind the largest one nothing is left.
    return float(np.abs(steps[:-1][np.diff(values[order]) > 0]).max(initial=0.0))
