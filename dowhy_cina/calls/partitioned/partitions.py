"""Map-reduce over the partitions of a table: each pass leaves a state per partition on the workers and one sum.

Letters: n rows of a partition, D columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import dask
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.mathematics.passes import gather_rows
from dowhy_cina.mathematics.scaling import usual_arithmetic
from dowhy_cina.model.state import each_tensor
from dowhy_cina.results.diagnostics import COUNTERPARTS

#: Sums that one task joins; a tree of them keeps the partitions' sums off the client.
FAN_IN = 8
#: Most rows of a partition that are worked on at once.
CHUNK_ROWS = 4096

Sums = dict[str, Any]
State = TypeVar("State")


@dataclasses.dataclass(frozen=True)
class Spread:
    """Count, mean and sum of squared deviations of D values; adding joins two sets of rows without losing digits."""

    count: Float[Tensor, " D"]
    mean: Float[Tensor, " D"]
    squares: Float[Tensor, " D"]

    @classmethod
    def of(cls, values: Float[Tensor, "n D"]) -> Spread:
        """Spread of the columns; of no rows it is zero."""
        count = values.new_full((values.shape[1],), len(values))
        mean = values.sum(0) / count.clamp_min(1)
        return cls(count, mean, (values - mean).square().sum(0))

    def __add__(self, other: Spread) -> Spread:
        count = self.count + other.count
        share = other.count / count.clamp_min(1)
        apart = other.mean - self.mean
        squares = self.squares + other.squares + self.count * share * apart.square()
        return Spread(count, self.mean + share * apart, squares)

    @property
    def sd(self) -> Float[Tensor, " D"]:
        """Standard deviation, with the number of rows as divisor."""
        return (self.squares / self.count).sqrt()

    @property
    def variance(self) -> Float[Tensor, " D"]:
        """Sample variance; zero for a single row."""
        return self.squares / (self.count - 1).clamp_min(1)


@dataclasses.dataclass(frozen=True)
class Extremes:
    """Smallest and largest value; adding takes those of both."""

    lower: Tensor
    upper: Tensor

    def __add__(self, other: Extremes) -> Extremes:
        return Extremes(torch.minimum(self.lower, other.lower), torch.maximum(self.upper, other.upper))


class Smallest:
    """Smallest values, as many as :func:`dowhy_cina.results.diagnostics.support_limit` needs; adding joins two sets.

    Parameters
    ----------
    values : Tensor, shape (n,)
    """

    def __init__(self, values: Tensor) -> None:
        self.least = values.sort()[0][:COUNTERPARTS]

    def __add__(self, other: Smallest) -> Smallest:
        return Smallest(torch.cat([self.least, other.least]))


def add_sums(parts: Sequence[Sums]) -> Sums:
    """Add the sums of partitions name by name, in their order; a partition without rows may lack a name."""
    total: Sums = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total[name] + value if name in total else value
    return total


class Partitions:
    """States of the partitions on the workers, one list for each name.

    Parameters
    ----------
    parts : list
        Delayed partitions.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self._states: dict[str, list[Any]] = {"part": list(parts)}

    def states(self, name: str) -> list[Any]:
        """Delayed states of a name."""
        return self._states[name]

    def forget(self, *names: str) -> None:
        """Let the workers free states."""
        for name in names:
            self._states.pop(name, None)

    def keep(self, name: str, other: str) -> None:
        """Keep the states of a name under another one, too, in place of those that it had."""
        self._states[other] = self._states[name]

    def run(self, function: Callable[..., Any], names: Sequence[str], result: str | None = None, **shared: Any) -> Sums:
        """Call a function on the named states of every partition and add its sums.

        Encoded partitions are taken at most :data:`CHUNK_ROWS` rows of one arm at a time, so that what is made of them
        stays in the processor's cache; the rows as they came (``"part"``) are taken as a whole.

        Parameters
        ----------
        function : callable
            Takes the states by position and ``shared`` by name; returns ``(state, sums)`` if the state is to be kept,
            ``sums`` otherwise.
        names : sequence of str
        result : str, optional
            Name of the state that is kept.
        **shared
            Sent to every worker.

        Returns
        -------
        dict
            Sums over all partitions.
        """
        call = dask.delayed(_call, traverse=False, pure=False, nout=2)
        constants = dask.delayed(_Shared(shared), traverse=False, pure=False)
        outputs = [
            call(function, constants, result is not None, "part" in names, *states)
            for states in zip(*(self._states[name] for name in names), strict=True)
        ]
        totals = [output[1] for output in outputs]
        join = dask.delayed(add_sums, traverse=True, pure=False)
        while len(totals) > 1:
            totals = [join(totals[start : start + FAN_IN]) for start in range(0, len(totals), FAN_IN)]
        if result is None:
            sums: Sums = dask.compute(totals[0])[0]
            return sums
        # Both at once: a partition's state and its share of the sum come from one reading of its rows.
        *states, total = dask.persist(*(output[0] for output in outputs), totals[0])
        self._states[result] = states
        sums = dask.compute(total)[0]
        return sums


class _Shared:
    """Arguments of a pass; a plain class, which Dask passes on without looking into it."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content


def _call(
    function: Callable[..., Any], shared: _Shared, has_state: bool, whole: bool, *states: Any
) -> tuple[Any, Sums]:
    with usual_arithmetic(), torch.no_grad():
        outputs = [function(*part, **shared.content) for part in ([states] if whole else _chunks(states))]
    if not has_state:
        return None, add_sums(outputs)
    return _joined([state for state, _ in outputs]), add_sums([sums for _, sums in outputs])


def _chunks(states: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """States of consecutive rows of one arm; of a partition without rows the states as they are."""
    rows = states[0].treatment.shape[1]
    controls = int((states[0].treatment <= 0).sum())
    if not rows:
        yield states
    for first, count in ((0, controls), (controls, rows - controls)):
        pieces = -(-count // CHUNK_ROWS)
        for piece in range(pieces):
            cut = slice(first + piece * count // pieces, first + (piece + 1) * count // pieces)
            yield [each_tensor([state], partial(_rows_of, cut)) for state in states]


def _rows_of(cut: slice, parts: list[Tensor]) -> Tensor:
    return parts[0][:, cut]


def state_here(function: Callable[..., tuple[State, Sums]], *states: Any, **shared: Any) -> State:
    """State that a pass would leave of rows that are here, in any order."""
    order = states[0].treatment.argsort(dim=1, stable=True)
    by_arms = each_tensor([states], partial(_rows_at, order))
    found = _joined([function(*part, **shared)[0] for part in _chunks(by_arms)])
    return each_tensor([found], partial(_rows_at, order.argsort(dim=1)))


def _rows_at(places: Int[Tensor, "1 n"], parts: list[Tensor]) -> Tensor:
    return gather_rows(parts[0], places)


def _joined(states: Sequence[State]) -> State:
    return states[0] if len(states) == 1 else each_tensor(states, lambda parts: torch.cat(parts, 1))
