"""What simulated tables are asked for by whoever measures on them, checked once."""

from __future__ import annotations

from typing import Any, NamedTuple

from dowhy_cina.errors import whole_number
from dowhy_cina.learning.simulators.table import check_shape


class Draws(NamedTuple):
    """Number of tables, seed of their stream, and their (largest) shape."""

    tables: int
    seed: int
    rows: int
    columns: int


def check_draws(tables: Any, seed: Any, rows: Any, columns: Any) -> Draws:
    """Return what is asked for as ints.

    Raises
    ------
    InputError
        If a number is too small.
    InputTypeError
        If one is no whole number.
    """
    numbers = whole_number(tables, "the number of tables", 1), whole_number(seed, "seed", 0)
    return Draws(*numbers, *check_shape(rows, columns))
