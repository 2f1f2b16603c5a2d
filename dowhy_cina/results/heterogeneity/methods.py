"""What an estimate says of how its effect varies, as methods of the result.

Letters: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.errors import InputError
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.results.heterogeneity.groups import GroupEffects, group_effects, group_labels
from dowhy_cina.results.heterogeneity.inference import error_of_scores
from dowhy_cina.results.heterogeneity.projection import best_linear_projection, effect_curve
from dowhy_cina.results.heterogeneity.scores import (
    Reading,
    cluster_codes,
    contributions,
    finite_column,
    in_size,
    select_modifiers,
)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class VaryingEffect:
    """What a result knows of each row, and how the effect varies over them.

    Attributes
    ----------
    pseudo_outcomes : ndarray, shape (N,)
        Doubly robust scores: their mean is the effect, their spread its sampling error. NaN for rows set aside, and if
        the target is not in the table.
    target_weights : ndarray, shape (N,)
        Weight of each row in the target population; all zero if its rows are not in the table.
    treatment : ndarray of int8, shape (N,)
        1 treated, 0 control, -1 set aside.
    standard_error : float or None
        As in :class:`~dowhy_cina.results.effect.AverageEffect`.
    confidence_level : float
    covariates : DataFrame or ndarray of N rows, or None
        As the user gave them, for effects by group.
    cluster : ndarray, shape (N,), or None
        Labels of clusters.
    reading : Reading or None
        How the estimate reads the covariates, which those named for effects by group are given by.
    """

    pseudo_outcomes: Array
    target_weights: Array
    treatment: npt.NDArray[np.int8]
    standard_error: float | None
    confidence_level: float
    covariates: Any
    cluster: npt.NDArray[Any] | None
    reading: Reading | None = None

    def group_effects(self, by: Any, bins: int = 4, simultaneous: bool = False) -> GroupEffects:
        """Average effects by group, with a joint test that they are equal.

        A group with fewer than five rows of an arm has an effect and no standard error: an outcome model alone stands
        for the rows that lack. What the average effect's standard error has beyond that of the scores is an error that
        all groups share: a group of everybody has the result's own.

        Parameters
        ----------
        by : column name, list of column names, or Series, DataFrame or ndarray of N rows
            Covariates by name, or values of one's own, aligned by position. Numbers with more than six distinct values
            are cut at quantiles. Covariates by name are read as the estimate reads them: numbers that it takes for
            missing are in the group "missing", text that it takes for numbers is cut like these, and numbers that it
            takes for labels are a group for each value, if there are at most a hundred. One's own values are as given.
        bins : int
            Groups that a column of numbers is cut into.
        simultaneous : bool
            Widen the intervals so that all of them hold at once with the result's confidence level, for whoever looks
            for the groups that stand out; see :func:`dowhy_cina.results.heterogeneity.group_effects`.

        Returns
        -------
        dowhy_cina.results.heterogeneity.GroupEffects

        Raises
        ------
        InputError, InputTypeError
            If a name is not that of a covariate, a column holds complex numbers or containers, most of more than a
            hundred groups have fewer than five rows of an arm, or the target's rows are not in the table.
        """
        rows = self._scored()
        labels = group_labels(self._modifiers(by).iloc[rows], bins)
        return group_effects(
            **self._scores(rows),
            groups=labels,
            level=self.confidence_level,
            treatment=self.treatment[rows],
            simultaneous=simultaneous,
            shared_error=self._shared_error(rows),
        )

    def best_linear_projection(self, columns: Any) -> Any:
        """Regression of the effect on covariates, as statsmodels gives it.

        Parameters
        ----------
        columns : column name, list of column names, or Series, DataFrame or ndarray of N rows
            As ``by`` in `group_effects`.

        Returns
        -------
        statsmodels.regression.linear_model.RegressionResults
            With HC3 standard errors, or cluster-robust ones; see
            :func:`dowhy_cina.results.heterogeneity.best_linear_projection`.

        Raises
        ------
        InputError, InputTypeError
            As `group_effects`, and if a column has missing values, is constant or a combination of the others.
        """
        rows = self._scored()
        chosen = self._modifiers(columns).iloc[rows]
        return best_linear_projection(**self._scores(rows), covariates=chosen, shared_error=self._shared_error(rows))

    def effect_curve(self, modifier: Any) -> pd.DataFrame:
        """Average effect along one column of numbers, with pointwise and simultaneous bands.

        Parameters
        ----------
        modifier : column name, or Series or ndarray of N rows

        Returns
        -------
        DataFrame
            As :func:`dowhy_cina.results.heterogeneity.effect_curve` gives it.

        Raises
        ------
        InputError, InputTypeError
            As `group_effects`, and if the modifier is more than one column, not of numbers, or has missing values.
        """
        rows = self._scored()
        chosen = self._modifiers(modifier).iloc[rows]
        values = finite_column(chosen, "one column of numbers for a curve")
        shared = self._shared_error(rows)
        return effect_curve(**self._scores(rows), modifier=values, level=self.confidence_level, shared_error=shared)

    def _modifiers(self, by: Any) -> pd.DataFrame:
        return select_modifiers(self.covariates, by, self.reading)

    def _scored(self) -> npt.NDArray[np.bool_]:
        if not self.target_weights.any() or np.isnan(self.pseudo_outcomes).all():
            raise InputError(
                "the target's rows are not in the table, so they have no scores: estimate for 'ate', 'att', 'atc' or a "
                "mask, or ask conditional_effects for their effects one by one."
            )
        return np.asarray(self.treatment >= 0)

    def _shared_error(self, rows: npt.NDArray[np.bool_]) -> float:
        """Standard deviation of what the result's standard error has beyond that of its scores."""
        scores = self._scores(rows)
        cluster, treated = scores["cluster"], self.treatment[rows] == 1
        codes = None if cluster is None else cluster_codes(cluster, len(treated))
        pseudo_outcomes, size = in_size(scores["pseudo_outcomes"])
        added, share = contributions(pseudo_outcomes, scores["weights"])
        own = size * error_of_scores(added, share, codes, treated)
        if self.standard_error is None or not own < self.standard_error:
            return 0.0
        # The square of a standard error near the largest float is none.
        return self.standard_error * float(np.sqrt(1 - (own / self.standard_error) ** 2))

    def _scores(self, rows: npt.NDArray[np.bool_]) -> dict[str, Any]:
        cluster = None if self.cluster is None else np.asarray(self.cluster)[rows]
        return {
            "pseudo_outcomes": self.pseudo_outcomes[rows],
            "weights": self.target_weights[rows],
            "cluster": cluster,
        }
