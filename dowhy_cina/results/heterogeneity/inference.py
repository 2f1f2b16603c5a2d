"""Covariance, degrees of freedom, simultaneous intervals and the test of equality of effects by group.

Letters: N rows, G groups, U independent units (rows, or clusters of them), A strata (arms).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from dowhy_cina.mathematics.concentration import NORMAL_KURTOSIS, effective_number
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.results.heterogeneity.scores import Codes

#: Points of the quasi-Monte-Carlo sequence for the largest of correlated ratios; a power of two.
_POINTS = 2**13
#: Largest float below one.
_MOST_CERTAIN = float(np.nextafter(1.0, 0.0))


@dataclass(frozen=True)
class Uncertainty:
    """How much the effects of groups are uncertain.

    Attributes
    ----------
    covariance : ndarray, shape (G, G)
        In squared units of the outcome; NaN for groups whose variance nothing tells.
    freedom : ndarray, shape (G,)
        Degrees of freedom of each group's t interval.
    joint_freedom : float or None
        Degrees of freedom of the covariance as a whole, where clusters correlate the groups; None for independent ones.
    """

    covariance: Array
    freedom: Array
    joint_freedom: float | None

    def times(self, allowance: float) -> Uncertainty:
        """The same with errors that are this many times as large."""
        return replace(self, covariance=allowance**2 * self.covariance)

    def with_shared(self, error: float) -> Uncertainty:
        """The same with an error of this standard deviation that all groups share, which no contrast of them has."""
        return replace(self, covariance=self.covariance + error**2)

    @property
    def errors(self) -> Array:
        """Standard errors (G,)."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Which groups have a standard error (G,)."""
        return np.isfinite(np.diag(self.covariance))

    def half_widths(self, level: float, simultaneous: bool) -> Array:
        """Half widths (G,) of intervals that hold each effect, or all of them at once, with a probability."""
        if simultaneous and self.known.any():
            level = self._level_of_each(level)
        return np.asarray(np.maximum(stats.t.isf((1 - level) / 2, self.freedom), 0) * self.errors)

    def _level_of_each(self, level: float) -> float:
        """Level of each interval at which all of them hold together with the given one.

        Independent groups: Sidak's, which is exact for them. Groups that share clusters: that of the largest of normal
        ratios with their correlation, by quasi-Monte-Carlo with a fixed seed, never above Sidak's bound.
        """
        count = int(self.known.sum())
        sidak = min(level ** (1 / count), _MOST_CERTAIN)
        known = self.covariance[np.ix_(self.known, self.known)]
        scale = np.sqrt(np.diag(known))
        if self.joint_freedom is None or count < 2 or not (scale > 0).all():
            return float(sidak)
        values, vectors = np.linalg.eigh(known / np.outer(scale, scale))
        root = vectors * np.sqrt(values.clip(0))
        points = stats.qmc.MultivariateNormalQMC(np.zeros(count), rng=np.random.default_rng(0)).random(_POINTS)
        largest = np.abs(points @ root.T).max(axis=1)
        return float(min(sidak, 2 * stats.norm.cdf(np.quantile(largest, level)) - 1))

    def equality(self, effect: Array) -> tuple[float | None, int, float | None]:
        """Wald statistic of equal effects (G,), its degrees of freedom and p-value.

        Independent groups: Welch's F with each group's degrees of freedom. Groups that share clusters: Hotelling's F
        with those of the covariance.
        """
        known = self.known & (np.diag(self.covariance) > 0)
        df = int(known.sum()) - 1
        if df < 1:
            return None, 0, None
        effect, covariance = effect[known], self.covariance[np.ix_(known, known)]
        statistic = float(effect @ _of_contrasts(covariance) @ effect)
        if self.joint_freedom is not None:
            spare = max(self.joint_freedom - df + 1, 1.0)
            return statistic, df, float(stats.f.sf(statistic / df * spare / self.joint_freedom, df, spare))
        precision = 1 / np.diag(covariance)
        spread = float((np.square(1 - precision / precision.sum()) / self.freedom[known]).sum())
        scale = 1 + 2 * (df - 1) * spread / (df * (df + 2))
        return statistic, df, float(stats.f.sf(statistic / (df * scale), df, df * (df + 2) / (3 * spread)))


