"""How strong an unobserved confounder would have to be to explain an estimate away.

Two figures in closed form: the robustness value, in shares of variance, and the E-value, in risk ratios.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from dowhy_cina.errors import InputError
from dowhy_cina.results.heterogeneity.scores import check_level

#: log risk ratio of an outcome that is one standard deviation higher.
_LOG_RISK_PER_SD = 0.91


@dataclass(frozen=True)
class Sensitivity:
    """What it would take to overturn an estimate.

    Attributes
    ----------
    robustness_value : float
        Share of the remaining variance of both treatment and outcome that a confounder would have to explain to bring
        the estimate to zero; between 0 and 1.
    robustness_value_interval : float or None
        The same, to make the interval hold zero; 0 where it does already, None without an interval.
    e_value : float
        Risk ratio by which a confounder would have to be associated with both treatment and outcome to bring the
        estimate to zero; at least 1.
    e_value_interval : float or None
        The same for the end of the interval next to zero; 1 where the interval holds zero.
    level : float
        Of the interval.
    """

    robustness_value: float
    robustness_value_interval: float | None
    e_value: float
    e_value_interval: float | None
    level: float

    def in_short(self) -> str:
        """Both figures on a line, those for the interval in brackets."""
        texts = []
        share, ratio = "explains {} of what the covariates leave of treatment and outcome", "has risk ratios of {}"
        for text, shown, own, of_interval in (
            (share, _share_text, self.robustness_value, self.robustness_value_interval),
            (ratio, _ratio_text, self.e_value, self.e_value_interval),
        ):
            interval = "" if of_interval is None else f" ({shown(of_interval)} for the interval)"
            texts.append(text.format(shown(own)) + interval)
        return f"a hidden confounder that {', or '.join(texts)}"

    def __str__(self) -> str:
        text = (
            f"robustness value {100 * self.robustness_value:.1f} %: a hidden confounder that explains this share of "
            "what the covariates leave unexplained in treatment and in outcome would bring the estimate to zero"
        )
        if self.robustness_value_interval is not None:
            text += (
                f" ({100 * self.robustness_value_interval:.1f} % for the {100 * self.level:g} % interval to hold zero)"
            )
        text += f"\nE-value {_ratio_text(self.e_value)}: the risk ratio it would need with treatment and with outcome"
        if self.e_value_interval is not None:
            text += f" ({_ratio_text(self.e_value_interval)} for the interval)"
        return text


def robustness_value(t_value: float, degrees_of_freedom: float, q: float = 1.0, alpha: float | None = None) -> float:
    """Share of residual variance in treatment and outcome that takes a fraction q of an estimate away.

    Parameters
    ----------
    t_value : float
        Estimate by its standard error.
    degrees_of_freedom : float
        Of the regression with all covariates; more than one.
    q : float
        Fraction of the estimate to take away.
    alpha : float, optional
        Take so much away that the rest is not significant at this level; the estimate itself by default.

    Returns
    -------
    float
        In [0, 1).

    Raises
    ------
    InputError
        If there are not more than one degree of freedom, or alpha is not in (0, 1).

    References
    ----------
    Cinelli & Hazlett (2020), Making sense of sensitivity: extending omitted variable bias, Journal of the Royal
    Statistical Society B 82, section 4.
    """
    if not degrees_of_freedom > 1:
        raise InputError(f"expected more than one degree of freedom, got {degrees_of_freedom}; add rows.")
    if alpha is not None and not 0 < alpha < 1:
        raise InputError(f"expected alpha in (0, 1), got {alpha!r}; for example 0.05.")
    strength = q * abs(t_value) / math.sqrt(degrees_of_freedom)
    critical = 0.0
    if alpha is not None:
        critical = float(stats.t.isf(alpha / 2, degrees_of_freedom - 1)) / math.sqrt(degrees_of_freedom - 1)
    excess = strength - critical
    if excess <= 0:
        return 0.0
    if critical > 0 and strength > 1 / critical:
        # A confounder that explains all of the outcome would leave no error either: only the treatment's share counts.
        return (strength**2 - critical**2) / (1 + strength**2)
    # (sqrt(f^4 + 4 f^2) - f^2) / 2, written so that neither tiny nor huge f loses its digits.
    return 2 / (1 + math.sqrt(1 + 4 / excess**2)) if excess > 1e-150 else 0.0


def _share_text(share: float) -> str:
    return f"{100 * share:.1f} %"


def _ratio_text(ratio: float) -> str:
    """A risk ratio in words: none explains an outcome away that never happens in one arm."""
    return "infinity" if math.isinf(ratio) else f"{ratio:.2f}"


def e_value(effect: float, standard_deviation: float) -> float:
    """Least risk ratio of a confounder with treatment and outcome that explains a difference in means away.

    The standardised difference d is turned into a risk ratio exp(0.91 d).

    Parameters
    ----------
    effect, standard_deviation : float
        Difference and standard deviation of the outcome, in the same unit.

    Returns
    -------
    float
        At least 1; infinite where the risk ratio overflows.

    Raises
    ------
    InputError
        If the standard deviation is not positive.

    References
    ----------
    VanderWeele & Ding (2017), Sensitivity analysis in observational research: introducing the E-value, Annals of
    Internal Medicine 167, table 2.
    """
    if not standard_deviation > 0:
        raise InputError(f"expected a positive standard deviation of the outcome, got {standard_deviation!r}.")
    log_ratio = _LOG_RISK_PER_SD * abs(effect) / standard_deviation
    if log_ratio > 300:
        return math.inf
    return _explaining(math.exp(log_ratio))


def e_value_of_risks(risk: float, difference: float) -> float:
    """Least risk ratio of a confounder with treatment and outcome that explains a difference of two risks away.

    Parameters
    ----------
    risk : float
        Without treatment; positive.
    difference : float
        Of the risk with treatment from it.

    Returns
    -------
    float
        At least 1; infinite where the risk with treatment is not positive.

    Raises
    ------
    InputError
        If the risk is not positive.

    References
    ----------
    VanderWeele & Ding (2017), as for :func:`e_value`.
    """
    if not risk > 0:
        raise InputError(f"expected a positive risk without treatment, got {risk!r}.")
    ratio = (risk + difference) / risk
    if ratio <= 0:
        return math.inf
    return _explaining(max(ratio, 1 / ratio))


def _explaining(ratio: float) -> float:
    """E-value of a risk ratio of at least one."""
    return ratio + math.sqrt(ratio * (ratio - 1))


def sensitivity(
    value: float,
    standard_error: float | None,
    interval: tuple[float, float] | None,
    outcome_scale: float,
    rows: int,
    columns: int,
    level: float = 0.95,
    risk: float | None = None,
) -> Sensitivity | None:
    """Both figures for an estimate.

    The robustness value takes the estimate for the coefficient of a regression on treatment and covariates with the
    same standard error; that of the interval is the robustness value of its end next to zero, so that the two agree
    where the interval is wider than a regression's.

    Parameters
    ----------
    value, standard_error, interval
        The estimate, in the outcome's unit.
    outcome_scale : float
        Standard deviation of the outcome.
    rows, columns : int
        Rows of both arms, or the clusters that they are in, and encoded covariates.
    level : float
        Of the interval, in (0, 1).
    risk : float, optional
        Mean outcome without treatment, of an outcome of 0 and 1. Then E-values are those of the ratio of the risks;
        otherwise that ratio comes from the difference in standard deviations.

    Returns
    -------
    Sensitivity or None
        None without a standard error, with too few rows, or for an outcome that does not vary.

    Raises
    ------
    InputError
        If the level is not in (0, 1).
    """
    check_level(level)
    freedom = rows - columns - 2
    if standard_error is None or not standard_error > 0 or freedom <= 1 or not outcome_scale > 0:
        return None
    nearest = None
    if interval is not None:
        nearest = 0.0 if interval[0] <= 0 <= interval[1] else min(interval, key=abs)

    def needed(effect: float) -> float:
        return e_value_of_risks(risk, effect) if risk is not None and risk > 0 else e_value(effect, outcome_scale)

    return Sensitivity(
        robustness_value(value / standard_error, freedom),
        None if nearest is None else robustness_value(nearest / standard_error, freedom),
        needed(value),
        None if nearest is None else needed(nearest),
        level,
    )
