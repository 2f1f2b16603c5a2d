"""An estimate in words: on one line, and as aligned lines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dowhy_cina.results.effect import AverageEffect, Plan

#: The lowest bias is the root of a difference of squares: below this share of the bias it is rounding.
_ROUNDING = 1e-7
#: Relative duality gap below which a problem is solved: its digits are those of rounding.
SOLVED = 1e-6
#: Characters of a name that are shown.
LONGEST_NAME = 60
#: Steps that are named.
SHOWN_STEPS = 4
#: Target populations in words.
POPULATIONS = {
    "ate": "all rows (ATE)",
    "att": "the treated (ATT)",
    "atc": "the controls (ATC)",
    "rows": "the named rows of the table",
    "overlap": "where both treatments are likely (overlap)",
}


def shown(name: Any, longest: int = LONGEST_NAME) -> str:
    """A name as text that keeps to its line: the middle of a long one left out, what does not print as ``?``."""
    text = str(name)
    if len(text) > longest:
        text = f"{text[: longest // 2]}...{text[-(longest // 2 - 3) :]}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def number(value: float | None) -> str:
    """Four digits, or "none"."""
    return "none" if value is None else f"{value:.4g}"


def percent(share: float) -> str:
    """A share with two digits, and with all three where it is all or nearly."""
    value = round(100 * share, 9)
    return f"{value:.2g} %" if value < 99.5 else f"{value:.3g} %"


def interval_text(interval: tuple[float, float] | None) -> str:
    """Both ends, or "none"."""
    return "none" if interval is None else f"{number(interval[0])} to {number(interval[1])}"


def one_line(result: AverageEffect) -> str:
    """The effect and its interval for ``repr``."""
    interval = interval_text(result.confidence_interval)
    return (
        f"{type(result).__name__}(value={result.value:.4g}, {100 * result.confidence_level:g} % interval {interval}, "
        f"target={result.target!r}, overlap={result.overlap.grade!r})"
    )


def summary(result: AverageEffect) -> str:
    """Aligned text for people: the effect, for whom, how many rows stand behind it, and what is doubtful."""
    lines = list(summary_lines(result))
    width = max(len(label) for label, _ in lines)
    lines = [(f"{label:<{width}}  ", content) for label, content in lines]
    lines += [("warning: ", warning) for warning in result.warnings]
    return "\n".join(_wrapped(*line) for line in lines)


def _wrapped(label: str, content: str) -> str:
    """A label, and beside it lines of at most 100 letters."""
    indent = " " * len(label)
    return textwrap.fill(f"{label}{content}", 100, subsequent_indent=indent, break_on_hyphens=False)


def summary_lines(result: AverageEffect) -> Iterator[tuple[str, str]]:
    """Labels and contents of the summary, without the warnings."""
    yield "effect", f"{number(result.value)} (standard error {number(result.standard_error)})"
    yield f"{100 * result.confidence_level:g} % interval", interval_text(result.confidence_interval)
    yield "p-value", "none" if result.p_value is None else f"{result.p_value:.3g}"
    yield "population", result.population
    for name, arm in result.arms._asdict().items():
        yield name, f"{arm.rows:,} rows{arm.held}, effective sample size {arm.effective_size:.1f}"
    yield "largest weight", f"{percent(result.largest_weight)} of its arm"
    if aside := aside_text(result):
        yield "set aside", aside
    yield balance_line(result)
    if result.labels:
        yield "labels", labels_text(result)
    if result.differences:
        yield "differences", differences_text(result)
    if len(result.steps):
        yield "steps", steps_text(result)
    if result.waves:
        yield "waves", waves_text(result)
    yield "overlap", result.overlap.grade
    hidden = result.sensitivity()
    if hidden is not None:
        yield "to overturn it", hidden.in_short()
    yield "weights", gap_text(result)
    yield "worst-case bias", bias_text(result)
    yield "computed", f"{_computed(result.plan)}, {shown(result.checkpoint)}, {result.plan.device}"


def balance_line(result: AverageEffect) -> tuple[str, str]:
    """Label and largest imbalances, which are mostly in one covariate before weighting and in another after it."""
    if not len(result.balance):
        return "covariates", "none that vary: this is the difference in means"
    sizes = result.balance.abs()
    (before, first), (after, last) = (
        (f"{sizes[when].max():.3f}", shown(sizes[when].idxmax())) for when in ("before", "after")
    )
    told = f"{before} before weighting ({first}), {after} after ({last}), each the largest, in standard deviations"
    return "largest imbalance", told


def aside_text(result: AverageEffect) -> str:
    """How many rows are not compared, and why; empty if all are."""
    counts = {
        "with another treatment value": result.rows_set_aside,
        "of no sampling weight": result.rows_without_weight,
    }
    return ", ".join(f"{count:,} rows {why}" for why, count in counts.items() if count)


def steps_text(result: AverageEffect) -> str:
    """Steps that were adjusted for, the strongest few by name."""
    told = [shown(step, 2 * LONGEST_NAME) for step in result.steps.index[:SHOWN_STEPS]]
    rest = len(result.steps) - len(told)
    return (
        "; ".join([*told, f"and {rest} more"] if rest else told)
        + " (thresholds that smooth regressions miss; adjusted for)"
    )


def labels_text(result: AverageEffect) -> str:
    """Labels of many levels whose shares of treated rows were adjusted for."""
    told = [shown(label, 2 * LONGEST_NAME) for label in result.labels]
    return "; ".join(told) + " (how often each level is treated; adjusted for)"


def differences_text(result: AverageEffect) -> str:
    """Differences of covariates that were adjusted for."""
    told = [shown(difference, 2 * LONGEST_NAME) for difference in result.differences]
    return "; ".join(told) + " (of covariates that nearly agree, in their standard deviations; adjusted for)"


def waves_text(result: AverageEffect) -> str:
    """Covariates along which waves were adjusted for."""
    told = [shown(covariates, 2 * LONGEST_NAME) for covariates in result.waves]
    return "along " + "; along ".join(told) + " (ups and downs that smooth regressions miss; adjusted for)"


def gap_text(result: AverageEffect) -> str:
    """Say how far the balancing problem is solved."""
    aim = "the best trade-off between balance and evenness"
    if result.duality_gap < SOLVED:
        return f"{aim} (duality gap below 1e-06)"
    return f"within {100 * result.duality_gap:.2g} % of {aim} (duality gap)"


def bias_text(result: AverageEffect) -> str:
    """Say what the imbalance that is left can do, and how much less of it an exact solution could leave."""
    if not result.minimised_bias > 0:
        return "none: there is no imbalance left"
    reached = (
        f"{number(result.minimised_bias)}, if outcomes were the worst function as smooth as the model takes them to "
        "be: a bound, not what to expect of this table"
    )
    if result.duality_gap < SOLVED:
        return f"{reached}; no weights as even bring it lower"
    if not result.lowest_bias > _ROUNDING * result.minimised_bias:
        return f"{reached}; how much lower weights as even can bring it, refine=1e-3 tells"
    return f"{reached}; no weights as even bring it below {number(result.lowest_bias)}"


def _computed(plan: Plan) -> str:
    if plan.route == "exact":
        return f"from all {plan.rows:,} rows at once"
    return f"from all {plan.rows:,} rows, through {plan.landmarks} of them (landmarks)"
