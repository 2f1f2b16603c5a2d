"""What has to be known of all partitions before their rows can be encoded: levels, moments, and the rows that lead.

Letters: n rows of a partition, D encoded columns.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from dowhy_cina.calls.partitioned.partitions import Extremes, Partitions, Spread, Sums
from dowhy_cina.errors import InputError
from dowhy_cina.mathematics.passes import gather_rows
from dowhy_cina.mathematics.scaling import CONSTANT_TOLERANCE, Array, unit_of
from dowhy_cina.tables import Preprocessor, canonical_row_key, check_outcome, encode_treatment
from dowhy_cina.tables.canonical import turns_of
from dowhy_cina.tables.columns import holds_numbers, number_column
from dowhy_cina.tables.preparation import PILOT_ROWS, stratified_rows

#: Rows that imputed values and the order of the columns are learned from; a table no longer than this is learned whole.
SAMPLE_ROWS = 100_000
#: Distinct rows that are among them, where there are so many: a long table may have few.
LEAST_DISTINCT = 4096


@dataclass(frozen=True)
class Roles:
    """Columns of the table."""

    covariates: list[str]
    treatment: str
    outcome: str

    @property
    def all(self) -> list[str]:
        """Every column that is read."""
        return [*self.covariates, self.treatment, self.outcome]


@dataclass(frozen=True)
class Coding:
    """How the partitions' rows become numbers; learned from all of them.

    Attributes
    ----------
    roles : Roles
    treated, control : object
        Values of the two arms.
    preprocessor : Preprocessor
    unit : float
        Power of two that brings the outcome's size to about one.
    centre, mean, scale : float
        A median of the outcome, its mean less this, which costs no digits, and its standard deviation, in this unit.
    outcome_range : float
        Largest outcome less the smallest, in this unit; zero of what differs by rounding alone.
    varies : bool
        Whether outcomes vary, be it by rounding.
    """

    roles: Roles
    treated: Any
    control: Any
    preprocessor: Preprocessor
    unit: float = 1.0
    centre: float = 0.0
    mean: float = 0.0
    scale: float = 1.0
    outcome_range: float = 0.0
    varies: bool = True

    @property
    def outcome_scale(self) -> float:
        """Standard deviation of the outcome, in its own unit."""
        return self.scale / self.unit

    def outcomes(self, rows: pd.DataFrame) -> Array:
        """Checked outcomes of some rows, about their mean, in the outcome's power of two."""
        return check_outcome(rows[self.roles.outcome], len(rows)) * self.unit - self.centre - self.mean


def check_partition(part: pd.DataFrame, roles: Roles) -> pd.DataFrame:
    """Return the columns of a partition; categories as what they stand for, since each partition may have its own.

    Raises
    ------
    InputError
        If one is missing.
    """
    missing = [name for name in roles.all if name not in part.columns]
    if missing:
        raise InputError(
            f"a partition of {len(part)} rows lacks the columns {missing}; it has "
            f"{[str(name) for name in part.columns]}. Write its file anew with the columns of the others."
        )
    part = part[roles.all]
    labels = [name for name in roles.all if isinstance(part[name].dtype, pd.CategoricalDtype)]
    if not labels:
        return part
    part = part.astype(dict.fromkeys(labels, object))
    # Text, or categories that are numbers would be read as such.
    return part.assign(**{name: part[name].map(str, na_action="ignore") for name in labels if name in roles.covariates})


def scan(part: pd.DataFrame, roles: Roles) -> Sums:
    """Rows, missing treatments, and each treatment value with its rows."""
    values = check_partition(part, roles)[roles.treatment]
    present = values.dropna()
    codes = pd.factorize(present)[0]  # in the order in which values come, as of those without repetitions
    return {
        "rows": len(part),
        "missing": len(part) - len(present),
        "levels": [present.drop_duplicates()],
        "repeats": [np.bincount(codes)],
    }


