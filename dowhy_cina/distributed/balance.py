"""Target balancing over partitions: each iteration of the splitting is one pass that leaves sums of features behind.

Letters: n rows of a partition, M landmarks, two arms in the first axis of what belongs to them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.distributed.columns import EncodedPart
from dowhy_cina.distributed.model import Fitted, RowState, arm_rows, balance_keys, is_empty
from dowhy_cina.distributed.partitions import Extremes, Partitions, Sums
from dowhy_cina.kernels import RowFeatures, places_of

#: Step of the splitting, in multiples of the ridge: that of :meth:`dowhy_cina.nn.attention.CinaLayer.balance_to`.
STEP = 0.3

#: Solution and multiplier of each row of a partition (1, n).
Split = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class ArmStep:
    """What one iteration needs to know of an arm.

    Attributes
    ----------
    inner, ones : Tensor, shape (1, M)
        Directions that the least-squares solutions of the right-hand side and of the equality take off.
    target : Tensor, shape (1, M)
        Target features times the rows of the arm.
    shift, total, step : float
        Multiple of the equality's solution; ridge plus step; step.
    """

    inner: Tensor
    ones: Tensor
    target: Tensor
    shift: float
    total: float
    step: float


@dataclass(frozen=True)
class Balanced:
    """Weights of both arms and what is known of their problem.

    The weights are the states ``split`` divided by ``totals`` of each row's arm.
    """

    target: Float[Tensor, "1 M"]
    totals: tuple[float, float]
    means: tuple[Float[Tensor, "1 M"], Float[Tensor, "1 M"]]
    uniform: tuple[Float[Tensor, "1 M"], Float[Tensor, "1 M"]]
    gap: float


def arm_features(part: EncodedPart, state: RowState, fitted: Fitted) -> RowFeatures:
    """Kernels of a partition's rows in the balancing layer."""
    assert fitted.balance_kernel is not None
    return RowFeatures.of_kernels(fitted.balance_kernel, balance_keys(part, state, fitted))


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
    features, (solution, multiplier) = arm_features(part, state, fitted), split
    right_next: list[Tensor] = []
    sums: Sums = {}
    for arm, step in enumerate(steps):
        rows = arm_rows(part, arm)
        linear = features.times(step.target)
        right = linear + step.step * (solution - multiplier)
        free = (right - features.times(step.inner)) / step.total
        response = (1 - features.times(step.ones)) / step.total
        free = free - step.shift * response
        moved = (free + multiplier).clamp_min(0) * rows
        solution = torch.where(rows > 0, moved, solution)
        multiplier = torch.where(rows > 0, multiplier + free - moved, multiplier)
        right_next.append(rows * (linear + step.step * (solution - multiplier)))
        sums[f"right{arm}"], sums[f"rights{arm}"] = features.mean(right_next[arm]), right_next[arm].sum()
        sums[f"moved{arm}"], sums[f"moves{arm}"] = features.mean(moved), moved.sum()
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
    partitions: Partitions, fitted: Fitted, counts: tuple[float, float], share: tuple[float, float], ridge: float
) -> Balanced:
    """Balance both arms to the target by :attr:`ModelConfig.target_layers` iterations.

    Parameters
    ----------
    counts : tuple of float
        Rows of the control and of the treated arm.
    share : tuple of float
        Weight of each row of an arm in the target.
    ridge : float

    Returns
    -------
    Balanced
        The solution is the state ``split``.
    """
    names = ["encoded", "state"]
    found = partitions.run(begin, names, "split", fitted=fitted)
    sums = [found["sum0"], found["sum1"]]
    target = share[0] * sums[0] + share[1] * sums[1]
    total = ridge + STEP * ridge
    factors, steps = [], []
    for arm in (0, 1):
        eye = torch.eye(target.shape[1], dtype=torch.float64)
        factors.append(torch.linalg.cholesky(found[f"gram{arm}"] + total * eye))
        ones = torch.cholesky_solve(sums[arm][..., None], factors[arm])[..., 0]
        goal = counts[arm] * target
        first = (found[f"gram{arm}"] @ goal[..., None])[..., 0], float((sums[arm] * goal).sum())
        step = ArmStep(ones, ones, goal, 0.0, total, STEP * ridge)
        steps.append(_next_step(step, factors[arm], sums[arm], counts[arm], *first))
    for _ in range(fitted.model.config.target_layers):
        found = partitions.run(iterate, [*names, "split"], "split", fitted=fitted, steps=(steps[0], steps[1]))
        steps = [
            _next_step(
                steps[arm], factors[arm], sums[arm], counts[arm], found[f"right{arm}"], float(found[f"rights{arm}"])
            )
            for arm in (0, 1)
        ]
    totals = (float(found["moves0"]), float(found["moves1"]))
    means = (found["moved0"] / totals[0], found["moved1"] / totals[1])
    uniform = (sums[0] / counts[0], sums[1] / counts[1])
    slopes = (means[0] - target, means[1] - target)
    ridges = [ridge / part for part in totals]
    found = partitions.run(smallest_gradients, [*names, "split"], fitted=fitted, slopes=slopes, ridges=ridges)
    gaps = []
    for arm in (0, 1):
        squares = float(found[f"squares{arm}"]) / totals[arm] ** 2
        inner = float((means[arm] * slopes[arm]).sum()) + ridge * squares
        reference = (float((uniform[arm] - target).square().sum()) + ridge / counts[arm]) / 2
        gaps.append(max(inner - float(found[f"gradient{arm}"].lower), 0.0) / reference)
    return Balanced(target, totals, means, uniform, max(gaps))


def _next_step(step: ArmStep, factor: Tensor, ones: Tensor, count: float, right: Tensor, right_sum: float) -> ArmStep:
    """Least-squares solution of the next right-hand side, from its features and its sum."""
    inner = torch.cholesky_solve(right[..., None], factor)[..., 0]
    free = (right_sum - float((ones * inner).sum())) / step.total
    curvature = (count - float((ones * step.ones).sum())) / step.total
    return dataclasses.replace(step, inner=inner, shift=(free - count) / curvature)
