"""Rows of both arms at points of the dual of target balancing, as sums over partitions.

The scheme is that of :mod:`dowhy_cina.mathematics.screening`: one pass looks at all rows at a reference, and the near
ones come to the client, where the Newton steps are taken.

Letters: n rows of a partition, M landmarks, L columns, K = M + L; the two arms are the first axis of what belongs to
them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.calls.partitioned.columns import EncodedPart
from dowhy_cina.calls.partitioned.model import balance_keys
from dowhy_cina.calls.partitioned.outcomes import is_empty, kernels_of
from dowhy_cina.calls.partitioned.partitions import Partitions, Sums
from dowhy_cina.calls.partitioned.states import Fitted, RowState
from dowhy_cina.mathematics.balancing import JoinedFeatures, weighted_moments
from dowhy_cina.mathematics.dual import Curvature, DualPoint, Evaluated
from dowhy_cina.mathematics.dual import Sums as DualSums
from dowhy_cina.mathematics.newton import ArmRows
from dowhy_cina.mathematics.passes import gather_rows
from dowhy_cina.mathematics.rows import RowFeatures
from dowhy_cina.mathematics.screening import CarryingRows, Reference, Tries
from dowhy_cina.model.state import each_tensor

Rows = Float[Tensor, "1 n"]
Part = TypeVar("Part")

#: Bins of a margin's size for each doubling of it, and doublings on both sides of the margin of uniform weights.
BINS, DOUBLINGS = 8, 40


def balance_columns(part: EncodedPart, state: RowState, fitted: Fitted) -> Float[Tensor, "1 n L"]:
    """Columns that are balanced beside the kernel's features, as they are."""
    return fitted.model.balance_columns(part.covariates, fitted.scores.coordinate(state.scores.fitted))


def joined_features(part: EncodedPart, state: RowState, fitted: Fitted) -> JoinedFeatures:
    """Kernels of a partition's rows in the balancing layer and, beside them, the columns as they are."""
    assert fitted.balance_kernel is not None
    kernel = kernels_of(fitted.balance_kernel, balance_keys(part, state, fitted))
    columns = balance_columns(part, state, fitted)
    return JoinedFeatures(kernel, columns, columns.new_ones(1))


def _moments(features: JoinedFeatures) -> Curvature:
    """What rows of an arm add up to whatever their margins."""
    ones = torch.ones_like(features.columns[..., 0])
    return Curvature(ones.sum(1), *weighted_moments(features, ones))


def target_sums(part: EncodedPart, state: RowState, fitted: Fitted) -> tuple[Rows, Sums]:
    """Moments of both arms; the state says, as a positive margin does, that all rows carry weight."""
    if is_empty(part):
        return part.treatment, {}
    return torch.ones_like(part.treatment), {f"moments{part.arm}": _moments(joined_features(part, state, fitted))}


def of_both(sums: Sums, name: str) -> Any:
    """Sums of this name of the control and of the treated arm, side by side."""
    return each_tensor([sums[f"{name}{arm}"] for arm in (0, 1)], torch.cat)


@dataclass(frozen=True)
class Look:
    """A point of both arms' duals, and what is asked of the rows there.

    Attributes
    ----------
    point : DualPoint
    limits : Tensor, shape (2,)
        Size of the margin at the reference below which rows are near.
    unit : Tensor, shape (2,)
        Margins of uniform weights.
    """

    point: DualPoint
    limits: Float[Tensor, " 2"]
    unit: Float[Tensor, " 2"]


def margin_sums(part: EncodedPart, state: RowState, reference: Rows, fitted: Fitted, look: Look) -> tuple[Rows, Sums]:
    """Margins of a partition's rows at a point of their own arm's dual, and what they add up to there.

    The sums also hold the moments of rows that have begun and ceased to carry weight since the reference, how many of
    them were far from it there, and the margins' sizes.
    """
    if is_empty(part):
        return part.treatment, {}
    features, arm = joined_features(part, state, fitted), part.arm
    margins = _one_of(arm, look.point).margins(features)
    shares = margins.clamp_min(0)
    sums: Sums = {f"at{arm}": DualSums(shares.sum(1), shares.square().sum(1), features.means(shares[:, None])[:, 0])}
    begun, ceased = (margins > 0) & (reference <= 0), (margins <= 0) & (reference > 0)
    for name, rows in (("begun", begun), ("ceased", ceased)):
        if rows.any():
            sums[f"{name}{arm}"] = _moments(features.take(rows[0].nonzero().T))
    wrong = (begun | ceased) & (reference.abs() >= look.limits[arm])
    return margins, sums | {"wrong": int(wrong.sum()), f"sizes{arm}": _sizes(margins, look.unit[arm])}


def _sizes(margins: Rows, unit: Tensor) -> Int[Tensor, "1 k"]:
    """How many margins are of each size."""
    doublings = torch.log2(margins.abs() / unit).clamp(-DOUBLINGS, DOUBLINGS)
    places = (BINS * (doublings[0] + DOUBLINGS)).long()
    return torch.bincount(places, minlength=2 * BINS * DOUBLINGS + 1)[None]


def limits_of(sizes: Int[Tensor, "2 k"], most: Int[Tensor, " 2"], unit: Float[Tensor, " 2"]) -> Float[Tensor, " 2"]:
    """Sizes of margins that at most so many rows of each arm stay below."""
    bins = (sizes.cumsum(1) <= most[:, None]).sum(1)
    limits = unit * 2.0 ** (bins / BINS - DOUBLINGS)
    return torch.where(bins == sizes.shape[1], math.inf, torch.where(bins > 0, limits, 0.0))