def find_arms(partitions: Partitions, roles: Roles, treatment_value: Any, control_value: Any) -> tuple[int, Any, Any]:
    """Rows of the table and the values of its two arms.

    Raises
    ------
    InputError
        If the table has no row, treatments are missing, or the arms cannot be told.
    """
    found = partitions.run(scan, ["part"], roles=roles)
    if not found.get("rows"):
        raise InputError("expected at least one treated and one control row, got an empty table.")
    if found["missing"]:
        raise InputError(
            f"treatment: expected a value in every row, got {found['missing']} missing of {found['rows']}. "
            "Leave these rows out."
        )
    levels = pd.concat([values for values in found["levels"] if len(values)])
    coding = encode_treatment(levels, treatment_value, control_value, np.concatenate(found["repeats"]))[2]
    return found["rows"], coding.treated, coding.control


def arms_only(part: pd.DataFrame, coding: Coding) -> tuple[pd.DataFrame, npt.NDArray[np.bool_], Array]:
    """Rows of the two arms, which rows they are, and their treatment as 0 or 1."""
    part = check_partition(part, coding.roles)
    values = part[coding.roles.treatment]
    treated = np.asarray(values == coding.treated, dtype=np.bool_)
    keep = treated | np.asarray(values == coding.control, dtype=np.bool_)
    # A selection of all rows would be a copy.
    return part if keep.all() else part.loc[keep], keep, treated[keep].astype(np.float64)


@dataclass(frozen=True)
class DistinctRows:
    """Rows, and how many of the table each of them stands for, shape (n,)."""

    rows: pd.DataFrame
    counts: npt.NDArray[np.int64]

    @classmethod
    def joined(cls, parts: list[DistinctRows]) -> DistinctRows:
        """Those of several partitions, of which some may be the same."""
        filled = [part for part in parts if len(part.rows)] or parts
        return cls(pd.concat([part.rows for part in filled]), np.concatenate([part.counts for part in filled]))

    def repeated(self, size: int) -> pd.DataFrame:
        """Each row as often as there are such rows; of more than ``size`` in all, by its share of these, but once."""
        share = min(1.0, size / max(self.counts.sum(), 1))
        times = np.maximum(np.rint(self.counts * share).astype(np.int64), 1)
        return self.rows.iloc[np.repeat(np.arange(len(times)), times)]


def sample(part: pd.DataFrame, coding: Coding, share: float) -> Sums:
    """Rows that :func:`choose_rows` takes of a partition, which hold those that it takes of the table, and categories.

    Of a partition with values that no estimate can be made from, their number instead.
    """
    rows, _, _ = arms_only(part, coding)
    labels = part.dtypes.index[[isinstance(dtype, pd.CategoricalDtype) for dtype in part.dtypes]]
    found: Sums = {"labels": Counter(set(labels) & set(coding.roles.covariates))}
    every = DistinctRows(rows, np.ones(len(rows), dtype=np.int64))
    if not len(rows):
        return {**found, "sample": [every]}
    unusable = count_unusable(rows, coding.roles)
    if unusable:
        return {**found, "sample": [DistinctRows(rows.iloc[:0], every.counts[:0])], "unusable": unusable}
    size = torch.from_numpy(np.abs(check_outcome(rows[coding.roles.outcome], len(rows))))
    chosen = choose_rows(every, coding.roles, share)
    return {**found, "sample": [chosen], "size": Extremes(size.amin(), size.amax())}


def count_unusable(rows: pd.DataFrame, roles: Roles) -> Counter[str]:
    """Missing or infinite outcomes and infinite covariates, by column; empty if there are none."""
    infinite = {
        name: int(np.isinf(rows[name].to_numpy(dtype=np.float64, na_value=np.nan)).sum())
        for name in roles.covariates
        if pd.api.types.is_float_dtype(rows[name])
    }
    outcome = rows[roles.outcome]
    missing = int(outcome.isna().sum())
    if missing < len(outcome) and holds_numbers(outcome, "outcome"):
        missing = int((~np.isfinite(number_column(outcome, "outcome"))).sum())
    return +Counter({**infinite, roles.outcome: missing})


def refuse_unusable(unusable: Counter[str], roles: Roles, rows: int) -> None:
    """Say how many values of the whole table are unusable: where they are in a partition would tell nothing.

    Raises
    ------
    InputError
        If there are any.
    """
    if not unusable:
        return
    if roles.outcome in unusable:
        raise InputError(
            f"outcome: expected finite numbers, got {unusable[roles.outcome]} missing or infinite of {rows}. Leave "
            "these rows out or fill them in; the estimator does not guess outcomes."
        )
    name, count = unusable.most_common(1)[0]
    raise InputError(
        f"covariate {name!r}: expected finite numbers or missing values, got {count} infinite of {rows}. Correct these "
        "values, or set them to NaN to have them imputed."
    )


