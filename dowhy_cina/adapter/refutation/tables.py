"""The fitted table in the form that refits are drawn from, and back: encoded for the batch, or as a frame.

Letters: N rows of the model's data, n rows of a refit, C covariates of numbers, L covariates of labels.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dowhy_cina._caching import cached_property
from dowhy_cina.adapter.estimator import CinaEstimator
from dowhy_cina.adapter.host import NAMED_TARGETS, RANDOM_COMMON_CAUSE, FittedTable, single
from dowhy_cina.adapter.masks import rows_equal
from dowhy_cina.adapter.targets import resolve
from dowhy_cina.calls.batch import EncodedTable, HeldSettings
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError
from dowhy_cina.tables import Preprocessor, check_outcome
from dowhy_cina.tables.reading import column_levels, read_table

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


@dataclass(frozen=True)
class RefitTable:
    """What one refit is made from; a refuter makes it out of the fitted table's own.

    Attributes
    ----------
    rows : ndarray, shape (n,)
        Positions in the model's data.
    numbers : ndarray, shape (C, n)
        Covariates of numbers and booleans, NaN where missing.
    codes : ndarray, shape (L, n)
        Covariates of labels as positions among their levels.
    treatment : Series, shape (n,)
        Under the name that the refuter gives it.
    outcome : Series of float64, shape (n,)
        Under the name that the refuter gives it.
    noise : ndarray, shape (n,), or None
        A covariate that is not in the data.
    changed : tuple of column names
        Covariates whose values are not those of the data.
    """

    rows: Positions
    numbers: Array
    codes: NDArray[np.intp]
    treatment: pd.Series[Any]
    outcome: pd.Series[Any]
    noise: Array | None = None
    changed: tuple[Hashable, ...] = ()

    def take(self, at: Positions) -> RefitTable:
        """Take rows by position, with repetition."""
        return replace(
            self,
            rows=self.rows[at],
            numbers=self.numbers[:, at],
            codes=self.codes[:, at],
            treatment=self.treatment.iloc[at],
            outcome=self.outcome.iloc[at],
            noise=None if self.noise is None else self.noise[at],
        )


@dataclass(frozen=True)
class RefitSetting:
    """What all refits of an estimate share.

    Attributes
    ----------
    data : DataFrame, N rows
        The model's data; never changed.
    table : RefitTable
        The fitted columns of it.
    number_names, label_names : tuple of column names
        Covariates of numbers (C) and of labels (L).
    levels : tuple of tuple
        Levels of each covariate of labels, in the preprocessor's order; None for missing.
    row_roles : bool
        Whether the rows carry sample weights or clusters.
    common_causes : DataFrame or None
        One-hot encoded adjustment set, as DoWhy's estimators keep it.
    treated, control : Any
        Compared values of the treatment.
    effect : float
        The estimate.
    target_units : Any
        As DoWhy takes them.
    estimator : CinaEstimator
        Fitted to the model's data.
    estimand : Any
        DoWhy's, of the estimate.
    """

    data: pd.DataFrame
    table: RefitTable
    number_names: tuple[Hashable, ...]
    label_names: tuple[Hashable, ...]
    levels: tuple[tuple[Any, ...], ...]
    row_roles: bool
    common_causes: pd.DataFrame | None
    treated: Any
    control: Any
    effect: float
    target_units: Any
    estimator: CinaEstimator
    estimand: Any

    @property
    def options(self) -> EstimatorOptions:
        """Options of the estimate."""
        options: EstimatorOptions = self.estimator.options
        return options

    @property
    def takes_batches(self) -> bool:
        """Whether refits can share a forward pass, which knows named targets, rows of the table, and no more roles."""
        target = self.target_units
        known = callable(target) or (isinstance(target, str) and target in NAMED_TARGETS)
        return known and not self.row_roles and self.options.checkpoint != "exact"

    def arms(self, table: RefitTable) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Tell the treated and the control rows (n,)."""
        return rows_equal(table.treatment, self.treated), rows_equal(table.treatment, self.control)

    def encode(self, table: RefitTable) -> EncodedTable:
        """Preprocess the rows of the two arms, as the estimator does with each table it is fitted to.

        Raises
        ------
        InputError
            If an arm, or the target in it, has no row, or an outcome is missing.
        """
        treated, control = self.arms(table)
        keep = treated | control
        for name, rows, value in (("treated", treated, self.treated), ("control", control, self.control)):
            if not rows.any():
                raise InputError(f"no {name} row: no treatment equals {value!r}.")
        target = self.target_units
        if callable(target):
            target = self._mask(table)[keep]
            if not target.any():
                raise InputError("the target units name no row of the compared arms.")
        kept = table if keep.all() else table.take(np.flatnonzero(keep))
        treatment = treated[keep].astype(np.float64)
        covariates, names = self._covariates(kept, treatment)
        return EncodedTable(covariates, treatment, check_outcome(kept.outcome, len(kept.rows)), target, names)

    def _covariates(self, table: RefitTable, treatment: Array) -> tuple[Array, tuple[str, ...]]:
        """Standardise covariates (n, D) and name them; those of the fitted table once for all refits that keep them."""
        own = self.table
        kept = table.numbers is own.numbers and table.codes is own.codes and table.noise is None
        return self._own_covariates if kept else _standardised(table, treatment)

    @cached_property
    def _own_covariates(self) -> tuple[Array, tuple[str, ...]]:
        return _standardised(self.table, self.arms(self.table)[0].astype(np.float64))

    @cached_property
    def held(self) -> HeldSettings:
        """Settings that the network predicts for the table, which its refits hold."""
        return HeldSettings.of(self.encode(self.table), self.options)

    def frame(self, table: RefitTable) -> pd.DataFrame:
        """Give the refit's data as DoWhy would hand it to an estimator."""
        frame = self.data.iloc[table.rows].copy()
        new: dict[Hashable, Any] = {
            name: pd.array(values, dtype=self.data[name].dtype)
            for name, values in zip(self.number_names, table.numbers, strict=True)
            if name in table.changed
        }
        for name, levels, codes in zip(self.label_names, self.levels, table.codes, strict=True):
            if name in table.changed:
                values = pd.Series(np.array(levels, dtype=object)[codes], index=frame.index)
                new[name] = values.astype(self.data[name].dtype)
        if table.noise is not None:
            new[RANDOM_COMMON_CAUSE] = table.noise
        new |= {column.name: column.to_numpy() for column in (table.treatment, table.outcome)}
        for name, values in new.items():
            frame[name] = values
        return frame

    def _mask(self, table: RefitTable) -> NDArray[np.bool_]:
        """Rows (n,) that a function given as target picks."""
        frame = self.frame(table)
        mask: NDArray[np.bool_] = np.zeros(len(frame), dtype=bool)
        # Named by the treatment alone: the function has the whole frame, and the rows are the refit's own.
        fitted = FittedTable(pd.DataFrame(index=frame.index), frame[table.treatment.name], frame[table.outcome.name])
        mask[resolve(self.target_units, frame, fitted, self.treated, self.control).positions] = True
        return mask

    def estimate(self, table: RefitTable) -> float:
        """Estimate from a refit alone, through DoWhy's interface, which takes whatever the estimate took."""
        frame = self.frame(table)
        estimand = copy.deepcopy(self.estimand)
        estimand.treatment_variable, estimand.outcome_variable = [table.treatment.name], [table.outcome.name]
        if table.noise is not None:
            estimand.set_adjustment_set([*(estimand.get_adjustment_set() or []), RANDOM_COMMON_CAUSE])
        estimator = self.estimator.get_new_estimator_object(estimand)
        estimator.fit(frame, effect_modifier_names=self.estimator._effect_modifier_names)
        estimate = estimator.estimate_effect(
            frame, treatment_value=self.treated, control_value=self.control, target_units=self.target_units
        )
        return float(estimate.value)


