"""How raw covariates become columns of numbers: levels, imputed values, indicators of what is missing.

Letters: N rows, C raw covariates, E encoded columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dowhy_cina.errors import InputError
from dowhy_cina.mathematics.scaling import Array
from dowhy_cina.tables.reading import Table, column_levels, indicators, level_names
from dowhy_cina.tables.sentinels import Sentinel, sentinels_of, shortest
from dowhy_cina.tables.words import Wording


@dataclass(frozen=True)
class Encoding:
    """How raw covariates become E columns of numbers; fitted once, applied to any table with the same covariates."""

    labels: list[Any]
    named: bool
    names_in: list[str]
    numeric: list[int]
    codes: list[int]
    sentinels: list[Sentinel]
    wordings: dict[int, Wording]
    fill: Array
    has_missing: npt.NDArray[np.intp]
    levels: dict[int, tuple[Any, ...]]
    order: list[int] | None
    names: list[str]
    sources: list[int]

    @property
    def read_as_numbers(self) -> list[int]:
        """Covariates of numbers, with those that are codes."""
        return sorted([*self.numeric, *self.codes])

    def apply(self, table: Table) -> Array:
        """Encode a table into columns (E, N)."""
        table = table.with_labels(self.codes)
        numbers = table.numbers
        missing, far = np.isnan(numbers), [sentinel.among(numbers) for sentinel in self.sentinels]
        blocks = [numbers]
        if missing.any():
            self._refuse_new_missing(missing)
        if far or missing.any():
            blocks = [np.where(np.isnan(_without(numbers, self.sentinels)), self.fill[:, None], numbers)]
        if self.has_missing.size:
            blocks.append(missing[self.has_missing].astype(np.float64))
        blocks += [rows[None].astype(np.float64) for rows in far]
        blocks += [indicators(table.text[at], levels, self.names_in[at]) for at, levels in self.levels.items()]
        if self.order is None:
            return blocks[0]
        encoded: Array = np.concatenate(blocks)[self.order]
        return encoded

    def _refuse_new_missing(self, missing: npt.NDArray[np.bool_]) -> None:
        new = np.setdiff1d(np.flatnonzero(missing.any(axis=1)), self.has_missing)
        if new.size:
            raise InputError(
                f"covariate {self.names_in[self.numeric[new[0]]]!r}: expected a number in every row, as in the fitted "
                f"table, got {missing[new[0]].sum()} missing. Leave these rows out or fill them in."
            )


def fit_encoding(table: Table, codes: Sequence[int] = ()) -> Encoding:
    """Choose imputed values and levels; the encoded columns follow the order of the raw ones."""
    table = table.with_labels(codes)
    numbers = table.numbers
    has_missing = np.flatnonzero(np.isnan(numbers).any(axis=1))
    sentinels = sentinels_of(numbers)
    numbers = _without(numbers, sentinels)
    fill = _medians(numbers)
    for column in np.flatnonzero(np.isnan(numbers).any(axis=1)):
        present = numbers[column][~np.isnan(numbers[column])]
        fill[column] = _medians(present[None])[0] if present.size else 0.0
    levels = {at: column_levels(series, table.names[at]) for at, series in table.text.items()}
    names = [(at, table.names[at]) for at in table.numeric]
    names += [(table.numeric[column], f"{table.names[table.numeric[column]]}_missing") for column in has_missing]
    for place, value, _ in sentinels:
        names.append((table.numeric[place], f"{table.names[table.numeric[place]]}={shortest(value)}"))
    for at, found in levels.items():
        labelled = level_names(table.names[at], found)
        names += [(at, name) for name in (labelled[1:] if len(found) == 2 else labelled)]
    order = sorted(range(len(names)), key=lambda column: names[column][0])
    plain = order == list(range(len(order))) and not has_missing.size and not levels and not sentinels
    return Encoding(
        labels=table.labels,
        named=table.named,
        names_in=table.names,
        numeric=table.numeric,
        codes=list(codes),
        sentinels=sentinels,
        wordings=table.wordings,
        fill=fill,
        has_missing=has_missing,
        levels=levels,
        order=None if plain else order,
        names=_distinct([(names[column][1], names[column][1] == table.names[names[column][0]]) for column in order]),
        sources=[names[column][0] for column in order],
    )


def _without(numbers: Array, sentinels: Sequence[Sentinel]) -> Array:
    """Numbers (C, N) of which some values of some rows are missing."""
    if not sentinels:
        return numbers
    left = numbers.copy()
    for sentinel in sentinels:
        left[sentinel.place, sentinel.among(numbers)] = np.nan
    return left


def _medians(columns: Array) -> Array:
    """Medians of columns (C, N) without missing values; halves are added, so that large numbers do not overflow."""
    places = [(columns.shape[1] - 1) // 2, columns.shape[1] // 2]
    lower, upper = np.partition(columns, places, axis=1)[:, places].T
    medians: Array = lower / 2 + upper / 2
    return medians


def _distinct(names: list[tuple[str, bool]]) -> list[str]:
    """Set apart names, as when a covariate is itself called ``age_missing``; those that are raw stay as they are."""
    seen = {name for name, is_raw in names if is_raw}
    result = []
    for name, is_raw in names:
        candidate, count = name, 2
        while candidate in seen and not is_raw:
            candidate, count = f"{name}_{count}", count + 1
        seen.add(candidate)
        result.append(candidate)
    return result
