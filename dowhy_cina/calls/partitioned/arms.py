"""Rows of both arms at points of the dual of target balancing, as sums over partitions.

The scheme is that of :mod:`dowhy_cina.mathematics.screening`: one pass looks at all rows at a reference, and the near
ones come to the client, where the Newton steps are taken.

Letters: n rows of a partition, M landmarks, L columns, K = M + L; the two arms are the first axis of what belongs to
them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.calls.partitioned.columns import EncodedPart
from dowhy_cina.calls.partitioned.model import balance_keys
from dowhy_cina.calls.partitioned.outcomes import Fitted, RowState, is_empty
from dowhy_cina.calls.partitioned.partitions import Partitions, Sums
from dowhy_cina.mathematics.balancing import JoinedFeatures
from dowhy_cina.mathematics.dense import gram_of
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


def of_arms(part: EncodedPart, values: Float[Tensor, " 2"]) -> Rows:
    """A value of its arm for every row."""
    return torch.where(part.treatment > 0, values[1], values[0])


def both_arms(part: EncodedPart) -> Float[Tensor, "2 n"]:
    """1 for the rows of each arm, 0 for the others."""
    return torch.cat([1 - part.treatment, part.treatment])


def balance_columns(part: EncodedPart, state: RowState, fitted: Fitted) -> Float[Tensor, "1 n L"]:
    """Columns that are balanced beside the kernel's features, as they are."""
    return fitted.model.balance_columns(part.covariates, fitted.scores.coordinate(state.propensity))


def joined_features(part: EncodedPart, state: RowState, fitted: Fitted) -> JoinedFeatures:
    """Kernels of a partition's rows in the balancing layer and, beside them, the columns as they are."""
    assert fitted.balance_kernel is not None
    kernel = RowFeatures.build(fitted.balance_kernel, balance_keys(part, state, fitted), whiten=False)
    columns = balance_columns(part, state, fitted)
    return JoinedFeatures(kernel, columns, columns.new_ones(1))


def _moments(features: JoinedFeatures, signs: Float[Tensor, "1 n"]) -> Curvature:
    """What some rows add up to whatever their margins, those of a negative sign taken off; no others count."""
    places = (signs[0] != 0).nonzero().T
    own = features.take(places)
    assert isinstance(own.kernel, RowFeatures)
    rows, sign = torch.cat([own.kernel.together(), own.columns], 2), signs.gather(1, places)
    gram = gram_of(rows) if bool((sign > 0).all()) else (rows * sign[..., None]).mT @ rows
    return Curvature(sign.sum(1), (sign[:, None] @ rows)[:, 0], gram)


