"""The direct call: from the user's table to an effect.

Letters: N rows, D covariates, M target rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dowhy_cina.analysis import Analysis
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.preprocessing import Preprocessor, check_outcome, encode_treatment
from dowhy_cina.results import EffectResult

__all__ = ["Analysis", "EffectResult", "analyse", "estimate_effect"]


def analyse(
    X: Any,
    treatment: Any,
    outcome: Any,
    *,
    treatment_value: Any = None,
    control_value: Any = None,
    options: EstimatorOptions | None = None,
) -> Analysis:
    """Check and encode a table and run the model once.

    Parameters
    ----------
    X : ndarray of shape (N, D) or DataFrame
        Covariates; numbers, booleans, strings, categories and missing values.
    treatment, outcome : array-like, shape (N,)
        Aligned with ``X`` by position.
    treatment_value, control_value : optional
        Levels to compare; rows of other levels are set aside.
    options : EstimatorOptions, optional

    Returns
    -------
    Analysis

    Raises
    ------
    InputError, InputTypeError
        If the table allows no estimate; the message says what was expected, what came and what to do.
    NotImplementedError
        For options that this release does not have.
    """
    options = options or EstimatorOptions()
    refuse_unbuilt(memory_limit=options.memory_limit)
    t, keep, _ = encode_treatment(treatment, treatment_value, control_value)
    rows = len(X) if hasattr(X, "__len__") else -1
    if rows != len(keep):
        raise InputError(f"expected covariates and treatment of the same length, got {rows} and {len(keep)} rows.")
    y = check_outcome(outcome, len(keep)) if keep.all() else check_outcome(_rows(outcome, keep), int(keep.sum()))
    t = t[keep]
    table = X if keep.all() else _rows(X, keep)
    preprocessor = Preprocessor()
    encoded = preprocessor.fit_transform(table)
    return Analysis(encoded, preprocessor.readable(table), t, y, keep, preprocessor, options)


def _rows(values: Any, keep: npt.NDArray[np.bool_]) -> Any:
    return values.loc[keep] if isinstance(values, pd.Series | pd.DataFrame) else np.asarray(values)[keep]


def refuse_unbuilt(**options: Any) -> None:
    """Raise for options that the contract names and this release does not have.

    Raises
    ------
    NotImplementedError
        Naming the first option that was given.
    """
    for name, value in options.items():
        if value is not None:
            raise NotImplementedError(f"{name}={value!r} is not in this release; leave {name} at None.")


def estimate_effect(
    X: Any,
    treatment: Any,
    outcome: Any,
    *,
    covariates: Sequence[str] | None = None,
    treatment_value: Any = None,
    control_value: Any = None,
    target_units: Any = "ate",
    augmentation: str = "kernel",
    checkpoint: str = "cina-small",
    device: str = "auto",
    confidence_level: float = 0.95,
    sample_weight: Any = None,
    cluster: Any = None,
    refine: float | None = None,
    memory_limit: str | None = None,
) -> EffectResult:
    """Average effect of a binary treatment, zero-shot: one forward pass, nothing is fitted by gradient descent.

    Parameters
    ----------
    X : ndarray of shape (N, D), or DataFrame
        Covariates (numbers, booleans, strings, categories, missing values), aligned with the other arguments by
        position; or a whole DataFrame if ``treatment`` and ``outcome`` are names of its columns.
    treatment : array-like of shape (N,), or str
        Two levels; more need ``treatment_value`` and ``control_value``.
    outcome : array-like of shape (N,), or str
        Finite numbers.
    covariates : sequence of str, optional
        Columns of ``X`` to adjust for; all but treatment and outcome by default.
    treatment_value, control_value : optional
        Levels to compare; rows of other levels are set aside.
    target_units : {"ate", "att", "atc"}, boolean mask of shape (N,), or DataFrame of covariate rows
        Population whose average effect is wanted.
    augmentation : {"kernel", "none"}
        Outcome models beside the weights, or the weights alone (for the ATE the paper's estimator, arm against arm).
    checkpoint : str
        Bundled name, path, or "exact": the balancing problem solved on a Gaussian kernel of this table's rows
        (Algorithm 1 of the paper), at most 5,000 of them.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    confidence_level : float
        In (0, 1).
    refine : float, optional
        Continue from the zero-shot weights until the relative duality gap is at most this, for instance 1e-3.
    sample_weight, cluster, memory_limit
        Not in this release.

    Returns
    -------
    EffectResult

    Raises
    ------
    InputError, InputTypeError
        If the table allows no estimate; the message says what was expected, what came and what to do.
    NotImplementedError
        For options that this release does not have.

    References
    ----------
    Zhang et al. (2024), Towards Causal Foundation Model: on Duality between Causal Inference and Attention, ICML,
    arXiv:2310.00809.
    """
    refuse_unbuilt(sample_weight=sample_weight, cluster=cluster)
    options = EstimatorOptions(
        checkpoint=checkpoint, device=device, augmentation=augmentation, refine=refine, memory_limit=memory_limit
    )
    X, treatment, outcome = select_columns(X, treatment, outcome, covariates)
    analysis = analyse(
        X, treatment, outcome, treatment_value=treatment_value, control_value=control_value, options=options
    )
    return analysis.effect(target_units, confidence_level)


def select_columns(X: Any, treatment: Any, outcome: Any, covariates: Sequence[str] | None) -> tuple[Any, Any, Any]:
    """Resolve column names in a DataFrame to covariates, treatment and outcome.

    Raises
    ------
    InputError
        If a named column is missing or has two roles.
    InputTypeError
        If names are given and ``X`` is no pandas DataFrame.
    """
    names = [name for name in (treatment, outcome) if isinstance(name, str)]
    if not names and covariates is None:
        return X, treatment, outcome
    if type(X).__module__.startswith("dask"):
        raise NotImplementedError("Dask DataFrames are not in this release; pass X.compute().")
    if not isinstance(X, pd.DataFrame):
        raise InputTypeError(
            f"column names need X as a pandas DataFrame, got {type(X).__name__}; pass arrays or a DataFrame."
        )
    if isinstance(covariates, str):
        raise InputTypeError(f"covariates must be a list of column names, got the text {covariates!r}.")
    chosen = [name for name in X.columns if name not in names] if covariates is None else list(covariates)
    missing = [name for name in [*names, *chosen] if name not in X.columns]
    if missing:
        raise InputError(f"columns {missing} are not in X; it has {[str(name) for name in X.columns]}.")
    double = [name for name in chosen if name in names]
    if double or len(set(names)) < len(names):
        raise InputError(
            f"expected each column in one role, got {double or names} in two; leave it out of one of them."
        )
    roles = [X[role] if isinstance(role, str) else role for role in (treatment, outcome)]
    return X[chosen], roles[0], roles[1]
