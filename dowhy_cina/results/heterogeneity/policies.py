"""Value of rules that say whom to treat.

Letters: n compared rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.results.heterogeneity.learned import HeldOut, Judge, marginal_effect, ranks
from dowhy_cina.results.heterogeneity.scores import Mask
from dowhy_cina.tables.columns import is_hashable
from dowhy_cina.tables.matching import check_order
from dowhy_cina.tables.reading import as_array, as_frame


def policy_table(
    judge: Judge, rule: Array | Mask, price: Array, correction: Array | None, against: str | None
) -> pd.DataFrame:
    """Mean outcomes of the target population under a rule, with everybody treated, and with nobody.

    The value of treating where d = 1 is the sum of ``base_i + d_i (added_i - share_i price_i)``; its error is that of
    the same sum of influences, in the two arms' own samples, times the judge's allowance.

    Parameters
    ----------
    judge : Judge
    rule : ndarray, shape (n,)
        Whether the row is treated; a part of one where a cut divides ties, of which it takes so many at random.
    price : ndarray, shape (n,)
        Cost of treating the row, in the outcome's unit.
    correction : ndarray of shape (n,), optional
        What a row moves the value of the rule by, by moving the cut of a learned ranking.
    against : {"all", "none"}, optional
        Give differences from this policy.

    Returns
    -------
    DataFrame
        Rows "rule", "all", "none"; columns ``value``, ``standard_error``, ``lower``, ``upper``, ``treated`` (share of
        the target).
    """
    chosen = {"rule": rule.astype(np.float64), "all": np.ones(len(rule)), "none": np.zeros(len(rule))}
    gain = judge.added - judge.share * price
    parts = {name: judge.base + treat * gain for name, treat in chosen.items()}
    other = parts[against] if against else np.zeros_like(gain)
    rows = {}
    for name, part in parts.items():
        value = float((part - other).sum())
        influence = part - other - judge.share * value
        if name == "rule" and correction is not None:
            influence = influence + correction
        rows[name] = judge.interval(value, influence) | {"treated": float(judge.share @ chosen[name])}
    return pd.DataFrame(rows).T.rename_axis("policy")


def learned_rule(judge: Judge, held_out: HeldOut, rule: Any, price: Array) -> tuple[Array, Array | None]:
    """Whom to treat by the effects that other folds give, and the correction for a cut that the rows decide.

    Parameters
    ----------
    judge : Judge
    held_out : HeldOut
        Of the compared rows (n,).
    rule : float or "gainers"
        The best share of the target, by effect less price; or all whose effect is above the price.
    price : ndarray, shape (n,)

    Returns
    -------
    rule : ndarray, shape (n,)
        Ones and zeros, and parts for ties at the cut.
    correction : ndarray of shape (n,), or None

    Raises
    ------
    InputError
        If the share is not in (0, 1).
    """
    gain = held_out.effects - price
    if rule == "gainers":
        return (gain > 0).astype(np.float64), None
    share = float(rule)
    if not 0 < share < 1:
        raise InputError(f"expected the share to treat in (0, 1), got {rule!r}; name a column or give booleans.")
    ranking = ranks(gain, judge.share, held_out.fold)
    best = ranking.taken(share)
    margin = marginal_effect(ranking, share, judge.added - judge.share * price, judge.share)
    return best, -margin * judge.share * (best - share)


def _asked(rule: Callable[..., Any], frame: pd.DataFrame) -> Any:
    """Answer of a function of the covariates.

    Raises
    ------
    InputTypeError
        If it does not take one argument.
    """
    try:
        signature = inspect.signature(rule)
    except (TypeError, ValueError):  # of some functions in C nothing is known
        return rule(frame)
    try:
        signature.bind(frame)
    except TypeError as error:
        raise InputTypeError(
            f"expected a rule that takes one argument, the frame of the covariates, got one that does not ({error})."
        ) from error
    return rule(frame)


def given_rule(rule: Any, covariates: Any, rows: int) -> Mask:
    """Booleans (N,) that a user's rule stands for: a function of the covariates, a column's name, or values.

    Raises
    ------
    InputError, InputTypeError
        If there is not a truth value for each row, the covariates are needed and not there, or a function cannot be
        called with them alone. What a function raises itself is not changed.
    """
    if callable(rule) or isinstance(rule, str):
        if covariates is None:
            raise InputTypeError("the covariates are not kept in pickles: expected booleans for the rule.")
        frame = as_frame(covariates)
        if isinstance(rule, str) and rule not in frame.columns:
            names = [str(name) for name in frame.columns]
            raise InputError(
                f"expected a rule as a function, booleans, a share, 'gainers' or a covariate, got {rule!r}; the "
                f"covariates are {names}."
            )
        # A rule may write into what it is given.
        rule = _asked(rule, frame.copy()) if callable(rule) else frame[rule]
        check_order(rule, frame, "rule")
    check_order(rule, covariates, "rule")
    values = as_array(rule, "rule")
    if values.shape != (rows,):
        raise InputError(f"expected a rule with a truth value for each of {rows} rows, got shape {values.shape}.")
    # Missing values are neither 0 nor 1.
    if not all(map(is_hashable, values)) or not pd.Series(values).isin([0, 1]).all():
        raise InputError("expected a rule of truth values, or of 0 and 1, got others; compare them with a number.")
    return values.astype(np.bool_)