def target_sums(part: EncodedPart, state: RowState, fitted: Fitted) -> tuple[Rows, Sums]:
    """Moments of both arms; the state says, as a positive margin does, that all rows carry weight."""
    if is_empty(part):
        return part.treatment, {}
    features = joined_features(part, state, fitted)
    assert isinstance(features.kernel, RowFeatures)
    whole = JoinedFeatures(features.kernel.with_features(), features.columns, features.amplitude)
    found = [_moments(whole, rows[None]) for rows in both_arms(part)]
    return torch.ones_like(part.treatment), {"arms": each_tensor(found, torch.cat)}


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

    The sums also hold what rows that carry weight, or no longer do, change in the moments since the reference, how many
    of them were far from it there, and the margins' sizes.
    """
    if is_empty(part):
        return part.treatment, {}
    features, point, arms = joined_features(part, state, fitted), look.point, both_arms(part)
    control, treated = (point.level[arm] - features.times(point.slope[arm : arm + 1]) for arm in (0, 1))
    margins = torch.where(part.treatment > 0, treated, control)
    shares = arms * margins.clamp_min(0)
    sums: Sums = {"at": DualSums(shares.sum(1), (shares * margins).sum(1), features.means(shares[None])[0])}
    change = (margins > 0).to(margins.dtype) - (reference > 0).to(margins.dtype)
    if change.any():
        sums["change"] = each_tensor([_moments(features, rows[None]) for rows in arms * change], torch.cat)
    wrong = (change != 0) & (reference.abs() >= of_arms(part, look.limits))
    return margins, sums | {"wrong": int(wrong.sum()), "sizes": _sizes(part, margins, look.unit)}


def _sizes(part: EncodedPart, margins: Rows, unit: Float[Tensor, " 2"]) -> Int[Tensor, "2 k"]:
    """How many margins of each arm are of each size."""
    doublings = torch.log2(margins.abs() / of_arms(part, unit)).clamp(-DOUBLINGS, DOUBLINGS)
    place, count = (BINS * (doublings + DOUBLINGS)).long(), 2 * BINS * DOUBLINGS + 1
    return torch.bincount((place + count * (part.treatment > 0))[0], minlength=2 * count).view(2, count)


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
    near, sums = both_arms(part) * (margins.abs() < of_arms(part, limits)), {}
    for arm, rows in enumerate(near):
        if rows.any():
            take = partial(_taken, rows.nonzero().T)
            own, known = each_tensor([(part, state)], take)
            keys, columns = balance_keys(own, known, fitted), balance_columns(own, known, fitted)
            sums[f"near{arm}"] = Gathered(keys, columns, take([margins]))
    return sums


def _taken(places: Int[Tensor, "1 m"], tensors: list[Tensor]) -> Tensor:
    return gather_rows(tensors[0], places)


def _each_arm(both: Part) -> list[Part]:
    """What belongs to each arm."""
    return [each_tensor([both], partial(_one_of, arm)) for arm in (0, 1)]


def _one_of(arm: int, tensors: list[Tensor]) -> Tensor:
    return tensors[0][arm : arm + 1]


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
        self._known = [Reference(own) for own in _each_arm(CarryingRows.all_at(start, moments))]
        self._seen: tuple[Evaluated, Sums] | None = None

    def evaluate(self, point: DualPoint) -> Evaluated:
        """Evaluate a point of both duals, if no far row has begun or ceased to carry weight."""
        if self._tries.are_over:
            return self.look(point)
        found = [known.evaluate(own) for known, own in zip(self._known, _each_arm(point), strict=True)]
        sums = each_tensor([own.sums for own in found], torch.cat)
        return Evaluated(point, sums, lambda: each_tensor([own.curvature for own in found], torch.cat))

    def settle(self, point: DualPoint) -> bool:
        """Whether :meth:`evaluate` was right at a point; if not, it is from now on."""
        if self._tries.are_over or bool(self._limits.isinf().all()):
            return True
        found = self.look(point)
        assert self._seen is not None
        if self._tries.count(not self._seen[1]["wrong"]):
            return True
        self._refer(found, self._seen[1]["sizes"])
        return False

    def look(self, point: DualPoint) -> Evaluated:
        """Evaluate a point by a pass over all rows; the last one is known."""
        if self._seen is None or not _are_equal(self._seen[0].point, point):
            names, given = ["encoded", "state", "reference"], Look(point, self._limits, self._unit)
            sums = self._partitions.run(margin_sums, names, "margins", fitted=self._fitted, look=given)
            moments = self._moments + sums["change"] if "change" in sums else self._moments
            self._seen = Evaluated(point, sums["at"], lambda: moments), sums
            if self._tries.are_over:
                self._remember(moments)
        return self._seen[0]

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
        self._known = [self._reference(near.get(f"near{arm}"), own) for arm, own in enumerate(_each_arm(every))]

    def _reference(self, near: Gathered | None, every: CarryingRows) -> Reference:
        if near is None:
            return Reference(every)
        assert self._fitted.balance_kernel is not None
        keys, columns, margins = near.tensors
        kernel, ones = RowFeatures(self._fitted.balance_kernel, keys, None), torch.ones_like(margins)
        return Reference.build(every, ArmRows(torch.cat([kernel.together(), columns], 2), ones), ones, margins)


def _are_equal(one: DualPoint, two: DualPoint) -> bool:
    return one.slope.equal(two.slope) and one.level.equal(two.level)
