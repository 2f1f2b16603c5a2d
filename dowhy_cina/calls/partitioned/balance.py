"""Target balancing over partitions: each iteration of the splitting is one pass that leaves sums of features behind.

Letters: n rows of a partition, M landmarks, two arms in the first axis of what belongs to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.calls.partitioned.columns import EncodedPart
from dowhy_cina.calls.partitioned.model import Fitted, RowState, arm_rows, balance_keys, is_empty
from dowhy_cina.calls.partitioned.partitions import Extremes, Partitions, Sums
from dowhy_cina.mathematics.balancing import gap_from_sums, lowest_imbalance, objective_from_sums
from dowhy_cina.mathematics.kernels import RowFeatures, places_of

#: Step of the splitting, in multiples of the ridge: that of :meth:`dowhy_cina.model.attention.CinaLayer.balance_to`.
STEP = 0.3

#: Solution and multiplier of each row of a partition (1, n).
Split = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class ArmStep:
    """The least-squares step of one iteration of an arm, ``free = phi direction + (z - shift) / total``.

    ``z`` is the step times solution minus multiplier. With the target's features ``g`` times the rows of the arm and
    ``u = (G + total)^-1 phi' 1``, the direction is ``(G + total)^-1 (g - phi' z / total) + shift u / total``; that is
    ``((phi g + z) - phi (G + total)^-1 phi' (phi g + z)) / total`` and the shift that meets the equality, without the
    difference of two large products.

    Attributes
    ----------
    direction : Tensor, shape (1, M)
    shift, total, step : float
        Multiple of the equality's solution; ridge plus step; step.
    """

    direction: Tensor
    shift: float
    total: float
    step: float


@dataclass(frozen=True)
class Balanced:
    """Weights of both arms and what is known of their problem.

    The weights are the states ``split`` divided by ``totals`` of each row's arm. ``lowest`` is the imbalance that the
    gap leaves open, as in :class:`dowhy_cina.estimating.weighting.Certificate`.
    """

    target: Float[Tensor, "1 M"]
    totals: tuple[float, float]
    means: tuple[Float[Tensor, "1 M"], Float[Tensor, "1 M"]]
    uniform: tuple[Float[Tensor, "1 M"], Float[Tensor, "1 M"]]
    gap: float
    lowest: float


def arm_features(part: EncodedPart, state: RowState, fitted: Fitted) -> RowFeatures:
    """Kernels of a partition's rows in the balancing layer."""
    assert fitted.balance_kernel is not None
    return RowFeatures.build(fitted.balance_kernel, balance_keys(part, state, fitted), whiten=False)


def begin(part: EncodedPart, state: RowState, fitted: Fitted) -> tuple[Split, Sums]:
    """Start at zero; the sums are both arms' Grams and features."""
    start = (torch.zeros_like(part.treatment), torch.zeros_like(part.treatment))
    if is_empty(part):
        return start, {}
    sums: Sums = {}
    features = arm_features(part, state, fitted)
    for arm in (0, 1):
        places = places_of(arm_rows(part, arm))
        if places.shape[1]:
            own = features.take(places).with_features()
            sums[f"gram{arm}"] = own.gram()
            sums[f"sum{arm}"] = own.mean(torch.ones_like(own.keys[..., 0]))
    return start, sums


def iterate(
    part: EncodedPart, state: RowState, split: Split, fitted: Fitted, steps: tuple[ArmStep, ArmStep]
) -> tuple[Split, Sums]:
    """One iteration for both arms; the sums lead to the next one."""
    if is_empty(part):
        return split, {}
    solution, multiplier = split
    features = arm_features(part, state, fitted)
    weighted = []
    for arm, step in enumerate(steps):
        rows = arm_rows(part, arm)
        free = features.times(step.direction) + (step.step * (solution - multiplier) - step.shift) / step.total
        moved = (free + multiplier).clamp_min(0) * rows
        solution = torch.where(rows > 0, moved, solution)
        multiplier = torch.where(rows > 0, multiplier + free - moved, multiplier)
        weighted += [rows * step.step * (solution - multiplier), moved]
    names = [f"{name}{arm}" for arm in (0, 1) for name in ("right", "moved")]
    sums: Sums = {name: features.mean(weights) for name, weights in zip(names, weighted, strict=True)}
    sums |= {f"total of {name}": weights.sum() for name, weights in zip(names, weighted, strict=True)}
    return (solution, multiplier), sums


def smallest_gradients(
    part: EncodedPart,
    state: RowState,
    split: Split,
    fitted: Fitted,
    slopes: tuple[Tensor, Tensor],
    ridges: list[float],
) -> Sums:
    """Smallest gradient of each arm's objective and the sums of squares of its solution."""
    if is_empty(part):
        return {}
    sums: Sums = {}
    features = arm_features(part, state, fitted)
    for arm in (0, 1):
        rows = arm_rows(part, arm) > 0
        if rows.any():
            gradient = (features.times(slopes[arm]) + ridges[arm] * split[0])[rows]
            sums[f"gradient{arm}"] = Extremes(gradient.amin(), gradient.amax())
            sums[f"squares{arm}"] = split[0][rows].square().sum()
    return sums


def solve(
    partitions: Partitions, fitted: Fitted, counts: tuple[float, float], share: tuple[float, float], ridge: Tensor
) -> Balanced:
    """Balance both arms to the target by :attr:`ModelConfig.target_layers` iterations.

    Parameters
    ----------
    counts : tuple of float
        Rows of the control and of the treated arm.
    share : tuple of float
        Weight of each row of an arm in the target.
    ridge : Tensor, shape (1,)

    Returns
    -------
    Balanced
        The solution is the state ``split``.
    """
    names = ["encoded", "state"]
    found = partitions.run(begin, names, "split", fitted=fitted)
    sums = [found["sum0"], found["sum1"]]
    target = share[0] * sums[0] + share[1] * sums[1]
    size = float(ridge)
    total = size + STEP * size
    arms = [
        _Arm(found[f"gram{arm}"], sums[arm], counts[arm], counts[arm] * target, total, STEP * size) for arm in (0, 1)
    ]
    steps = [arm.step(torch.zeros_like(target), 0.0) for arm in arms]
    for _ in range(fitted.model.config.target_layers):
        found = partitions.run(iterate, [*names, "split"], "split", fitted=fitted, steps=(steps[0], steps[1]))
        steps = [arm.step(found[f"right{k}"], float(found[f"total of right{k}"])) for k, arm in enumerate(arms)]
    totals = (float(found["total of moved0"]), float(found["total of moved1"]))
    means = (found["moved0"] / totals[0], found["moved1"] / totals[1])
    uniform = (sums[0] / counts[0], sums[1] / counts[1])
    slopes = (means[0] - target, means[1] - target)
    ridges = [size / part for part in totals]
    found = partitions.run(smallest_gradients, [*names, "split"], fitted=fitted, slopes=slopes, ridges=ridges)
    gaps, lowest = [], 0.0
    for arm in (0, 1):
        inner = (means[arm] * slopes[arm]).sum(1) + ridge * found[f"squares{arm}"] / totals[arm] ** 2
        spread = torch.full_like(ridge, 1 / counts[arm])
        reference = objective_from_sums((uniform[arm] - target).norm(dim=1), spread, ridge)
        gap = gap_from_sums(inner, found[f"gradient{arm}"].lower, reference)
        gaps.append(float(gap))
        lowest += float(lowest_imbalance(slopes[arm].norm(dim=1), gap * reference))
    return Balanced(target, totals, means, uniform, max(gaps), lowest)


class _Arm:
    """The normal equations of one arm.

    Parameters
    ----------
    gram, ones, goal : Tensor
        Gram (1, M, M) and sum of the arm's features (1, M), and target features times its rows (1, M).
    count, total, step : float
        Rows; ridge plus step; step.
    """

    def __init__(self, gram: Tensor, ones: Tensor, count: float, goal: Tensor, total: float, step: float) -> None:
        self.ones, self.count, self.goal, self.total, self.penalty = ones, count, goal, total, step
        self.factor = torch.linalg.cholesky(gram + total * torch.eye(gram.shape[1], dtype=gram.dtype))
        self.equality = self._solve(ones)
        self.curvature = (count - float((ones * self.equality).sum())) / total

    def _solve(self, right: Tensor) -> Tensor:
        return torch.cholesky_solve(right[..., None], self.factor)[..., 0]

    def step(self, right: Tensor, right_sum: float) -> ArmStep:
        """Next step from ``phi' z`` and ``1' z``."""
        direction = self._solve(self.goal - right / self.total)
        free = float((self.ones * direction).sum()) + right_sum / self.total
        shift = (free - self.count) / self.curvature
        return ArmStep(direction + shift / self.total * self.equality, shift, self.total, self.penalty)
