"""Who gains, and what rules about it are worth, as methods of the result.

Letters: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.errors import CinaError, InputError, check_choice, whole_number
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.results.heterogeneity.distribution import EffectDistribution, effect_distribution
from dowhy_cina.results.heterogeneity.learned import HeldOut, Judge, TableRefits, ranks
from dowhy_cina.results.heterogeneity.methods import VaryingEffect
from dowhy_cina.results.heterogeneity.policies import given_rule, learned_rule, policy_table
from dowhy_cina.results.heterogeneity.scores import (
    Mask,
    cluster_codes,
    finite_column,
    real_numbers,
)
from dowhy_cina.results.heterogeneity.search import FoundGroups, search_groups
from dowhy_cina.results.heterogeneity.uplift import WEIGHTINGS, Uplift, rank_weighted_effect
from dowhy_cina.tables.matching import check_order

_GONE = (
    "{} needs fits without some of the rows, which augmentation='none' does without and pickles leave out: estimate "
    "again with augmentation='kernel'; through DoWhy, estimate.estimator.estimate_effect(data) does."
)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Decisions(VaryingEffect):
    """What follows from a varying effect for whoever decides.

    Attributes
    ----------
    control_scores : ndarray, shape (N,)
        Doubly robust scores whose mean is the mean outcome of the target population without treatment; NaN as
        ``pseudo_outcomes``.
    refits : Refits or None
        The table, ready to be fitted again without some of its rows; left out of pickles.
    target
        As in :class:`~dowhy_cina.results.effect.AverageEffect`.
    """

    control_scores: Array
    refits: TableRefits | None = None
    target: str

    def effect_distribution(self) -> EffectDistribution:
        """Quantiles of the conditional effects, and the share of the target population that gains.

        The spread of modelled effects is corrected by doubly robust scores, see
        :func:`dowhy_cina.results.heterogeneity.effect_distribution`; where no heterogeneity is detected the figures are
        NaN, and ``reason`` says so.

        Returns
        -------
        dowhy_cina.results.heterogeneity.EffectDistribution

        Raises
        ------
        InputError
            If the target's rows are not in the table, or an arm has fewer than ten rows (or clusters).
        CinaError
            With ``augmentation="none"``, or after pickling.
        """
        return effect_distribution(self._judge(), self._held_out("effect_distribution"))

    def policy_value(self, rule: Any, cost: npt.ArrayLike = 0.0, against: str | None = None) -> pd.DataFrame:
        """Mean outcome of the target population under a rule that says whom to treat, beside all and none.

        Parameters
        ----------
        rule : callable, array-like of shape (N,), column name, float, or "gainers"
            A function of the covariate frame, or a truth value for each row, or a covariate that holds them, treats
            where it is true; such a rule must not have been chosen with the outcomes of this table. A number in (0, 1)
            treats that share of the target, the largest modelled effects first and of equal ones as many as the share
            has room for, at random; "gainers" treats every row whose modelled effect is above its cost. Both go by
            effects that other rows than those that judge them have given. A function gets a copy of the covariates.
        cost : float or array-like of shape (N,)
            Cost of treating a row, in the outcome's unit.
        against : {"all", "none"}, optional
            Give differences from this policy instead of mean outcomes.

        Returns
        -------
        DataFrame
            Rows "rule", "all", "none"; columns ``value``, ``standard_error``, ``lower``, ``upper`` and ``treated``, the
            share of the target that is treated. Intervals allow for smoothing bias as that of the average effect does.

        Raises
        ------
        InputError, InputTypeError
            If the rule, the costs or ``against`` are not as above, or labels are in another order than the table's, or
            the target's rows are not in the table.
        CinaError
            For a learned rule, as :meth:`effect_distribution`.
        """
        check_choice(against, ("all", "none", None), "against")
        judge, rows = self._judge(), self._scored()
        check_order(cost, self.covariates, "cost")
        price = real_numbers(cost, "cost")
        if price.shape not in ((), rows.shape):
            raise InputError(f"expected one cost, or one for each of {len(rows)} rows, got the shape {price.shape}.")
        if not np.isfinite(price).all():
            odd = price[~np.isfinite(price)] if price.ndim else price
            raise InputError(f"expected finite costs in the outcome's unit, got {np.ravel(odd)[0]}.")
        price = np.broadcast_to(price, rows.shape)[rows]
        chosen: Array | Mask
        correction = None
        if (isinstance(rule, Real) and not isinstance(rule, bool)) or (isinstance(rule, str) and rule == "gainers"):
            chosen, correction = learned_rule(judge, self._held_out("a learned rule"), rule, price)
        else:
            chosen = given_rule(rule, self.covariates, len(rows))[rows]
        return policy_table(judge, chosen, price, correction, against)

    def uplift(self, by: Any = None, weighting: str = "qini") -> Uplift:
        """Curves and area of treating the most promising first.

        Parameters
        ----------
        by : column name, or Series or ndarray of N rows, optional
            Scores to rank by, large ones first and equal ones in random order, made without the outcomes of this table;
            by default the modelled effects, each given by other rows.
        weighting : {"qini", "autoc"}
            Of the area: under the Qini curve, or under the targeting operator characteristic, which stresses the first.

        Returns
        -------
        dowhy_cina.results.heterogeneity.Uplift

        Raises
        ------
        InputError, InputTypeError
            If the scores are not one column of finite real numbers, the weighting is another one, or the target's rows
            are not in the table.
        CinaError
            Without ``by``, as :meth:`effect_distribution`.
        """
        check_choice(weighting, WEIGHTINGS, "weighting")
        judge, rows = self._judge(), self._scored()
        if by is None:
            priority, fold = self._held_out("uplift")
        else:
            column = self._modifiers(by).iloc[rows]
            priority = finite_column(column, "one column of finite numbers to rank by")
            fold = np.zeros(len(priority), np.intp)
        return rank_weighted_effect(judge, ranks(priority, judge.share, fold), weighting)

    def search_groups(self, most: int = 4) -> FoundGroups:
        """Look for the groups whose effects differ most: a shallow tree in half of the rows, judged by the other half.

        Parameters
        ----------
        most : int
            Most groups.

        Returns
        -------
        dowhy_cina.results.heterogeneity.FoundGroups

        Raises
        ------
        InputError, InputTypeError
            If fewer than two groups are allowed or no whole number of them, or an arm has fewer than ten rows (or
            clusters).
        CinaError
            As :meth:`effect_distribution`.
        """
        most = whole_number(most, "the number of groups", 2)
        self._scored()
        members = np.asarray(self.target_weights > 0)
        return search_groups(self._refits("search_groups").halves(self.target, members, self.confidence_level), most)

    def _judge(self) -> Judge:
        rows = self._scored()
        scores = self._scores(rows)
        labels = scores.pop("cluster")
        cluster = None if labels is None else cluster_codes(labels, int(rows.sum()))
        treated = np.asarray(self.treatment[rows] == 1)
        return Judge.of(scores, self.control_scores[rows], treated, cluster, self.confidence_level, self.standard_error)

    def _held_out(self, what: str) -> HeldOut:
        effects, fold = self._refits(what).held_out
        rows = self._scored()
        return HeldOut(effects[rows], fold[rows])

    def _refits(self, what: str) -> TableRefits:
        if self.refits is None:
            raise CinaError(_GONE.format(what))
        return self.refits
