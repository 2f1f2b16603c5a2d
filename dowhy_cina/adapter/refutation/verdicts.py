"""From the effects of refits to a p-value and a verdict.

Letters: S refits.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dowhy_cina.adapter.refutation.refits import Tally
from dowhy_cina.adapter.refutation.refuters import OVERLAP, Refuter
from dowhy_cina.adapter.refutation.report import Refutation, Verdict
from dowhy_cina.results.effect import EffectResult

#: Refits from which their own distribution is the test's; a normal one stands in for it below, as in DoWhy.
PERCENTILE_REFITS = 100
SIGNIFICANCE_LEVEL = 0.05
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


def judge(refuter: Refuter, tally: Tally, estimate: float, outcome_scale: float) -> Refutation:
    """Turn the refits of a refuter into its row of the report.

    Parameters
    ----------
    refuter : Refuter
    tally : Tally
    estimate : float
        In the outcome's unit.
    outcome_scale : float
        Standard deviation of the outcome.
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
        if refuter.is_range:
            new_effect = float(effects[np.abs(effects).argmin()])
            passes = bool(effects.min() > 0 or effects.max() < 0)
            span = f" (from {effects.min():.4g} to {effects.max():.4g})"
        else:
            new_effect, span = float(effects.mean()), ""
            probability = p_value(effects, expected, TIE * (outcome_scale if refuter.in_outcome_unit else 1.0))
            passes = probability > SIGNIFICANCE_LEVEL
        verdict, meaning = ("pass", refuter.passes) if passes else ("fail", refuter.fails)
        meaning += span + _shortfall(tally, planned)
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
