"""Target balancing over partitions: each sum of a Newton step on the dual is one pass over the rows.

Letters: n rows of a partition, M landmarks, L columns; the two arms are the first axis of what belongs to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dowhy_cina.calls.partitioned.columns import EncodedPart
from dowhy_cina.calls.partitioned.model import balance_keys
from dowhy_cina.calls.partitioned.outcomes import Fitted, RowState, arm_rows, is_empty
from dowhy_cina.calls.partitioned.partitions import Extremes, Partitions, Sums
from dowhy_cina.mathematics.balancing import (
    JoinedFeatures,
    apply,
    combine,
    gap_from_sums,
    lowest_imbalance,
    objective_from_sums,
    weighted_moments,
)
from dowhy_cina.mathematics.dual import ArmProblem, Curvature, DualPoint, Evaluated
from dowhy_cina.mathematics.means import MeansTarget, solve_with_means
from dowhy_cina.mathematics.newton import ArmRows
from dowhy_cina.mathematics.passes import gather_rows, places_of
from dowhy_cina.mathematics.rows import RowFeatures
from dowhy_cina.mathematics.screening import CarryingRows
from dowhy_cina.model.state import each_tensor

Rows = Float[Tensor, "1 n"]


@dataclass(frozen=True)
class Balanced:
    """Weights of both arms and what is known of their problem.

    The weights are the state ``weights``. ``target``, ``means`` and ``uniform`` are those of the kernel's features;
    ``lowest`` is the imbalance that the gap leaves open, as in :class:`dowhy_cina.estimating.weighting.Certificate`,
    and ``size`` what it is of.
    """

    target: MeansTarget
    means: tuple[Float[Tensor, "1 M"], Float[Tensor, "1 M"]]
    uniform: tuple[Float[Tensor, "1 M"], Float[Tensor, "1 M"]]
    gap: float
    size: float
    lowest: float


@dataclass(frozen=True)
class BothArms:
    """A point of both arms' duals, and the amplitude of the columns and the ridges there."""

    point: DualPoint
    amplitude: Float[Tensor, " 2"]
    ridge: Float[Tensor, " 2"]

    def of_arm(self, arm: int) -> BothArms:
        """The same for one arm."""
        return each_tensor([self], lambda tensors: tensors[0][arm : arm + 1])


def arm_features(
    part: EncodedPart, state: RowState, fitted: Fitted, places: Int[Tensor, "1 n"] | None = None
) -> RowFeatures:
    """Kernels of a partition's rows, or of some of them, in the balancing layer."""
    assert fitted.balance_kernel is not None
    keys = balance_keys(part, state, fitted)
    keys = keys if places is None else gather_rows(keys, places)
    return RowFeatures.build(fitted.balance_kernel, keys, whiten=False)


def _columns(part: EncodedPart, state: RowState, fitted: Fitted) -> Float[Tensor, "1 n L"]:
    return fitted.model.balance_columns(part.covariates, fitted.scores.coordinate(state.propensity))


def target_sums(part: EncodedPart, state: RowState, fitted: Fitted) -> Sums:
    """Moments of both arms, of the kernel's features and, beside them, the columns."""
    if is_empty(part):
        return {}
    found: list[Curvature] = []
    for arm in (0, 1):
        places = places_of(arm_rows(part, arm))
        kernel, columns = arm_features(part, state, fitted, places).with_features(), _columns(part, state, fitted)
        features, ones = (
            JoinedFeatures(kernel, columns[:, places[0]], columns.new_ones(1)),
            columns.new_ones(places.shape),
        )
        found.append(Curvature(ones.sum(1), *weighted_moments(features, ones)))
    sums: Sums = {"arms": each_tensor(found, torch.cat)}
    return sums


def _problem(
    part: EncodedPart, state: RowState, fitted: Fitted, dual: BothArms, arm: int, whiten: bool = False
) -> ArmProblem:
    """Problem of an arm's rows in a partition; sums at a point do not ask for its target."""
    places = places_of(arm_rows(part, arm))
    kernel = arm_features(part, state, fitted, places)
    kernel = kernel.with_features() if whiten else kernel
    ones = torch.ones_like(kernel.keys[..., 0])
    columns = _columns(part, state, fitted)[:, places[0]]
    return ArmProblem(JoinedFeatures(kernel, columns, dual.amplitude), ones, dual.point.slope, dual.ridge)


def dual_sums(part: EncodedPart, state: RowState, fitted: Fitted, dual: BothArms) -> Sums:
    """What the rows of both arms add up to at a point of the dual."""
    if is_empty(part):
        return {}
    found: list[Sums] = []
    for arm in (0, 1):
        own = dual.of_arm(arm)
        problem = _problem(part, state, fitted, own, arm, whiten=True)
        at = ArmRows(problem.features, problem.arm).evaluate(own.point)
        found.append({"sums": at.sums, "curvature": at.curvature})
    sums: Sums = each_tensor(found, torch.cat)
    return sums


def without_weight(part: EncodedPart, state: RowState, fitted: Fitted, dual: BothArms) -> Sums:
    """Number of rows of both arms that carry no weight at a point of the dual."""
    if is_empty(part):
        return {}
    margins = [
        dual.of_arm(arm).point.margins(_problem(part, state, fitted, dual.of_arm(arm), arm).features) for arm in (0, 1)
    ]
    return {"rows": sum(int((found <= 0).sum()) for found in margins)}