def choose_rows(every: DistinctRows, roles: Roles, share: float) -> DistinctRows:
    """Rows whose content hashes to a share of all numbers, and one for every level, extreme and missing value.

    There are at least :data:`LEAST_DISTINCT` distinct ones, or all. The order of the rows, and how they are split,
    change nothing: of several rows the one with the smallest hash is taken.
    """
    if share >= 1 or not len(every.rows):
        return every
    hashes = pd.util.hash_pandas_object(every.rows, index=False).to_numpy()
    ascending, first, kind = np.unique(hashes, return_index=True, return_inverse=True)
    rows, counts = every.rows.iloc[first], np.bincount(kind, every.counts).astype(np.int64)
    chosen = ascending < np.uint64(share * float(2**64 - 2**12))
    chosen[:LEAST_DISTINCT] = True
    for name in roles.covariates:
        column = rows[name]
        sets = [np.flatnonzero(column.isna())]
        if not pd.api.types.is_numeric_dtype(column):
            chosen[~column.duplicated().to_numpy()] = True
        elif column.notna().any():
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            sets += [np.flatnonzero(values == end) for end in (np.nanmin(values), np.nanmax(values))]
        chosen[[places[0] for places in sets if len(places)]] = True
    return DistinctRows(rows.iloc[chosen], counts[chosen])


def moments(part: pd.DataFrame, coding: Coding) -> Sums:
    """Moments of the encoded columns about the sample's, and of the outcome."""
    rows, _, _ = arms_only(part, coding)
    if not len(rows):
        return {}
    outcome = torch.from_numpy(coding.outcomes(rows))
    columns = coding.preprocessor.deviations(rows[coding.roles.covariates])
    return {
        "columns": Spread.of(torch.from_numpy(columns)),
        "range": Extremes(outcome.amin(), outcome.amax()),
        "outcome": Spread.of(outcome[:, None]),
    }


def learn(partitions: Partitions, roles: Roles, values: tuple[Any, Any]) -> Coding:
    """Learn how rows are encoded from all partitions.

    Imputed values and the order of the columns come from a sample of :data:`SAMPLE_ROWS` rows; levels, means and
    standard deviations from all.
    """
    rows, treated, control = find_arms(partitions, roles, *values)
    coding = Coding(roles, treated, control, Preprocessor())
    found = partitions.run(sample, ["part"], coding=coding, share=SAMPLE_ROWS / rows)
    refuse_unusable(found.get("unusable", Counter()), roles, rows)
    size = float(found["size"].upper)
    unit = float(unit_of(size))
    table = choose_rows(DistinctRows.joined(found["sample"]), roles, SAMPLE_ROWS / rows).repeated(SAMPLE_ROWS)
    preprocessor = Preprocessor()
    # Categories came as text here, which may read as numbers.
    labels = dict.fromkeys(found["labels"], "category")
    encoded = preprocessor.fit_transform(table[roles.covariates].astype(labels))
    if not encoded.shape[1]:
        raise InputError("expected at least one covariate that varies; without any, compare the arms' means.")
    outcome = check_outcome(table[roles.outcome], len(table))
    coding = Coding(roles, treated, control, preprocessor, unit, float(np.median(outcome * unit)))
    found = partitions.run(moments, ["part"], coding=coding)
    if rows > SAMPLE_ROWS:
        preprocessor = preprocessor.rescaled(found["columns"].mean.numpy(), found["columns"].sd.numpy())
    mean, scale = float(found["outcome"].mean), float(found["outcome"].sd)
    outcome_range = float(found["range"].upper - found["range"].lower)
    varies = outcome_range > 0
    if outcome_range <= CONSTANT_TOLERANCE * size * unit:
        scale, outcome_range = 1.0, 0.0
    return replace(
        coding, preprocessor=preprocessor, mean=mean, scale=scale, outcome_range=outcome_range, varies=varies
    )


