"""What DoWhy hands to an estimator, checked: settings, estimand, treatment values, and the columns of its table.

Letters: N rows of the fitted table, D covariates.

Notes
-----
What the adapter leans on that DoWhy does not promise, without the hooks that its documentation asks an estimator for.
A test looks for each of them in the installed release. ``estimator`` stands for ours, as DoWhy's refuters and
interpreters read it.

================================================================= ========== ===========================================
part of DoWhy                                                     used       in       if it moves
================================================================= ========== ===========================================
``causal_estimators.get_class_object``                            plugin     "backdoor.cina" is not found
``CausalModel._data``                                             battery    ``refute`` has no table
``CausalEstimator.__init__``                                      host       settings of its signature are refused
``CausalEstimator._target_estimand``                              estimator  nothing to fit
``CausalEstimator._significance_test``                            estimator  refits test significance
``CausalEstimator._effect_strength_eval``                         estimator  refits evaluate the effect's strength
``CausalEstimator._confidence_intervals``                         estimator  estimates print no interval
``CausalEstimator.need_conditional_estimates``                    estimator  no effects by group, or some in every refit
``CausalEstimator._set_effect_modifiers``                         estimator  no effects by group
``CausalEstimator._effect_modifier_names``                        estimator  modifiers are no covariates
``CausalEstimator._estimate_conditional_effects``                 estimator  no effects by group
``CausalEstimator._estimate_effect_fn``                           estimator  no effects by group for an earlier estimate
``CausalEstimator._encode``                                       estimator  no hidden common causes
``CausalEstimator._encoders``                                     estimator  refits share encoders with the estimate
``CausalEstimator.reset_encoders``                                estimator  categories of an earlier table stay
``utils.encoding.Encoders``                                       estimator  refits cannot be made
``CausalEstimator._estimate_confidence_intervals``                estimator  intervals come from a bootstrap
``CausalEstimator._estimate_std_error``                           estimator  standard errors come from a bootstrap
``CausalEstimator._test_significance``                            estimator  p-values come from a bootstrap
``CausalEstimator._generate_bootstrap_estimates``                 estimator  resamples lack an arm, or split clusters
``CausalEstimator.BootstrapEstimates``                            resampling no bootstrap
``CausalEstimator._bootstrap_estimates``                          estimator  a bootstrap of an earlier estimate answers
``CausalEstimator._bootstrap_null_estimates``                     estimator  the same for p-values
``CausalEstimator._estimate_std_error_with_bootstrap``            estimator  numpy's numbers instead of plain ones
``CausalEstimator._estimate_confidence_intervals_with_bootstrap`` estimator  the same
``CausalEstimate.add_estimator``                                  estimator  earlier estimates answer for later ones
``CausalEstimate.params``                                         estimator  ``estimate.cina_result`` is missing
``estimator._target_units``                                       estimator  refuters fail
``estimator._treatment_value``                                    estimator  the E-value's analyser fails
``estimator._control_value``                                      estimator  the E-value's analyser fails
``estimator._observed_common_causes``                             estimator  the refuter by a hidden common cause fails
``estimator._observed_common_causes_names``                       estimator  interpreters fail
``w_random``                                                      targets    no random common cause in a target frame
================================================================= ========== ===========================================
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from dowhy.causal_estimator import CausalEstimator
from numpy.typing import NDArray

from dowhy_cina.adapter.masks import rows_equal
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError, InputTypeError, check_known
from dowhy_cina.tables.roles import check_sample_weight, check_value

Positions = NDArray[np.intp]

NAMED_TARGETS = ("ate", "att", "atc", "overlap")
# Settings that name a column of the fitted table with a value for each row.
ROW_COLUMNS = ("sample_weight", "cluster")
HOST_SETTINGS = tuple(
    name
    for name, parameter in inspect.signature(CausalEstimator.__init__).parameters.items()
    if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name not in ("self", "identified_estimand")
)
OPTIONS = tuple(field.name for field in dataclasses.fields(EstimatorOptions))
# DoWhy's random_common_cause refuter adds this column to the table, but cannot add it to a target frame of the user's.
RANDOM_COMMON_CAUSE = "w_random"


def require_torch() -> None:
    """Refuse to go on without torch.

    DoWhy swallows an ImportError of the estimator's module, so that torch is asked for only when an estimator is made.

    Raises
    ------
    ImportError
        If torch cannot be imported, with the command that installs it.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "backdoor.cina needs torch, which cannot be imported: install it with python -m pip install torch."
        ) from error


