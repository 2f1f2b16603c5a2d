"""The rows that an effect is wanted for, as DoWhy's ``target_units`` name them.

Letters: N rows of the fitted table, D covariates, M target rows.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dowhy_cina.adapter.host import (
    NAMED_TARGETS,
    RANDOM_COMMON_CAUSE,
    FittedTable,
    Positions,
    check_columns,
    check_frame,
)
from dowhy_cina.adapter.masks import as_mask, named_rows
from dowhy_cina.errors import InputError, came, check_choice


@dataclasses.dataclass(frozen=True)
class TargetRows:
    """The rows an effect is wanted for: rows of the fitted table, or covariate rows from elsewhere."""

    name: str  # one of NAMED_TARGETS, or "rows"
    frame: pd.DataFrame  # the frame that holds the rows
    positions: Positions  # (M,) their positions in it
    in_table: bool  # whether frame holds the fitted rows, in the fitted table's order

    def units(self, table: FittedTable) -> str | NDArray[np.bool_] | pd.DataFrame:
        """Give the target as ``Analysis.effect`` takes it: its name, a mask (N,) or covariate rows (M, D).

        Raises
        ------
        InputError
            If rows from elsewhere lack a covariate, or are to be an overlap population.
        """
        if self.in_table:
            if self.name in NAMED_TARGETS:
                return self.name
            mask = np.zeros(len(self.frame), dtype=bool)
            mask[self.positions] = True
            return mask
        if self.name == "overlap":
            raise InputError(
                "target_units='overlap' weights the fitted rows by their propensities, which other rows do not have: "
                "estimate it on the fitted table."
            )
        rows, names = self.frame.iloc[self.positions], list(table.covariates.columns)
        if RANDOM_COMMON_CAUSE in names and RANDOM_COMMON_CAUSE not in rows.columns:
            # It depends on nothing, so the table's own values have the distribution it would have in the target.
            rows = rows.assign(**{RANDOM_COMMON_CAUSE: np.resize(table.covariates[RANDOM_COMMON_CAUSE], len(rows))})
        check_columns(rows, names, "the frame with the target units")
        return rows[names]

    def columns(self, names: list[str]) -> pd.DataFrame:
        """Some columns of the rows (M), a frame of their own whose index is the rows' positions."""
        return self.frame[names].iloc[self.positions].set_axis(self.positions)

    def part(self, positions: Positions) -> TargetRows:
        """Restrict the target to some of its rows, given by their positions in its frame."""
        return TargetRows("rows", self.frame, positions, self.in_table)

    def in_resample(self, rows: Positions) -> TargetRows:
        """Give the target in a resample of the fitted table; rows from elsewhere stay as they are."""
        if not self.in_table:
            return self
        member = np.zeros(len(self.frame), dtype=bool)
        member[self.positions] = True
        return TargetRows(self.name, self.frame.iloc[rows], np.flatnonzero(member[rows]), in_table=True)


def resolve(target_units: Any, data: pd.DataFrame, table: FittedTable, treated: Any, control: Any) -> TargetRows:
    """Find the rows that DoWhy's ``target_units`` mean.

    Parameters
    ----------
    target_units
        "ate", "att", "atc", "overlap", a function of ``data`` that gives a boolean per row, or a DataFrame of covariate
        rows.
    data
        Frame that names and functions refer to, the fitted one or another.
    table
        Fitted table.
    treated, control
        The two values of the treatment that are compared.

    Raises
    ------
    InputError, InputTypeError
        If no row is meant, or ``target_units`` or ``data`` is none of these.
    """
    if isinstance(target_units, pd.DataFrame):
        target = TargetRows("rows", target_units, np.arange(len(target_units)), in_table=False)
    elif callable(target_units) or (isinstance(target_units, str) and target_units in NAMED_TARGETS):
        check_frame(data)
        if callable(target_units):
            name, rows = "rows", as_mask(target_units(data), data)
        else:
            name, rows = target_units, named_rows(target_units, data, table.treatment.name, treated, control)
        target = _rows_of(name, rows, data, table, (treated, control))
    else:
        if isinstance(target_units, str):
            check_choice(target_units, NAMED_TARGETS, "target_units")
        raise InputError(
            "target_units must be 'ate', 'att', 'atc', 'overlap', a function that takes the data and gives a boolean "
            f"per row, or a DataFrame of covariate rows, got {came(target_units)}: of a mask make `lambda data: mask`."
        )
    # An arm that the fitted table lacks is the analysis's to refuse: it can say what the treatment's values are.
    if len(target.positions) == 0 and not (target.in_table and target.name in NAMED_TARGETS):
        raise InputError("target_units select no row: expected at least one.")
    return target


def _rows_of(
    name: str, mask: NDArray[np.bool_], data: pd.DataFrame, table: FittedTable, values: tuple[Any, Any]
) -> TargetRows:
    """Make the target from a mask over ``data``; of the fitted rows, in their order, those that are not set aside."""
    order = table.order_in(data)
    if order is None:
        return TargetRows(name, data, np.flatnonzero(mask), in_table=False)
    frame = data if (order[:-1] < order[1:]).all() else data.iloc[order]
    return TargetRows(name, frame, np.flatnonzero(mask[order] & table.counts(values)), in_table=True)
