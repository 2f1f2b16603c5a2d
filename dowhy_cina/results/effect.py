"""The result of an estimate: figures, weights, balance, certificate, and how they are told.

Letters: N rows, D covariates.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from dowhy_cina.errors import CinaError
from dowhy_cina.results.balance import ComparedRows
from dowhy_cina.results.diagnostics import Arms, EffectiveSampleSize
from dowhy_cina.results.heterogeneity import Decisions
from dowhy_cina.results.overlap import OverlapVerdict
from dowhy_cina.results.plain import plain
from dowhy_cina.results.presentation.cards import effect_card
from dowhy_cina.results.presentation.words import POPULATIONS, one_line, summary
from dowhy_cina.results.sensitivity import Sensitivity, sensitivity

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class EffectFunction(Protocol):
    """Modelled effects at any covariates, such as :class:`dowhy_cina.calls.analysis.ConditionalEffects`."""

    def at(self, covariates: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Effects and standard errors (n,) at covariate rows, in the outcome's unit."""
        ...


@dataclass(frozen=True)
class Plan:
    """How an estimate was computed.

    Attributes
    ----------
    route : {"exact", "landmarks"}
        Whether every row spans the kernels, or a subset does.
    landmarks, rows, columns : int
        Sizes; columns after encoding.
    device, dtype : str
    block_rows : int
        Rows whose features are computed at once.
    kept_kernels : int
        Kernels whose features of all rows were kept in memory instead of computed again by each pass.
    memory : int
        Estimated bytes at the peak, beside the user's table.
    """

    route: str
    landmarks: int
    rows: int
    columns: int
    device: str
    dtype: str
    block_rows: int
    kept_kernels: int
    memory: int


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class AverageEffect:
    """An estimated average effect: what every result says, wherever its rows are. Compared by identity.

    Attributes
    ----------
    value : float
        Effect in the outcome's unit.
    standard_error, p_value : float or None
        From the influence function; None if an arm has a single row or cluster.
    confidence_interval : tuple of float or None
        ``(lower, upper)`` at ``confidence_level``.
    target : {"ate", "att", "atc", "rows", "overlap"}
    outcome_scale : float
        Standard deviation of the outcome, without sampling weights.
    balance : DataFrame
        A row per covariate; columns ``before`` and ``after``: standardised mean differences of the arms, before with
        the sampling weights if there are any; in standard deviations of the unweighted arms.
    arms : Arms
        What the rows of each arm add up to: their number, largest weight, rows without a counterpart.
    duality_gap : float
        Relative duality gap of the balancing problem that gave the weights; zero only at its exact solution.
    refinement_steps : int
        Iterations of the solver after the forward pass: 0 unless ``refine`` or an exact solution was asked for.
    minimised_bias : float
        Worst-case bias that the balancing problem minimises, in the outcome's unit: of one arm against the other for
        the paper's weights, of each arm against the target otherwise, over functions of the kernel's space and of the
        columns whose means are balanced beside it.
    lowest_bias : float
        What the duality gap leaves open: no weights as spread out have a minimised bias below this. As spread out means
        no weight above the limit of the problem (paper's weights), or as large an effective sample size (otherwise).
    worst_case_bias, worst_case_bias_before : float
        Most that the weighted (unweighted) difference of means can be off, in the outcome's unit, if each arm's mean
        outcome is a function of norm one sd of the outcome in the balancing kernel's space.
    plan : Plan
    warnings : tuple of str
    rows_set_aside : int
        Rows whose treatment is neither of the compared values.
    rows_without_weight : int
        Rows of the compared treatments whose sampling weight is zero; they are set aside too.
    checkpoint : str
    augmentation : str
    correction_share : float
        Share of the weighted residuals that entered the estimate, in [0, 1]: the rest was within their noise.
    degrees_of_freedom : float
        Of the t distribution behind interval and p-value: the effective number of rows that carry the noise, less one.
    overlap : OverlapVerdict
        Whether the table can answer for the target population.
    steps : DataFrame
        Thresholds of covariates, and pairs on the same side of theirs, at which outcomes change by more than smooth
        regressions leave to chance, in the covariates' units, the strongest first; each is adjusted for and balanced
        like a covariate. Indexed by what it says; columns ``covariate``, ``threshold``, ``other`` and
        ``other_threshold`` (of steps of two covariates), ``share`` (of the rows that lie above, or on the same side of
        both). Mostly empty.
    labels : tuple of str
        Labels of many levels, and covariates along which the treatment depends on the level: for each, one column says
        how often the levels are treated, or how much more so along the covariate. It is adjusted for and balanced.
    differences : tuple of str
        Differences of two covariates that nearly agree, in their standard deviations, which outcomes go with by more
        than smooth regressions leave to chance; each is adjusted for and balanced like a covariate. Mostly empty.
    waves : tuple of str
        Covariates, pairs such as "longitude and latitude", one as in "day, differently by region=north", or the first
        few of many, along which outcomes go up and down by more than smooth regressions leave to chance; waves along
        them are adjusted for and balanced. Mostly empty. A function that is too steep for these regressions may count
        as a step or a wave, too.
    """

    #: Fields that :meth:`to_dict` leaves out.
    left_out: ClassVar[tuple[str, ...]]

    value: float
    standard_error: float | None
    confidence_interval: tuple[float, float] | None
    p_value: float | None
    confidence_level: float
    target: str
    outcome_scale: float
    balance: pd.DataFrame
    arms: Arms
    duality_gap: float
    refinement_steps: int
    minimised_bias: float
    lowest_bias: float
    worst_case_bias: float
    worst_case_bias_before: float
    plan: Plan
    warnings: tuple[str, ...]
    rows_set_aside: int
    rows_without_weight: int = 0
    checkpoint: str
    augmentation: str
    correction_share: float
    degrees_of_freedom: float
    overlap: OverlapVerdict
    steps: pd.DataFrame
    waves: tuple[str, ...]
    labels: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return one_line(self)

    def _repr_html_(self) -> str:
        """Card for notebooks."""
        return effect_card(self)

    @property
    def effective_sample_size(self) -> EffectiveSampleSize:
        """Kish's effective sample size of each arm, in rows, or in clusters where there are any."""
        return EffectiveSampleSize(*(arm.effective_size for arm in self.arms))

    @property
    def largest_weight(self) -> float:
        """Largest weight of a row, or of a cluster where there are any, as a share of its arm."""
        return max(arm.largest_weight for arm in self.arms)

    def summary(self) -> str:
        """Aligned text for people: the effect, for whom, how many rows stand behind it, and what is doubtful."""
        return summary(self)

    @property
    def population(self) -> str:
        """Target population in words."""
        return POPULATIONS[self.target]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready values but the fields :attr:`left_out`; None where there is no number."""
        content = {**vars(self), "effective_sample_size": self.effective_sample_size}
        return {name: plain(value) for name, value in content.items() if name not in self.left_out}

    def sensitivity(self) -> Sensitivity | None:
        """How strong a hidden confounder would have to be to explain the estimate away.

        Clusters count as rows where there are any. The E-value of an outcome of 0 and 1 is that of the ratio of its
        risks, but for targets outside the table and Dask DataFrames.

        Returns
        -------
        dowhy_cina.results.sensitivity.Sensitivity or None
            None without a standard error.
        """
        return sensitivity(
            self.value,
            self.standard_error,
            self.confidence_interval,
            self.outcome_scale,
            self._independent_rows,
            self.plan.columns,
            self.confidence_level,
            self._risk_without_treatment,
        )

    @property
    def _independent_rows(self) -> int:
        """Rows of both arms, or the clusters that they are in."""
        return self.plan.rows

    @property
    def _risk_without_treatment(self) -> float | None:
        """Mean outcome of the target without treatment, if outcomes are 0 and 1 and it is known."""
        return None


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class EffectResult(Decisions, AverageEffect):
    """An estimated average effect of a table in memory: figures as in :class:`AverageEffect`, and the rows behind them.

    Attributes
    ----------
    weights : ndarray, shape (N,)
        Balancing weights: not negative, summing to one in each arm, zero for rows set aside.
    propensity : ndarray, shape (N,)
        Leave-one-out propensity in [0, 1], NaN for rows set aside.
    treatment, target_weights, pseudo_outcomes, covariates, cluster, reading
        As in :class:`~dowhy_cina.results.heterogeneity.VaryingEffect`. The last three are left out of :meth:`to_dict`;
        covariates and their reading of pickles too, and copies share them. Covariates and clusters are the result's
        own: what becomes of the caller's table later changes no answer.
    function : EffectFunction or None
        The outcome regressions; left out of pickles and of :meth:`to_dict`, and shared by copies.
    compared : ComparedRows or None
        What :meth:`balance_of` is made of; left out and shared likewise.
    is_binary : bool
        Whether outcomes are 0 and 1.
    control_scores, refits
        As in :class:`~dowhy_cina.results.heterogeneity.Decisions`; the second is left out and shared likewise.
    """

    left_out = ("function", "covariates", "cluster", "reading", "compared", "refits")

    weights: npt.NDArray[np.float64]
    propensity: npt.NDArray[np.float64]
    function: EffectFunction | None
    compared: ComparedRows | None = None
    is_binary: bool = False

    @property
    def _independent_rows(self) -> int:
        rows = np.asarray(self.treatment >= 0)
        return super()._independent_rows if self.cluster is None else len(pd.unique(np.asarray(self.cluster)[rows]))

    @property
    def _risk_without_treatment(self) -> float | None:
        scores = self.control_scores[np.isfinite(self.control_scores)]
        return float(scores.mean()) if self.is_binary and len(scores) else None

    @property
    def population(self) -> str:
        """Target population in words."""
        if self.target == "rows" and not self.target_weights.any():
            return "the given rows, taken as a sample of their population that is independent of the table"
        return super().population

    def plot(self, figure: Figure | None = None) -> Figure:
        """Draw the effect with its interval, balance, overlap and weights, in four panels.

        Parameters
        ----------
        figure : matplotlib.figure.Figure, optional
            Where to draw; a new one if None.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        InputTypeError
            If the figure is none.
        """
        from dowhy_cina.results.plots import overview

        return overview(self, figure)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, **dict.fromkeys(("function", "covariates", "reading", "compared", "refits"))}

    def __copy__(self) -> EffectResult:
        return replace(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> EffectResult:
        # None ever changes, and DoWhy copies results where nobody asked for a second table.
        kept = (self.function, self.covariates, self.reading, self.compared, self.refits)
        memo.update({id(shared): shared for shared in kept})
        return replace(self, **copy.deepcopy(vars(self), memo))

    def balance_of(self, kind: Literal["means", "squares", "interactions"] = "means") -> pd.DataFrame:
        """Balance of the arms beyond :attr:`balance`.

        Parameters
        ----------
        kind : {"means", "squares", "interactions"}
            Of the covariates themselves, with their variances and distributions; of the squares of standardised
            covariates that are not binary; or of these and all products of two.

        Returns
        -------
        DataFrame
            A row per term (index ``covariate``); columns ``before`` and ``after``, standardised mean differences as in
            :attr:`balance`. For "means" also ``variance_ratio_*``, treated over control (NaN for binary covariates),
            and ``largest_difference_*`` of the distribution functions, each before and after weighting.

        Raises
        ------
        InputError, InputTypeError
            If the kind is another one.
        CinaError
            After pickling, which leaves the rows out.
        """
        if self.compared is None:
            raise CinaError("balance_of needs the table's rows, which pickles leave out: estimate again.")
        return self.compared.balance_of(kind)

    def conditional_effects(self, at: Any) -> pd.DataFrame:
        """Modelled effects at given covariates, with intervals for each row by itself.

        Parameters
        ----------
        at : DataFrame or ndarray of n rows
            With the covariates of the table.

        Returns
        -------
        DataFrame, n rows
            Columns ``effect``, ``standard_error``, ``lower``, ``upper`` (at ``confidence_level``), in the outcome's
            unit; the index of ``at``. Pointwise: many rows' intervals need not hold at once, see `group_effects` for
            intervals that do.

        Raises
        ------
        InputError, InputTypeError
            If the rows do not have the table's covariates, or there is none.
        CinaError
            If the outcome regressions are not there: with ``augmentation="none"``, or after pickling.
        """
        if self.function is None:
            raise CinaError(
                "conditional_effects needs the outcome regressions, which augmentation='none' does without and pickles "
                "leave out: estimate again with augmentation='kernel'; through DoWhy, "
                "estimate.estimator.estimate_effect(data) does."
            )
        effects, errors = self.function.at(at)
        half = float(stats.norm.isf((1 - self.confidence_level) / 2)) * errors
        index = at.index if isinstance(at, pd.DataFrame) else None
        columns = {"effect": effects, "standard_error": errors, "lower": effects - half, "upper": effects + half}
        return pd.DataFrame(columns, index=index)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PartitionedResult(AverageEffect):
    """An estimated average effect of a table in partitions: figures as in ``AverageEffect``, and rows left in place.

    Attributes
    ----------
    weights, propensity : Dask Series, shape (N,)
        A partition for each of the table's, with its index; computed when they are asked for, and left out of
        ``to_dict()``. Weights are zero and propensities NaN for rows set aside.
    """

    left_out = ("weights", "propensity")

    weights: Any
    propensity: Any