def merged(settings: Mapping[str, Any], init_params: Mapping[str, Any]) -> dict[str, Any]:
    """Join settings given by name with those in ``init_params``: DoWhy passes either or both.

    Raises
    ------
    InputError
        If a setting is given twice with different values.
    InputTypeError
        If ``init_params`` is no mapping.
    UnknownOptionError
        If a setting is neither DoWhy's nor ours.
    """
    if not isinstance(init_params, Mapping):
        raise InputTypeError(f"init_params must be a mapping of options, got {type(init_params).__name__}.")
    clash = [name for name in init_params if name in settings and not _are_same(settings[name], init_params[name])]
    if clash:
        raise InputError(f"{', '.join(clash)} given twice with different values: by name and in init_params. Give one.")
    check_known([*settings, *init_params], (*OPTIONS, *HOST_SETTINGS, *ROW_COLUMNS), "option of CinaEstimator")
    return {**settings, **init_params}


def _are_same(one: Any, other: Any) -> bool:
    """Whether two settings are equal; of arrays, whether they are one."""
    try:
        return one is other or bool(one == other)
    except (TypeError, ValueError):
        return False


def row_columns(settings: Mapping[str, Any]) -> dict[str, str]:
    """Take the settings that name a column, and the columns they name.

    Raises
    ------
    InputTypeError
        If one holds values instead of a name.
    """
    named = {name: settings[name] for name in ROW_COLUMNS if settings.get(name) is not None}
    for name, column in named.items():
        if not isinstance(column, str):
            raise InputTypeError(
                f"{name} must be the name of a column of the table, got {type(column).__name__}: add the values to the "
                "table as a column."
            )
    return named


def check_identifier(estimand: Any) -> None:
    """Refuse an estimand that adjustment for covariates does not identify.

    Raises
    ------
    InputError, InputTypeError
        If its identifier method is another one, no adjustment set was found for it, or it is no estimand.
    """
    if not hasattr(estimand, "identifier_method"):
        raise InputTypeError(
            f"expected an estimand of DoWhy's, got {type(estimand).__name__}: take that of model.identify_effect()."
        )
    method = estimand.identifier_method
    if method is not None and not method.startswith("backdoor") and method != "general_adjustment":
        raise InputError(
            f"expected an estimand identified by 'backdoor' or 'general_adjustment', got {method!r}: use "
            "method_name='backdoor.cina', or estimand.set_identifier_method('backdoor')."
        )
    estimands = estimand.estimands or {}
    if (method or "backdoor") in estimands and estimands[method or "backdoor"] is None:
        raise InputError(
            f"expected an estimand with an adjustment set, got none for {method or 'backdoor'!r}: no set of observed "
            "variables in this graph blocks the back-door paths."
        )


def only(names: Sequence[str], what: str) -> str:
    """Take the single variable of an estimand.

    Raises
    ------
    InputError
        If there are more or none.
    """
    if len(names) != 1:
        raise InputError(f"expected one {what} variable, got {len(names)}: {list(names)}. Estimate them one at a time.")
    return names[0]


def single(value: Any, what: str) -> Any:
    """Take the single value of a treatment, which DoWhy lets callers wrap in a list.

    Raises
    ------
    InputError, InputTypeError
        If there are more or none, or it is a missing value or no single one.
    """
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) != 1 or values[0] is None:
        raise InputError(f"{what} must be a single value of the treatment, got {value!r}.")
    check_value(values[0], what)
    return values[0]


def column_names(names: Any, what: str) -> list[Hashable] | None:
    """Take a sequence of column names, or None.

    Raises
    ------
    InputTypeError
        If it is a single name or no sequence.
    """
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputTypeError(f"{what} must be a list of column names, got {names!r}.")
    return list(names)


def check_frame(data: Any) -> None:
    """Refuse data that are no table of pandas.

    Raises
    ------
    InputTypeError
        If they are none.
    """
    if not isinstance(data, pd.DataFrame):
        kind = f"{type(data).__module__.partition('.')[0]}.{type(data).__qualname__}"
        raise InputTypeError(
            f"data must be a pandas DataFrame, got {kind}: convert it, or call dowhy_cina.estimate_effect, which takes "
            "arrays and Dask DataFrames."
        )