@dataclass(frozen=True)
class EncodedPart:
    """Rows of a partition as the model takes them, those of the control arm first.

    Attributes
    ----------
    covariates : Tensor, shape (1, n, D)
    treatment, outcome : Tensor, shape (1, n)
        0 or 1; standardised.
    places : Tensor of int, shape (1, n), optional
        Where each row is among the partition's rows of the two arms.
    """

    covariates: torch.Tensor
    treatment: torch.Tensor
    outcome: torch.Tensor
    places: torch.Tensor | None = None

    @classmethod
    def by_arms(cls, covariates: torch.Tensor, treatment: torch.Tensor, outcome: torch.Tensor) -> EncodedPart:
        """Sort rows by their arms."""
        places = treatment.argsort(dim=1, stable=True)
        x, t, y = (gather_rows(values, places) for values in (covariates, treatment, outcome))
        return cls(x, t, y, places)

    def as_they_came(self, values: torch.Tensor) -> Array:
        """Values (1, n) of rows in the order of the partition."""
        assert self.places is not None
        return torch.empty_like(values).scatter(1, self.places, values)[0].numpy()

    @property
    def arm(self) -> int:
        """Arm of the rows; those that a pass looks at together are of one."""
        return int(self.treatment[0, 0])


class Leaders:
    """Rows of each arm that come first by their turns and in canonical order; adding keeps the first of both.

    Parameters
    ----------
    columns : ndarray, shape (n, D + 3)
        Covariates, treatment, outcome and row key.
    """

    def __init__(self, columns: Array) -> None:
        arms = []
        for arm in (0, 1):
            places = np.flatnonzero(columns[:, -3] == arm)
            treatment, outcome, key = columns[places, -3:].T
            order = np.lexsort([outcome, key])
            turns = turns_of(key[order], treatment, outcome[order])
            arms.append(columns[places[order[np.argsort(turns, kind="stable")[:PILOT_ROWS]]]])
        self.columns = np.concatenate(arms)

    def __add__(self, other: Leaders) -> Leaders:
        return Leaders(np.concatenate([self.columns, other.columns]))

    def chosen(self, counts: tuple[int, int], landmarks: int) -> tuple[Array, npt.NDArray[np.int64]]:
        """Pilot rows in canonical order, and the places of the landmarks among them, for arms of these sizes."""
        rows = self.columns[np.lexsort([self.columns[:, -2], self.columns[:, -3], self.columns[:, -1]])]
        total = sum(counts)
        if total > PILOT_ROWS:
            rows = rows[_first(rows, counts, PILOT_ROWS)]
        marks = _first(rows, counts, landmarks) if total > landmarks else np.arange(len(rows))
        return rows[:, :-1], marks


def _first(rows: Array, counts: tuple[int, int], size: int) -> npt.NDArray[np.int64]:
    """Rows that :func:`stratified_rows` takes of the whole table, which has more rows than are here."""
    arm, turns = rows[:, -3], turns_of(rows[:, -1], rows[:, -3], rows[:, -2])
    # The rule looks at the sizes of the arms, up to ``size``, and at the first rows of each.
    lacking = [min(count, size) - int((arm == k).sum()) for k, count in enumerate(counts)]
    filled = np.concatenate([arm, np.zeros(max(lacking[0], 0)), np.ones(max(lacking[1], 0))])
    late = np.full(len(filled) - len(arm), len(filled))
    return stratified_rows(filled, size, turns=np.concatenate([turns, late]))


def encode(part: pd.DataFrame, coding: Coding) -> tuple[EncodedPart, Sums]:
    """Encode a partition; the sums are the arms' sizes, those of the outcome's shape, and the leading rows."""
    rows, keep, arm = arms_only(part, coding)
    width = len(coding.preprocessor.names_out)
    x = coding.preprocessor.transform(rows[coding.roles.covariates]) if len(rows) else np.zeros((0, width))
    y = coding.outcomes(rows) / coding.scale if len(rows) else arm
    encoded = EncodedPart.by_arms(*(torch.from_numpy(values)[None] for values in (x, arm, y)))
    leaders = Leaders(np.column_stack([x, arm, y, canonical_row_key(x)]))
    totals = torch.tensor([len(arm), arm.sum(), (y**4).sum(), np.abs(y).sum()], dtype=torch.float64, device="cpu")
    return encoded, {"totals": totals, "leaders": leaders, "aside": int((~keep).sum())}
