"""Whose average effect is asked for: populations by name, as a mask of the table's rows, or as a frame of rows.

Letters: N rows of the table, M target rows, D covariates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dowhy_cina.errors import InputError, InputTypeError, check_choice
from dowhy_cina.estimating.targets import NAMED, Target
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.model.state import TableBatch, ZeroShot
from dowhy_cina.results.heterogeneity.scores import check_level
from dowhy_cina.tables.matching import check_order, members_of, name_of, places_by_label
from dowhy_cina.tables.preparation import PreparedTable
from dowhy_cina.tables.reading import as_array


def check_units(prepared: PreparedTable, units: Any) -> npt.NDArray[np.bool_] | None:
    """Refuse what names no population; returns the mask of the compared rows that are in it, where it is one.

    Raises
    ------
    InputError, InputTypeError
    """
    if isinstance(units, str):
        check_choice(units, NAMED, "target_units")
        return None
    if isinstance(units, pd.DataFrame):
        if not len(units):
            raise InputError("target_units: expected at least one covariate row, got an empty DataFrame.")
        return None
    shape = prepared.keep.shape
    expected = f"expected one of {', '.join(map(repr, NAMED))}, a DataFrame of rows or a boolean mask of shape {shape}"
    if callable(units):
        raise InputTypeError(f"target_units: {expected}, got a function: give the mask that it makes of the table.")
    check_order(units, prepared.given[0], "target_units")
    mask = as_array(units, "target_units")
    if mask.dtype != np.bool_ or mask.shape != shape:
        raise InputTypeError(
            f"target_units: {expected}, got {type(units).__name__} of dtype {getattr(units, 'dtype', mask.dtype)} and "
            f"shape {mask.shape}; missing values name no row: fill them with False."
        )
    chosen: npt.NDArray[np.bool_] = mask[prepared.keep]
    if not chosen.any():
        raise InputError("target_units: the mask names no row of the compared arms; expected at least one True.")
    return chosen


def check_request(prepared: PreparedTable, units: Any, level: Any) -> None:
    """Refuse a target population or a confidence level that nothing can be estimated for, before the forward pass.

    Raises
    ------
    InputError, InputTypeError
    """
    check_level(level, "confidence_level")
    check_units(prepared, units)


def target_of(units: Any, prepared: PreparedTable, table: TableBatch, state: ZeroShot) -> Target:
    """Target population of a table after its forward pass.

    Raises
    ------
    InputError, InputTypeError
        As :func:`check_units`, and for rows that do not have the table's covariates.
    """
    mask = check_units(prepared, units)
    if isinstance(units, str):
        return Target.named(units, table, state)
    if mask is None:
        return _of_frame(units.index, prepared.preprocessor.transform(units), prepared, table)
    members = mask[prepared.rows.order] * np.float64(1)
    name = name_of(members, prepared.rows.treatment)
    return Target.rows(torch.from_numpy(members)[None].to(prepared.device), table, name)


def _of_frame(index: pd.Index[Any], encoded: Array, prepared: PreparedTable, table: TableBatch) -> Target:
    """Population of encoded covariate rows (M, D): the table's own rows where they are all there."""
    places = places_by_label(index, prepared.given[0], prepared.keep)
    members = members_of(encoded, prepared.encoded, prepared.treatment, places)
    if members is None:
        return Target.elsewhere(torch.from_numpy(encoded)[None].to(prepared.device), table)
    own = torch.from_numpy(members[prepared.rows.order])[None].to(prepared.device)
    if prepared.rows.weighted:
        return Target.counted(own)
    return Target.rows(own, table, name_of(members, prepared.treatment))