def check_columns(frame: pd.DataFrame, names: Iterable[Hashable], what: str) -> None:
    """Refuse a frame that lacks a column or has it twice.

    Raises
    ------
    InputError
        If it does.
    """
    missing = [str(name) for name in names if name not in frame.columns]
    if missing:
        raise InputError(
            f"{what} lacks the column(s) {', '.join(missing)}: add them, or take them out of the graph (of "
            "init_params, where they name a cluster or a weight)."
        )
    twice = [] if frame.columns.is_unique else [str(name) for name in names if np.sum(frame.columns == name) > 1]
    if twice:
        raise InputError(f"{what} has the column(s) {', '.join(twice)} more than once: expected one of each name.")


def check_roles(row_columns: Mapping[str, str], treatment: str, outcome: str, covariates: Iterable[Hashable]) -> None:
    """Refuse a treatment or an outcome that is a covariate, and a column of weights or clusters with another role.

    Raises
    ------
    InputError
        If there is one.
    """
    roles = dict.fromkeys(covariates, "a covariate")
    for name, column in {"the treatment": treatment, "the outcome": outcome, **row_columns}.items():
        if column in roles:
            raise InputError(
                f"expected each column in one role, got {column!r} as {name} and as {roles[column]}: take it out of "
                "init_params, or out of the graph, or the common_causes and effect_modifiers, of the model."
            )
        roles[column] = name


@dataclasses.dataclass(frozen=True)
class FittedTable:
    """The columns of the fitted frame that an estimate needs, copied out of it."""

    covariates: pd.DataFrame  # (N, D)
    treatment: pd.Series[Any]  # (N,)
    outcome: pd.Series[Any]  # (N,)
    sample_weight: pd.Series[Any] | None = None  # (N,)
    cluster: pd.Series[Any] | None = None  # (N,)

    def order_in(self, data: pd.DataFrame) -> Positions | None:
        """Find the fitted rows in ``data``.

        Returns
        -------
        ndarray of shape (N,), or None
            Position in ``data`` of each fitted row; None if ``data`` holds other rows, or fewer or more.
        """
        columns = [*dict(self.covariates.items()).values(), self.treatment, self.outcome, *self.row_values().values()]
        names = [column.name for column in columns]
        if len(data) != len(self.treatment) or not all(name in data.columns for name in names):
            return None
        order = np.arange(len(data))
        if not all(_equal_columns(column, data[column.name]) for column in columns):
            own, other = pd.concat(columns, axis="columns"), data[names]
            keys, other_keys = (pd.util.hash_pandas_object(frame, index=False).to_numpy() for frame in (own, other))
            order[np.argsort(keys, kind="stable")] = np.argsort(other_keys, kind="stable")
            if not own.reset_index(drop=True).equals(other.iloc[order].reset_index(drop=True)):
                return None
        return order

    def row_values(self) -> dict[str, pd.Series[Any]]:
        """Give the columns of :data:`ROW_COLUMNS` that there are."""
        values = {name: getattr(self, name) for name in ROW_COLUMNS}
        return {name: column for name, column in values.items() if column is not None}

    def take(self, rows: Positions) -> FittedTable:
        """Take rows by position, with repetition."""
        values = {name: column.iloc[rows] for name, column in self.row_values().items()}
        return FittedTable(self.covariates.iloc[rows], self.treatment.iloc[rows], self.outcome.iloc[rows], **values)

    def arm(self, value: Any) -> NDArray[np.bool_]:
        """Tell the rows (N,) with this value of the treatment."""
        return rows_equal(self.treatment, value)

    def counts(self, values: Sequence[Any]) -> NDArray[np.bool_]:
        """Tell the rows (N,) that are compared: with one of these two values of the treatment, and with a weight."""
        compared: NDArray[np.bool_] = np.logical_or(*(self.arm(value) for value in values))
        if self.sample_weight is None:
            return compared
        return compared & (check_sample_weight(self.sample_weight, len(compared), compared) > 0)


def _equal_columns(left: pd.Series[Any], right: Any) -> bool:
    """Whether the values and types of two columns agree, whatever the index."""
    if not isinstance(right, pd.Series) or left.dtype != right.dtype:
        return False
    if isinstance(left.dtype, np.dtype) and left.dtype.kind in "biuf":  # pandas finds the same, several times as slowly
        return np.array_equal(left.to_numpy(), right.to_numpy(), equal_nan=left.dtype.kind == "f")
    return bool(left.reset_index(drop=True).equals(right.reset_index(drop=True)))