def read_setting(data: pd.DataFrame, estimand: Any, estimate: Any) -> RefitSetting:
    """Fit an estimator to the data as each of DoWhy's refuters does, and encode the columns that it takes.

    Parameters
    ----------
    data : DataFrame
        The model's.
    estimand, estimate : Any
        DoWhy's; the estimate's estimator is a :class:`dowhy_cina.CinaEstimator`.

    Raises
    ------
    InputError, InputTypeError
        If a column is missing or cannot be read.
    """
    old: CinaEstimator = estimate.estimator
    estimator = old.get_new_estimator_object(estimand)
    fitted = _fitted(estimator, data, old._effect_modifier_names)
    treated, control = (
        single(estimate.treatment_value, "treatment_value"),
        single(estimate.control_value, "control_value"),
    )
    counts = fitted.counts((treated, control))
    if not counts.all():  # rows that the estimate sets aside, and no refuter should draw from
        data = data[counts]
        fitted = _fitted(estimator, data, old._effect_modifier_names)
    names = list(fitted.covariates.columns)
    table = read_table(fitted.covariates)
    levels = tuple(column_levels(column, str(names[at])) for at, column in table.text.items())
    codes = [_codes(column, found) for column, found in zip(table.text.values(), levels, strict=True)]
    return RefitSetting(
        data=data,
        table=RefitTable(
            rows=np.arange(len(data)),
            numbers=table.numbers,
            codes=np.array(codes, dtype=np.intp).reshape(len(codes), len(data)),
            treatment=fitted.treatment,
            outcome=_numbers(fitted.outcome),
        ),
        number_names=tuple(names[at] for at in table.numeric),
        label_names=tuple(names[at] for at in table.text),
        levels=levels,
        row_roles=fitted.sample_weight is not None or fitted.cluster is not None,
        common_causes=estimator._observed_common_causes,
        treated=treated,
        control=control,
        effect=float(estimate.value),
        target_units="ate" if old._target_units is None else old._target_units,
        estimator=estimator,
        estimand=estimand,
    )