def uncertainty(
    influence: Array, code: Codes, count: int, clusters: Codes | None, treated: npt.NDArray[np.bool_] | None
) -> Uncertainty:
    """Uncertainty of group effects from the influence of each row on its own group's.

    With known arms each arm of a group is a sample of its own: its variance by HC3, which is the jackknife's, and its
    degrees of freedom by its effective number of units, together by Satterthwaite's rule. Without them a group is one
    sample with the usual variance, and a degree of freedom less than it has units.

    Parameters
    ----------
    influence, code : ndarray, shape (N,)
    count : int
        Groups.
    clusters : ndarray of int, shape (N,), optional
        Rows are independent without them.
    treated : ndarray of bool, shape (N,), optional

    References
    ----------
    MacKinnon & White (1985), Some heteroskedasticity-consistent covariance matrix estimators with improved finite
    sample properties, Journal of Econometrics 29. Satterthwaite (1946), An approximate distribution of estimates of
    variance components, Biometrics Bulletin 2.
    """
    arms = [np.ones(len(code), dtype=np.bool_)] if treated is None else [~treated, treated]
    unit = np.arange(len(code)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    cells, cell = np.unique(unit * count + code, return_inverse=True)
    owner, group = cells // count, cells % count
    total, whole, part = np.zeros(len(cells)), np.zeros(count), np.zeros(count)
    for arm in arms:
        present = np.bincount(cell[arm], minlength=len(cells)) > 0
        units = np.bincount(group[present], minlength=count).astype(np.float64)
        factor = units / np.where(units > 1, units - 1, np.nan)
        if treated is None:
            factor = np.sqrt(factor)
        sums = np.bincount(cell[arm], influence[arm], len(cells)) * factor[group]
        variance, spare = np.bincount(group, sums**2, count), np.maximum(units - 1, 1)
        if treated is not None:
            effective = effective_number(variance, np.bincount(group, sums**4, count))
            spare = np.minimum(spare, np.maximum(effective - 1, 1))
        total, whole, part = total + sums, whole + variance, part + variance**2 / spare
    freedom = np.divide(whole**2, part, out=np.ones(count), where=part > 0)
    if len(cells) == owner.max() + 1:
        return Uncertainty(np.diag(np.bincount(group, total**2, count)), freedom, None)
    dense = np.zeros((int(owner.max()) + 1, count))
    dense[owner, group] = total
    return Uncertainty(np.asarray(dense.T @ dense), freedom, _joint_freedom(dense, treated is None))


def error_of_scores(added: Array, share: Array, clusters: Codes | None, treated: npt.NDArray[np.bool_] | None) -> float:
    """Standard error of the average effect by its scores alone.

    The result's own is larger where smoothing, and confounding that is only half learned, make errors that no score
    shows.

    Parameters
    ----------
    added, share : ndarray, shape (N,)
        What each row adds to the average effect, and its weight in the target population.
    clusters, treated
        As in :func:`uncertainty`.
    """
    influence = added - share * added.sum()
    return float(uncertainty(influence, np.zeros(len(added), np.intp), 1, clusters, treated).errors[0])


def _of_contrasts(covariance: Array) -> Array:
    """Matrix (G, G) whose quadratic form is the Wald statistic of equal effects."""
    df = len(covariance) - 1
    contrast = np.column_stack([-np.ones(df), np.eye(df)])
    return np.asarray(contrast.T @ np.linalg.pinv(contrast @ covariance @ contrast.T) @ contrast)


def _joint_freedom(sums: Array, nominal: bool) -> float:
    """Degrees of freedom of the covariance ``sums' sums`` of groups that share units, for Hotelling's F.

    Nominal: one less than the units. Otherwise no more than those of the Wishart law with the mean and the total
    variance of the contrasts' covariance, from the units' fourth moments.

    References
    ----------
    Tipton & Pustejovsky (2015), Small-sample adjustments for tests of moderators and model fit using robust variance
    estimation in meta-regression, Journal of Educational and Behavioral Statistics 40.
    """
    most = float(len(sums) - 1)
    known = sums[:, np.isfinite(sums).all(axis=0) & (sums**2 > 0).any(axis=0)]
    df = known.shape[1] - 1
    if nominal or df < 1:
        return max(most, 1.0)
    lengths = np.einsum("ug,gh,uh->u", known, _of_contrasts(known.T @ known), known)
    fourth = max(float(np.square(lengths).sum()), np.finfo(float).tiny)
    return float(min(max(NORMAL_KURTOSIS * df * (df + 1) / (2 * fourth), 1.0), most))
