"""Whether the data can answer: a grade from counterparts, effective sizes, balance and the interval, with reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from dowhy_cina.mathematics.concentration import least_size
from dowhy_cina.results.diagnostics import SMALL_ARM, Arm, Arms, Array, sum_arms

#: Share of the target population without a counterpart above which the data are strained.
OUTSIDE_SHARE = 0.1
#: Ranges of the outcome from which an interval's width says nothing: no effect can lie outside two of them.
WIDEST_INTERVAL = 2.0
#: Multiple of the least effective size up to which weights are as concentrated as they may be.
AT_BOUND = 1.1
#: Share of the effective size of even weights from which weights cost hardly anything: trimming would bring no more.
EVEN_SHARE = 0.8
#: Measures that exceed the bound of a grade by no more than this share of it meet it.
_TIE = 1e-9

Grade = Literal["good", "strained", "the data do not answer this"]
GRADES: tuple[Grade, Grade, Grade] = ("good", "strained", "the data do not answer this")


class _Bounds(NamedTuple):
    """Where a grade begins: share without a counterpart, rows an arm is worth, largest weight, largest imbalance."""

    outside: float
    rows: float
    weight: float
    imbalance: float


_NAMES = {"att": "treated", "atc": "controls"}
# Calibrated on simulated tables with known effects: benchmarks/overlap.py prints errors and coverage by grade.
_STRAINED = _Bounds(OUTSIDE_SHARE, 30, 0.2, 0.25)
_UNANSWERABLE = _Bounds(0.5, 10, 0.4, 0.8)


@dataclass(frozen=True)
class OverlapVerdict:
    """Whether the table can answer for the target population.

    Attributes
    ----------
    grade : {"good", "strained", "the data do not answer this"}
        The worst that any of the reasons gives.
    reasons : tuple of str
        What was found, worst first; empty if the grade is good.
    advice : str
        What to do; empty if the grade is good.
    """

    grade: Grade
    reasons: tuple[str, ...]
    advice: str

    def __str__(self) -> str:
        return f"{self.grade}: {'; '.join(self.reasons)}. {self.advice}" if self.reasons else self.grade


def overlap_verdict(
    treatment: Array, weights: Array, target_weights: Array, propensity: Array, balance: pd.DataFrame
) -> OverlapVerdict:
    """Grade whether the table can answer for the target population, and say what to do if it hardly can.

    Parameters
    ----------
    treatment, weights : ndarray, shape (N,)
        As in `standardised_mean_differences`.
    target_weights : ndarray, shape (N,)
        Weight of each row in the target population; all zero if that population is not in the table.
    propensity : ndarray, shape (N,)
        As in `outside_support`.
    balance : DataFrame
        From `balance_table`.
    """
    return grade_overlap(sum_arms(treatment, weights, target_weights, propensity), balance)


def relative_width(interval: tuple[float, float] | None, outcome_range: float) -> float:
    """Width of an interval in ranges of the outcome; 0 where there is no interval, or the outcome is constant."""
    return (interval[1] - interval[0]) / outcome_range if interval is not None and outcome_range > 0 else 0.0


def grade_overlap(arms: Arms, balance: pd.DataFrame, width: float = 0.0) -> OverlapVerdict:
    """:func:`overlap_verdict` from what the rows of each arm add up to, and the interval's :func:`relative_width`.

    Above a width of 2 the data do not answer: no effect lies further from zero than the range of the outcome, so that
    such an interval leaves everything open.
    """
    share = _outside_share(arms)
    text = f"{100 * share:.0f} % of the target population have no counterpart in the other arm"
    found = [(_exceeds(share, "outside"), text)]
    found += [_weight_reason(name, arm) for name, arm in arms._asdict().items()]
    found.append(_imbalance_reason(arms, balance))
    small = [name for name, arm in arms._asdict().items() if _is_even(arm) and _weight_reason(name, arm)[0]]
    # Rows that trimming leaves would be fewer still, and an interval is wide where rows are few.
    only_small = bool(small) and sum(grade > 0 for grade, _ in found) == len(small)
    text = f"the interval is {width:.3g} times as wide as the range of the outcome"
    found.append((2 if width > WIDEST_INTERVAL else 0, text))
    found = sorted((reason for reason in found if reason[0]), key=lambda reason: -reason[0])
    if not found:
        return OverlapVerdict("good", (), "")
    advice = _advice_to_add(arms, small) if only_small else _advice(arms)
    return OverlapVerdict(GRADES[found[0][0]], tuple(text for _, text in found), advice)


def overlap_warnings(arms: Arms, verdict: OverlapVerdict) -> tuple[str, ...]:
    """Say in plain words what makes an estimate doubtful, and what can be done.

    Returns
    -------
    tuple of str
        Empty if nothing is amiss.
    """
    warnings = [_sample_warning(name, arm.rows) for name, arm in arms._asdict().items()]
    if verdict.reasons:
        reasons = "; ".join(verdict.reasons)
        head = "The data are strained" if verdict.grade == "strained" else "The data do not answer this"
        warnings.append(f"{head}: {reasons}. {verdict.advice}")
    return tuple(warning for warning in warnings if warning)


def _sample_warning(arm: str, rows: int) -> str:
    if rows == 1:
        return (
            f"The {arm} arm has a single row: its scatter is unknown, so there is no standard error, interval or "
            f"p-value. Add {arm} rows."
        )
    if rows < SMALL_ARM:
        return f"The {arm} arm has {rows} rows only: standard error and interval are rough. Add {arm} rows."
    return ""


def _exceeds(value: float, measure: str) -> int:
    """Position in `GRADES` of a measure of which more is worse."""
    bounds = (getattr(_STRAINED, measure), getattr(_UNANSWERABLE, measure))
    # Five equal weights are .2 each, whatever their last bits say.
    return sum(int(value > bound * (1 + _TIE)) for bound in bounds)


def _weight_reason(name: str, arm: Arm) -> tuple[int, str]:
    """Grade how few rows of an arm carry the estimate; a small arm whose rows all carry it is no more than strained."""
    size, largest = arm.effective_size, arm.largest_weight
    # Half of them is also the least that weights of a small arm may rest on, which is met but for last bits.
    uneven = size <= (arm.clusters or arm.rows) / 2 * (1 + _TIE)
    grade = max(_exceeds(largest, "weight"), int(size < _STRAINED.rows) + int(size < _UNANSWERABLE.rows))
    kind = "clusters" if arm.clusters else "rows"
    text = f"the weights of the {arm.rows:,} {name} rows{arm.held} are worth {size:.3g} equally weighted {kind}"
    text = _small_text(name, arm) if _is_even(arm) else text
    if _exceeds(largest, "weight") and (arm.clusters or arm.rows) > 1:
        text += f", the heaviest carries {100 * largest:.0f} %"
    if uneven and _at_bound(arm):
        grade, text = max(grade, 1), f"{text}, the fewest that weights may rest on: more balance would leave fewer"
    return (grade if uneven else min(grade, 1)), text


def _imbalance_reason(arms: Arms, balance: pd.DataFrame) -> tuple[int, str]:
    """Grade what weights leave of the covariate in which the arms differ most; worse if they cannot do better."""
    worst = np.abs(balance["after"].to_numpy())
    if not len(worst):
        return 0, ""
    place = int(worst.argmax())
    size = float(worst[place])
    grade = _exceeds(size, "imbalance")
    if not grade:
        return 0, ""
    text = f"the arms still differ by {size:.2f} standard deviations in {balance.index[place]} after weighting"
    if any(map(_at_bound, arms)):
        return 2, f"{text}, though they rest on as few rows as weights may"
    return grade, text


def _small_text(name: str, arm: Arm) -> str:
    """Say how few rows or clusters an arm has, whose weights are even."""
    units, kind = (arm.clusters, "cluster") if arm.clusters else (arm.rows, "row")
    if units == 1:
        return f"the {name} arm is a single {kind}"
    sizes = " of unequal size" if _even_size(arm) < EVEN_SHARE * units else ""
    worth = f"worth {arm.effective_size:.3g} equally weighted {kind}s"
    return f"the {name} arm is small, with {arm.rows:,} rows{arm.held}{sizes} that are {worth}"


def _even_size(arm: Arm) -> float:
    """What the rows of an arm would be worth if all weighed the same."""
    return arm.rows if arm.even_size is None else arm.even_size


def _is_even(arm: Arm) -> bool:
    """Whether the weights of an arm cost hardly any of its effective size."""
    return arm.effective_size >= EVEN_SHARE * _even_size(arm)


def _at_bound(arm: Arm) -> bool:
    """Whether weights are worth hardly more rows than they must be: balance would have left fewer."""
    return arm.effective_size < AT_BOUND * least_size(arm.clusters or arm.rows)


def _outside_share(arms: Arms) -> float:
    """Share of the target population without a counterpart; none of a population that is not in the table."""
    total = sum(arm.target for arm in arms)
    return sum(arm.target_outside for arm in arms) / total if total > 0 else 0.0


def _advice_to_add(arms: Arms, small: list[str]) -> str:
    """Name the arms that are small, and no more: their weights are even."""
    return f"Add {_wanted(arms, small)}: it is their number that is lacking, not overlap."


def _wanted(arms: Arms, names: list[str]) -> str:
    """Rows of some arms, in clusters where there are any."""
    if all(arm.clusters for arm in arms):
        return f"clusters with {' and with '.join(names)} rows"
    return f"{' and '.join(names)} rows"


def _advice(arms: Arms) -> str:
    """Name a target with counterparts if there is one, or trimming; and the arm that lacks rows."""
    share, (treated, control) = _outside_share(arms), arms
    pairs = {"att": (treated, control), "atc": (control, treated)}
    shares = {name: own.outside / own.rows for name, (own, other) in pairs.items() if other.target > 0}
    better = min(shares, key=lambda name: shares[name], default="")
    advice = []
    if better and share > OUTSIDE_SHARE and shares[better] < share / 2:
        left = f"of whom {100 * shares[better]:.0f} % lack a counterpart"
        advice.append(f"ask for the {_NAMES[better]} instead (target_units={better!r}), {left}")
    if shares:
        advice.append("trim to the rows where both arms are comparable (target_units='overlap')")
    # An arm that is itself the target lacks nothing: the other one does.
    thin = min(
        arms._asdict().items(), key=lambda item: (len(shares) == 1 and item[1].target > 0, item[1].effective_size)
    )
    advice.append(f"add {_wanted(arms, [thin[0]])} that resemble the target population")
    text = ", or ".join(advice)
    return f"{text[0].upper()}{text[1:]}."
