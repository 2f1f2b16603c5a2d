"""The dual of target balancing over rows that are streamed: passes over all of them are replaced by what is known.

At a point of the dual a row carries weight if its margin ``v - phi' u`` is positive. The rows that do add up to what
their second moments say. So all rows are looked at once, at a *reference*; those whose margins are close to zero there
are the *near* ones, whose features are kept; and on the way to a solution the far ones are taken to carry weight if
they did at the reference. Whether they do is looked up at the solution: if not, it is the reference of another try.

Letters: B tables, N rows, M features, L columns, K = M + L.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.balancing import JoinedFeatures, Rows, Tables, weighted_moments
from dowhy_cina.mathematics.dual import Curvature, DualPoint, Evaluated, Sums
from dowhy_cina.mathematics.newton import ArmRows
from dowhy_cina.mathematics.passes import gather_rows, sum_blocks
from dowhy_cina.mathematics.rows import RowFeatures

#: Near rows as a share of all when a solution first fails, and the most entries that their features ever have.
NEAR_SHARE, NEAR_ENTRIES = 0.1, 2**22
#: References in vain after which every point is looked at row by row.
MOST_REFERENCES = 20


@dataclass(frozen=True)
class CarryingRows:
    """Rows of every table that are taken to carry weight, by what they add up to at one point.

    Attributes
    ----------
    point : DualPoint
    total, squares : Tensor, shape (B,)
        Sums of ``r m`` and ``r m^2``, r the rows' sampling weights and m their margins.
    moments : Curvature
    """

    point: DualPoint
    total: Tables
    squares: Tables
    moments: Curvature

    @classmethod
    def all_at(cls, start: DualPoint, moments: Curvature) -> CarryingRows:
        """All rows, at a point whose slope is zero."""
        total = moments.carrying * start.level
        return cls(start, total, total * start.level, moments)

    def sums(self, point: DualPoint) -> Sums:
        """What the rows add up to at a point."""
        slope, level, own = point.slope - self.point.slope, point.level - self.point.level, self.moments

        def moment(slope: Float[Tensor, "B K"], level: Tables) -> Float[Tensor, "B K"]:
            """Sum of ``r phi (level - phi' slope)``."""
            return level[:, None] * own.carried - (own.gram @ slope[..., None])[..., 0]

        here, change = moment(self.point.slope, self.point.level), moment(slope, level)
        grown = own.carrying * level - (own.carried * slope).sum(1)
        # About the reference, so that sums of squares lose no digits on the way to the solution.
        squares = self.squares + 2 * (level * self.total - (slope * here).sum(1))
        squares = squares + level * grown - (slope * change).sum(1)
        return Sums(self.total + grown, squares, here + change)


@dataclass(frozen=True)
class Reference:
    """A point at which all rows have been looked at, by the far rows that carry weight there and by the near ones.

    Attributes
    ----------
    far : CarryingRows
    near : ArmRows, optional
        None where no row is near.
    """

    far: CarryingRows
    near: ArmRows | None = None

    @classmethod
    def build(cls, every: CarryingRows, near: ArmRows, arm: Rows, margins: Rows) -> Reference:
        """Take near rows, of these sampling weights and margins, out of all rows that carry weight."""
        shares = arm * margins.clamp_min(0)
        total, squares = every.total - shares.sum(1), every.squares - (shares * margins).sum(1)
        moments = every.moments - near.curvature_of(arm * (margins > 0))
        return cls(CarryingRows(every.point, total, squares, moments), near)

    def evaluate(self, point: DualPoint) -> Evaluated:
        """Evaluate a point of the dual at which far rows carry weight if they do here."""
        far = self.far.sums(point)
        if self.near is None:
            return Evaluated(point, far, lambda: self.far.moments)
        near = self.near.evaluate(point)
        return Evaluated(point, near.sums + far, lambda: near.curvature + self.far.moments)


@dataclass
class Tries:
    """References that a solution did not hold for: all of them, and since one last held."""

    failed: int = 0
    in_vain: int = 0

    def count(self, holds: bool) -> bool:
        """Count a solution, and return whether it held."""
        self.failed, self.in_vain = self.failed + (not holds), 0 if holds else self.in_vain + 1
        return holds

    @property
    def are_over(self) -> bool:
        """Whether every point is looked at row by row from now on."""
        return self.in_vain >= MOST_REFERENCES

    def near_rows(self, rows: int, features: int) -> int:
        """Rows of an arm that are near at the next reference: twice as many as at the last one."""
        share = min(NEAR_SHARE * 2.0 ** (self.failed - 1), 1.0)
        return min(int(share * rows), NEAR_ENTRIES // features)


@dataclass(frozen=True)
class _Watched:
    """A reference, and its far rows with weight and without."""

    reference: Reference
    sure: Bool[Tensor, "1 N"]
    idle: Bool[Tensor, "1 N"]

    def holds(self, margins: Rows) -> bool:
        """Whether far rows carry weight with these margins if they do at the reference."""
        return not bool(((self.sure & (margins <= 0)) | (self.idle & (margins > 0))).any())


class StreamedRows(ArmRows):
    """Rows of an arm of one table, whose features each pass computes again; see the module.

    Parameters
    ----------
    features : JoinedFeatures
        With an amplitude of one.
    kernel : RowFeatures
        Those of them that are streamed.
    arm : Tensor, shape (1, N)
        Sampling weights, positive.
    known : Curvature, optional
        Of the whole arm.
    """

    def __init__(self, features: JoinedFeatures, kernel: RowFeatures, arm: Rows, known: Curvature | None) -> None:
        super().__init__(features, arm, known)
        self._kernel, self._columns, self._tries = kernel, features.columns, Tries()
        self._watched: _Watched | None = None
        self._seen: tuple[DualPoint, Rows] | None = None

    def evaluate(self, point: DualPoint) -> Evaluated:
        """Evaluate a point of the dual, if no far row has begun or ceased to carry weight."""
        if self._tries.are_over:
            return super().evaluate(point)
        if self._watched is None:
            self._watched = self._refer(point, self.margins(point))
        return self._watched.reference.evaluate(point)

    def settle(self, points: Sequence[DualPoint]) -> int:
        """How many points, the first ones, :meth:`evaluate` was right at, by one pass; at the next it is now."""
        if self._tries.are_over or self._watched is None:
            return len(points)
        assert isinstance(self._features, JoinedFeatures)
        slopes, levels = torch.stack([point.slope for point in points], 1), torch.stack([p.level for p in points], 1)
        margins = (levels[..., None] - self._features.times_several(slopes)).unbind(1)
        right = [self._watched.holds(own) for own in margins]
        place = right.index(False) if False in right else len(right)
        self._seen = points[min(place, len(right) - 1)], margins[min(place, len(right) - 1)]
        if not self._tries.count(all(right)):
            self._watched = None  # not two at a time
            self._watched = self._refer(*self._seen)
        return place

    def margins(self, point: DualPoint) -> Rows:
        """``v - phi_i' u`` of every row; those of the last point are known."""
        if not point.slope.any():
            return point.level[:, None].expand_as(self._arm)
        if self._seen is None or not (
            point.slope.equal(self._seen[0].slope) and point.level.equal(self._seen[0].level)
        ):
            self._seen = point, point.margins(self._features)
        return self._seen[1]

    def _refer(self, point: DualPoint, margins: Rows) -> _Watched:
        # Where all margins are the same none is near.
        count = self._tries.near_rows(margins.shape[1], point.slope.shape[1]) if bool(point.slope.any()) else 0
        places = margins.abs().topk(count, largest=False, sorted=False).indices.sort().values
        columns, arm = gather_rows(self._columns, places), gather_rows(self._arm, places)
        near = ArmRows(JoinedFeatures(self._kernel.take(places).together(), columns, torch.ones_like(point.level)), arm)
        shares, carries = self._arm * margins.clamp_min(0), self._arm * (margins > 0)
        every = CarryingRows(point, shares.sum(1), (shares * margins).sum(1), self.curvature_of(carries))
        reference = Reference.build(every, near, arm, gather_rows(margins, places))
        far = torch.ones_like(margins, dtype=torch.bool).scatter(1, places, False)
        return _Watched(reference, far & (carries > 0), far & (carries <= 0))


def rows_of_arm(features: JoinedFeatures, arm: Rows, known: Curvature | None = None) -> ArmRows:
    """Rows of an arm; with as few passes as there are where one table's features are streamed.

    The amplitude of the columns is one; ``known`` is the curvature of the whole arm, if it is known.
    """
    if features.is_streamed and len(arm) == 1 and isinstance(features.kernel, RowFeatures) and bool((arm > 0).all()):
        return StreamedRows(features, features.kernel, arm, known)
    return ArmRows(features, arm, known)


class ArmMoments:
    """Moments of both arms in the balancing layer, worked out by one pass on first use.

    Parameters
    ----------
    kernel : RowFeatures
        Of one table, streamed.
    columns : Tensor, shape (1, N, L)
        Beside them.
    arms : tuple of Tensor, shape (1, N)
        Sampling weights of the rows of the control and of the treated arm.
    """

    def __init__(self, kernel: RowFeatures, columns: Float[Tensor, "1 N L"], arms: tuple[Rows, Rows]) -> None:
        self._kernel, self._arms, self.columns = kernel, arms, columns

    @cached_property
    def both(self) -> tuple[Curvature, Curvature]:
        """Of the control and of the treated arm, of the kernel's features and, beside them, the columns."""
        features = JoinedFeatures(self._kernel, self.columns, self.columns.new_ones(1))
        control, treated = (Curvature(arm.sum(1), *weighted_moments(features, arm)) for arm in self._arms)
        return control, treated

    def mean(self, shares: tuple[Tables, Tables]) -> Float[Tensor, "1 K"]:
        """Mean of a population in which each row of an arm weighs its sampling weight times the arm's share."""
        return sum_blocks(share[:, None] * arm.carried for share, arm in zip(shares, self.both, strict=True))