def _fitted(estimator: CinaEstimator, data: pd.DataFrame, modifiers: Any) -> FittedTable:
    """Fit an estimator, and give the columns that it takes."""
    estimator.fit(data, effect_modifier_names=modifiers)
    assert estimator._table is not None
    return estimator._table


def _columns(table: RefitTable) -> Array:
    """Covariates as columns of numbers (E, n), an indicator per level that occurs, as the preprocessor codes them."""
    blocks = [table.numbers]
    for codes in table.codes:
        present = np.unique(codes)
        shown = present[1:] if len(present) == 2 else present
        blocks.append((codes[None, :] == shown[:, None]).astype(np.float64))
    if table.noise is not None:
        blocks.append(table.noise[None, :])
    return np.concatenate(blocks)


def _standardised(table: RefitTable, treatment: Array) -> tuple[Array, tuple[str, ...]]:
    preprocessor = Preprocessor()
    covariates = preprocessor.fit_transform(_columns(table).T, treatment)
    return covariates, tuple(preprocessor.names_out)


def _codes(column: pd.Series[Any], levels: tuple[Any, ...]) -> NDArray[np.intp]:
    """Positions of a column's values among its levels."""
    codes, unique = pd.factorize(column)
    place = {level: index for index, level in enumerate(levels)}
    found = [place[value] for value in unique.tolist()]
    codes_of: NDArray[np.intp] = np.array([*found, place.get(None, -1)], dtype=np.intp)[codes]  # code -1 is missing
    return codes_of


def _numbers(outcome: pd.Series[Any]) -> pd.Series[Any]:
    """Outcome as float64, missing where it is: rows that the estimate set aside need none."""
    present = outcome.notna().to_numpy()
    values = np.full(len(outcome), np.nan)
    values[present] = check_outcome(outcome[present], int(present.sum()))
    return pd.Series(values, index=outcome.index, name=outcome.name)