class PartitionedArms:
    """Rows of both arms: all are taken to carry weight until a solution says otherwise, and looked at from then on."""

    def __init__(self, partitions: Partitions, fitted: Fitted, moments: Curvature, start: DualPoint) -> None:
        self._run = partial(partitions.run, names=["encoded", "state"], fitted=fitted)
        self._all, self._exact = CarryingRows.all_at(start, moments), False

    def _dual(self, point: DualPoint) -> BothArms:
        ones = torch.ones_like(point.level)
        return BothArms(point, ones, ones)

    def evaluate(self, point: DualPoint) -> Evaluated:
        """Evaluate a point of the dual."""
        if not self._exact:
            return Evaluated(point, self._all.sums(point), lambda: self._all.moments)
        sums = self._run(dual_sums, dual=self._dual(point))
        # One more pass would cost more than the curvature that a line search does not ask for.
        return Evaluated(point, sums["sums"], lambda: sums["curvature"])

    def settle(self, point: DualPoint) -> bool:
        """Whether a point was evaluated as it is."""
        right = self._exact or not self._run(without_weight, dual=self._dual(point))["rows"]
        self._exact = self._exact or not right
        return right


def weigh(
    part: EncodedPart, state: RowState, fitted: Fitted, dual: BothArms, totals: Float[Tensor, " 2"]
) -> tuple[Rows, Sums]:
    """Weights of a partition's rows, and both arms' weighted features and sums of squares."""
    weights, sums = torch.zeros_like(part.treatment), {}
    if is_empty(part):
        return weights, {}
    for arm in (0, 1):
        own = dual.of_arm(arm)
        problem = _problem(part, state, fitted, own, arm)
        found = own.point.weights(problem) / totals[arm]
        weights = weights.scatter(1, places_of(arm_rows(part, arm)), found)
        sums[f"mean{arm}"], sums[f"squares{arm}"] = combine(problem.features, found), found.square().sum(1)
    return weights, sums


def smallest_gradients(
    part: EncodedPart, state: RowState, weights: Rows, fitted: Fitted, dual: BothArms, slopes: tuple[Tensor, Tensor]
) -> Sums:
    """Smallest gradient of each arm's objective."""
    sums: Sums = {}
    for arm in (0, 1):
        places = places_of(arm_rows(part, arm))
        if places.shape[1]:
            own = dual.of_arm(arm)
            problem = _problem(part, state, fitted, own, arm)
            gradient = apply(problem.features, slopes[arm]) + own.ridge * weights.gather(1, places)
            sums[f"gradient{arm}"] = Extremes(gradient.amin(), gradient.amax())
    return sums


def solve(
    partitions: Partitions, fitted: Fitted, counts: tuple[float, float], share: tuple[float, float], ridge: Tensor
) -> Balanced:
    """Balance both arms to the target, as :func:`~dowhy_cina.mathematics.means.balance_with_means` does.

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
        The weights are the state ``weights``.
    """
    names = ["encoded", "state"]
    moments: Curvature = partitions.run(target_sums, names, fitted=fitted)["arms"]
    assert fitted.balance_kernel is not None
    size = fitted.balance_kernel.landmarks.shape[1]
    mean = share[0] * moments.carried[:1] + share[1] * moments.carried[1:]
    target = MeansTarget(mean[:, :size].repeat(2, 1), mean[:, size:].repeat(2, 1))
    both, rows = ridge.repeat(2), ridge.new_tensor(counts)
    arms = PartitionedArms(partitions, fitted, moments, DualPoint.start(both, rows, mean.shape[1]))
    solved = solve_with_means(target, both, rows, arms.evaluate, arms.settle)
    amplitude, ridges = solved.amplitude, solved.ridge
    dual, totals = BothArms(solved.point, amplitude, ridges), solved.at.sums.margins / ridges
    reached = partitions.run(weigh, names, "weights", fitted=fitted, dual=dual, totals=totals)
    goal = target.joined(amplitude)
    slopes = (reached["mean0"] - goal[:1], reached["mean1"] - goal[1:])
    least = partitions.run(smallest_gradients, [*names, "weights"], fitted=fitted, dual=dual, slopes=slopes)
    gaps, apart, lowest = [], 0.0, 0.0
    uniforms = moments.carried / rows[:, None]
    for arm in (0, 1):
        own = ridges[arm : arm + 1]
        inner = (reached[f"mean{arm}"] * slopes[arm]).sum(1) + own * reached[f"squares{arm}"]
        beside = amplitude[arm] * uniforms[arm, size:]
        uniform = torch.cat([uniforms[arm, :size], beside])[None] - goal[arm]
        reference = objective_from_sums(uniform.norm(dim=1), torch.full_like(own, 1 / counts[arm]), own)
        gap = gap_from_sums(inner, least[f"gradient{arm}"].lower, reference)
        gaps.append(float(gap))
        apart += float(slopes[arm].norm(dim=1))
        lowest += float(lowest_imbalance(slopes[arm].norm(dim=1), gap * reference))
    means = reached["mean0"][:, :size], reached["mean1"][:, :size]
    one = MeansTarget(mean[:, :size], mean[:, size:])
    return Balanced(one, means, (uniforms[:1, :size], uniforms[1:, :size]), max(gaps), apart, lowest)
