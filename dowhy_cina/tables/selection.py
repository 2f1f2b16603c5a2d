"""Columns of a table that are named: those of the roles, and the covariates."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.tables.columns import is_hashable


def select_columns(X: Any, roles: Sequence[Any], covariates: Sequence[str] | None) -> tuple[Any, tuple[Any, ...]]:
    """Resolve column names in a DataFrame to covariates and to the columns of the roles: treatment, outcome and others.

    Raises
    ------
    InputError
        If a named column is missing or has two roles.
    InputTypeError
        If names are given and ``X`` is no pandas DataFrame.
    """
    names = [role for role in roles if _is_name(role, X)]
    if not names and covariates is None:
        return X, tuple(roles)
    if not isinstance(X, pd.DataFrame):
        raise InputTypeError(
            f"column names need X as a pandas DataFrame, got {type(X).__name__}; pass arrays or a DataFrame."
        )
    if isinstance(covariates, str) or not (covariates is None or isinstance(covariates, Iterable)):
        raise InputTypeError(f"covariates must be a list of column names, got {covariates!r}.")
    chosen = [name for name in X.columns if name not in names] if covariates is None else list(covariates)
    odd = [name for name in chosen if not isinstance(name, Hashable)]
    if odd:
        raise InputTypeError(f"covariates must be a list of column names, got {odd[0]!r} among them.")
    twice = [name for name in names if np.sum(X.columns == name) > 1]
    if twice:
        raise InputError(f"X: expected distinct column names, got {twice} more than once. Rename them.")
    missing = [name for name in [*names, *chosen] if name not in X.columns]
    if missing:
        raise InputError(f"columns {missing} are not in X; it has {[str(name) for name in X.columns]}.")
    double = [name for name in chosen if name in names]
    if double or len(set(names)) < len(names):
        raise InputError(
            f"expected each column in one role, got {double or names} in two; leave it out of one of them."
        )
    return X[chosen], tuple(X[role] if _is_name(role, X) else role for role in roles)


def _is_name(role: Any, X: Any) -> bool:
    """Whether a role is the name of a column: a text, or a number or tuple that a column has as its name."""
    if isinstance(role, str):
        return True
    may_be = isinstance(role, int | tuple) and is_hashable(role) and isinstance(X, pd.DataFrame)
    return may_be and role in X.columns