class Gathered:
    """Tensors of rows; adding appends the rows of others."""

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors

    def __add__(self, other: Gathered) -> Gathered:
        return Gathered(*(torch.cat(pair, 1) for pair in zip(self.tensors, other.tensors, strict=True)))


def near_rows(part: EncodedPart, state: RowState, margins: Rows, fitted: Fitted, limits: Float[Tensor, " 2"]) -> Sums:
    """Keys, columns and margins of each arm's rows whose margins are smaller than its limit."""
    if is_empty(part):
        return {}
    places = (margins.abs() < limits[part.arm])[0].nonzero().T
    if not places.shape[1]:
        return {}
    part, state, margins = each_tensor([(part, state, margins)], lambda rows: gather_rows(rows[0], places))
    return {
        f"near{part.arm}": Gathered(balance_keys(part, state, fitted), balance_columns(part, state, fitted), margins)
    }


def _one_of(arm: int, both: Part) -> Part:
    """What belongs to an arm."""
    return each_tensor([both], lambda tensors: tensors[0][arm : arm + 1])


class PartitionedArms:
    """Rows of both arms: all are taken to carry weight until a solution says otherwise; then near ones are kept here.

    The state ``margins`` is of the point that was looked at last, ``reference`` of the last reference.

    Parameters
    ----------
    partitions : Partitions
        With the states ``encoded``, ``state`` and ``reference``, which :func:`target_sums` leaves.
    fitted : Fitted
    moments : Curvature
        Of both arms.
    start : DualPoint
        Whose slope is zero.
    """

    def __init__(self, partitions: Partitions, fitted: Fitted, moments: Curvature, start: DualPoint) -> None:
        self._partitions, self._fitted, self._moments, self._unit = partitions, fitted, moments, start.level
        self._limits, self._tries = torch.zeros_like(start.level), Tries()
        every = CarryingRows.all_at(start, moments)
        self._known = [Reference(_one_of(arm, every)) for arm in (0, 1)]
        self._seen: tuple[Evaluated, Sums] | None = None

    def evaluate(self, point: DualPoint) -> Evaluated:
        """Evaluate a point of both duals, if no far row has begun or ceased to carry weight."""
        if self._tries.are_over:
            return self.look(point)
        found = [known.evaluate(_one_of(arm, point)) for arm, known in enumerate(self._known)]
        sums = each_tensor([own.sums for own in found], torch.cat)
        return Evaluated(point, sums, lambda: each_tensor([own.curvature for own in found], torch.cat))

    def settle(self, points: Sequence[DualPoint]) -> int:
        """How many points, the first ones, :meth:`evaluate` was right at; at the next it is from now on."""
        if self._tries.are_over or bool(self._limits.isinf().all()):
            return len(points)
        for place, point in enumerate(points):
            found = self.look(point)
            assert self._seen is not None
            if not self._tries.count(not self._seen[1]["wrong"]):
                self._refer(found, of_both(self._seen[1], "sizes"))
                return place
        return len(points)

    def look(self, point: DualPoint) -> Evaluated:
        """Evaluate a point by a pass over all rows; the last one is known."""
        if self._seen is None or not _are_equal(self._seen[0].point, point):
            names, given = ["encoded", "state", "reference"], Look(point, self._limits, self._unit)
            sums = self._partitions.run(margin_sums, names, "margins", fitted=self._fitted, look=given)
            moments = each_tensor([self._moments_at(arm, sums) for arm in (0, 1)], torch.cat)
            self._seen = Evaluated(point, of_both(sums, "at"), lambda: moments), sums
            if self._tries.are_over:
                self._remember(moments)
        return self._seen[0]

    def _moments_at(self, arm: int, sums: Sums) -> Curvature:
        moments = _one_of(arm, self._moments)
        moments = moments + sums[f"begun{arm}"] if f"begun{arm}" in sums else moments
        return moments - sums[f"ceased{arm}"] if f"ceased{arm}" in sums else moments

    def _remember(self, moments: Curvature) -> None:
        self._moments = moments
        self._partitions.keep("margins", "reference")

    def _refer(self, at: Evaluated, sizes: Int[Tensor, "2 k"]) -> None:
        """Make a point that was looked at the reference."""
        self._remember(at.curvature)
        most = [self._tries.near_rows(int(rows), at.point.slope.shape[1]) for rows in sizes.sum(1)]
        self._limits = limits_of(sizes, sizes.new_tensor(most), self._unit)
        names, fitted = ["encoded", "state", "margins"], self._fitted
        near = self._partitions.run(near_rows, names, fitted=fitted, limits=self._limits)
        every = CarryingRows(at.point, at.sums.margins, at.sums.squares, at.curvature)
        self._known = [self._reference(near.get(f"near{arm}"), _one_of(arm, every)) for arm in (0, 1)]

    def _reference(self, near: Gathered | None, every: CarryingRows) -> Reference:
        if near is None:
            return Reference(every)
        assert self._fitted.balance_kernel is not None
        keys, columns, margins = near.tensors
        kernel, ones = RowFeatures(self._fitted.balance_kernel, keys, None), torch.ones_like(margins)
        return Reference.build(every, ArmRows(torch.cat([kernel.together(), columns], 2), ones), ones, margins)


def _are_equal(one: DualPoint, two: DualPoint) -> bool:
    return one.slope.equal(two.slope) and one.level.equal(two.level)
