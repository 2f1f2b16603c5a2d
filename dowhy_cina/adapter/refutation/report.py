"""The report of a battery: a row per refuter, as a frame, text, a picture or JSON-ready values.

Letters: S refits that gave an effect.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from dowhy_cina.adapter.refutation.refits import Tally
from dowhy_cina.adapter.refutation.refuters import OVERLAP, Refuter
from dowhy_cina.results.effect import EffectResult
from dowhy_cina.results.plain import plain
from dowhy_cina.results.presentation.cards import refutation_card
from dowhy_cina.results.presentation.words import interval_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Refits from which their own distribution is the test's; a normal one stands in for it below, as in DoWhy.
PERCENTILE_REFITS = 100
SIGNIFICANCE_LEVEL = 0.05
#: Refits whose mean has moved from the estimate by more than this share of it have not found it again.
LARGEST_MOVE = 0.5
#: Standard errors of the estimate by which a covariate of noise may move it on the average. The settings of an estimate
#: answer to every column, so that noise moves it a little, mostly to one side: a percentile test takes that for a
#: finding, however small it is. Of 48 sound tables none moved by more than 0.56 of them, where that test fails eight.
LARGEST_NOISE_MOVE = 1.0
#: Effects this close, in standard deviations of the outcome, are ties: a batch gives an estimate to this precision.
TIE = 1e-6


def p_value(effects: NDArray[np.float64], expected: float, tolerance: float = 0.0) -> float:
    """Probability of a value as far out as the expected one among the effects of refits, as DoWhy computes it.

    From a hundred refits on it is the two-sided percentile test; below, the tail of the normal distribution with the
    refits' mean and standard deviation (one-sided, as in DoWhy).

    Parameters
    ----------
    effects : ndarray, shape (S,)
        At least two, in any order.
    expected : float
        The estimate, or zero where no effect should be found.
    tolerance : float
        Effects this close to the expected value are ties with it.
    """
    tied = np.abs(effects - expected) <= tolerance
    if len(effects) >= PERCENTILE_REFITS:
        above = float(np.mean(np.where(tied, 0.5, effects > expected)))
        return 2 * min(above, 1 - above)
    spread = float(effects.std())
    if spread == 0 or tied.all():
        return float(tied.all())
    return float(stats.norm.sf(abs(expected - effects.mean()) / spread))


def judge(
    refuter: Refuter,
    tally: Tally,
    estimate: float,
    outcome_scale: float,
    distinguishable: bool = True,
    standard_error: float | None = None,
) -> Refutation:
    """Turn the refits of a refuter into its row of the report.

    Parameters
    ----------
    refuter : Refuter
    tally : Tally
    estimate : float
        In the outcome's unit.
    outcome_scale : float
        Standard deviation of the outcome.
    distinguishable : bool
        Whether the estimate can be told from zero; a refuter may have nothing to say about one that cannot.
    standard_error : float, optional
        Of the estimate; without it the p-value alone decides.
    """
    effects = np.array([tally.effects[number] for number in sorted(tally.effects)])
    unit = 1.0 if refuter.in_outcome_unit else outcome_scale
    expected = estimate if refuter.has_effect else 0.0
    planned = 0 if tally.refits is None else tally.refits.count
    new_effect, probability = math.nan, math.nan
    verdict: Verdict
    if len(effects) < 2:
        reason = tally.reason or _failures(tally) or f"only {len(effects)} of {planned} refits were finished"
        verdict, meaning = "not applicable", f"not applicable: {reason}"
        expected = math.nan
    else:
        moved = False
        if refuter.is_range:
            new_effect = float(effects[np.abs(effects).argmin()])
            passes = bool((effects * np.sign(estimate) > 0).all())
            found = f" (from {effects.min():.4g} to {effects.max():.4g})"
        else:
            new_effect, found = float(effects.mean()), ""
            probability = p_value(effects, expected, TIE * (outcome_scale if refuter.in_outcome_unit else 1.0))
            passes = probability > SIGNIFICANCE_LEVEL
            moved = refuter.has_effect and abs(new_effect - estimate) > LARGEST_MOVE * abs(estimate)
            if refuter.by_error and standard_error:
                away = float(np.abs(effects - estimate).mean()) / standard_error
                passes, found = away <= LARGEST_NOISE_MOVE, f" ({away:.2g} standard errors away on the average)"
        verdict, meaning = _verdict(refuter, passes, moved, distinguishable)
        meaning += found + _shortfall(tally, planned)
    return Refutation(
        refuter.name,
        refuter.label,
        verdict,
        meaning,
        seconds=tally.seconds,
        new_effect=new_effect,
        p_value=probability,
        effects=effects,
        expected=expected,
        unit=unit,
        failed=len(tally.failures),
        planned=planned,
    )


def _verdict(refuter: Refuter, passes: bool, moved: bool, distinguishable: bool) -> tuple[Verdict, str]:
    """Verdict and meaning, from the test, and from whether there was an effect to be refuted or to be found again."""
    if not distinguishable and refuter.uninformative and (passes or refuter.is_range):
        return "uninformative", refuter.uninformative
    if passes and moved:
        far = f"by more than {100 * LARGEST_MOVE:.0f} % of the estimate"
        if distinguishable:
            return "fail", f"{refuter.fails} ({far}, within the spread of the refits)"
        return "uninformative", f"the effect moves {far}, which cannot be told from zero"
    return ("pass", refuter.passes) if passes else ("fail", refuter.fails)


def _shortfall(tally: Tally, planned: int) -> str:
    notes = [_failures(tally)] if tally.failures else []
    if tally.missing:
        notes.append(f"interrupted after {planned - tally.missing} of {planned} refits")
    return "".join(f"; {note}" for note in notes)


def _failures(tally: Tally) -> str:
    """Count the refits that failed and give the most frequent reason."""
    if not tally.failures:
        return ""
    reasons = Counter(tally.failures[number] for number in sorted(tally.failures))
    count = len(tally.failures)
    tried = count + len(tally.effects)
    return f"{count} of {tried} refits failed, most often since {reasons.most_common(1)[0][0]}".rstrip(".")


def judge_overlap(result: EffectResult) -> Refutation:
    """Tell whether both arms can speak for the target population, as the estimate found."""
    overlap = result.overlap
    verdict: Verdict = "pass" if overlap.grade == "good" else "fail"
    meaning = str(overlap) if overlap.reasons else "both arms have rows enough that resemble the target population"
    return Refutation(OVERLAP, "overlap", verdict, meaning.rstrip("."))


Verdict = Literal["pass", "fail", "uninformative", "not applicable"]

COLUMNS = ("refuter", "estimated_effect", "new_effect", "p_value", "verdict", "meaning", "seconds")
_WIDTH = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Refutation:
    """What one refuter found.

    Attributes
    ----------
    refuter : str
        DoWhy's method name.
    label : str
        The same in words.
    verdict : {"pass", "fail", "uninformative", "not applicable"}
        "uninformative" where the refits cannot speak for an estimate that is not distinguishable from zero.
    meaning : str
        One line in plain words.
    seconds : float
        Time spent on its refits, summed over threads.
    new_effect : float
        Mean of the refits; of the hidden common cause, the refit nearest to zero. NaN without refits.
    p_value : float
        As DoWhy computes it; NaN where DoWhy has none.
    effects : ndarray, shape (S,)
        Effect of every refit that succeeded, in the order of the refits.
    expected : float
        What the refits should find: the estimate, or zero. NaN without refits.
    unit : float
        What to multiply the effects by to have them in the outcome's unit; not 1 for the dummy outcome only.
    failed : int
        Refits that failed.
    planned : int
        Refits that were asked for.
    """

    refuter: str
    label: str
    verdict: Verdict
    meaning: str
    seconds: float = 0.0
    new_effect: float = math.nan
    p_value: float = math.nan
    effects: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty(0))
    expected: float = math.nan
    unit: float = 1.0
    failed: int = 0
    planned: int = 0


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RefutationReport:
    """What a battery of refuters found about an estimate.

    Attributes
    ----------
    estimated_effect : float
        The estimate, in the outcome's unit.
    confidence_interval : tuple of float or None
        ``(lower, upper)`` of the estimate at `confidence_level`.
    confidence_level : float
    refutations : tuple of Refutation
    interrupted : tuple of str
        Refuters that were cut short or not reached since the battery was interrupted; empty if it was not.
    """

    estimated_effect: float
    confidence_interval: tuple[float, float] | None
    confidence_level: float
    refutations: tuple[Refutation, ...]
    interrupted: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """A row per refuter.

        Returns
        -------
        DataFrame
            Columns ``refuter`` (DoWhy's method name), ``estimated_effect`` and ``new_effect`` (in the outcome's unit;
            that of a dummy outcome in its standard deviations), ``p_value``, ``verdict``, ``meaning`` and ``seconds``;
            NaN where there is no number.
        """
        rows = [
            (row.refuter, self.estimated_effect, row.new_effect, row.p_value, row.verdict, row.meaning, row.seconds)
            for row in self.refutations
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-ready values, the effects of single refits too; None where there is no number."""
        content: dict[str, Any] = plain(self)
        return content

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the estimate, its interval and each refuter's distribution.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure if None.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        from dowhy_cina.results.plots import refutation_plot

        return refutation_plot(self, ax)

    def __repr__(self) -> str:
        interval = f"{100 * self.confidence_level:g} % interval {interval_text(self.confidence_interval)}"
        verdicts = Counter(row.verdict for row in self.refutations)
        told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "none"
        return f"RefutationReport(estimated_effect={self.estimated_effect:.4g}, {interval}, verdicts: {told})"

    def _repr_html_(self) -> str:
        """Card for notebooks."""
        return refutation_card(self)

    def __str__(self) -> str:
        interval = self.confidence_interval
        width = max([len(row.refuter) for row in self.refutations], default=0)
        lines = [f"estimated effect  {self.estimated_effect:.4g}"]
        if interval is not None:
            lines[0] += f" ({100 * self.confidence_level:g} % interval {interval[0]:.4g} to {interval[1]:.4g})"
        lines += ["", f"{'refuter':<{width}}  new effect  p-value  seconds  verdict"]
        for row in self.refutations:
            numbers = f"{_figure(row.new_effect, '.4g'):>10}  {_figure(row.p_value, '.2f'):>7}  {row.seconds:>7.2f}"
            lines += [
                f"{row.refuter:<{width}}  {numbers}  {row.verdict}",
                textwrap.fill(row.meaning, _WIDTH, initial_indent="    ", subsequent_indent="    "),
            ]
        if self.interrupted:
            lines += ["", f"interrupted; not finished: {', '.join(self.interrupted)}"]
        return "\n".join(lines)


def _figure(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
