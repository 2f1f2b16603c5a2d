"""Target balancing over partitions: each sum of a Newton step on the dual is one pass over the rows.

Letters: n rows of a partition, M landmarks, L columns; the two arms are the first axis of what belongs to them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
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
)
from dowhy_cina.mathematics.kernels import RowFeatures, places_of
from dowhy_cina.mathematics.means import MeansTarget, solve_with_means
from dowhy_cina.mathematics.newton import ArmProblem, ArmRows, DualPoint, Evaluated
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


def arm_features(part: EncodedPart, state: RowState, fitted: Fitted) -> RowFeatures:
    """Kernels of a partition's rows in the balancing layer."""
    assert fitted.balance_kernel is not None
    return RowFeatures.build(fitted.balance_kernel, balance_keys(part, state, fitted), whiten=False)


def _columns(part: EncodedPart, state: RowState, fitted: Fitted) -> Float[Tensor, "1 n L"]:
    return fitted.model.balance_columns(part.covariates, fitted.scores.coordinate(state.propensity))


def target_sums(part: EncodedPart, state: RowState, fitted: Fitted) -> Sums:
    """Sums of both arms' features and columns."""
    if is_empty(part):
        return {}
    features, columns = arm_features(part, state, fitted), _columns(part, state, fitted)
    sums: Sums = {}
    for arm in (0, 1):
        rows = arm_rows(part, arm)
        sums[f"features{arm}"], sums[f"columns{arm}"] = features.mean(rows), (rows[:, None] @ columns)[:, 0]
    return sums


def _problem(part: EncodedPart, state: RowState, fitted: Fitted, dual: BothArms, arm: int) -> ArmProblem:
    """Problem of an arm's rows in a partition; sums at a point do not ask for its target."""
    places = places_of(arm_rows(part, arm))
    kernel = arm_features(part, state, fitted).take(places).with_features()
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
        problem = _problem(part, state, fitted, own, arm)
        at = ArmRows(problem.features, problem.arm).evaluate(own.point)
        found.append({"sums": at.sums, "curvature": at.curvature})
    sums: Sums = each_tensor(found, torch.cat)
    return sums


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
    found = partitions.run(target_sums, names, fitted=fitted)
    features, columns = (
        share[0] * found[f"{name}0"] + share[1] * found[f"{name}1"] for name in ("features", "columns")
    )
    target = MeansTarget(features.repeat(2, 1), columns.repeat(2, 1))

    ones = torch.ones_like(ridge).repeat(2)

    def evaluate(point: DualPoint) -> Evaluated:
        sums = partitions.run(dual_sums, names, fitted=fitted, dual=BothArms(point, ones, ones))
        # One more pass would cost more than the curvature that a line search does not ask for.
        return Evaluated(point, sums["sums"], lambda: sums["curvature"])

    solved = solve_with_means(target, ridge.repeat(2), ridge.new_tensor(counts), evaluate)
    amplitude, ridges = solved.amplitude, solved.ridge
    dual, totals = BothArms(solved.point, amplitude, ridges), solved.at.sums.margins / ridges
    reached = partitions.run(weigh, names, "weights", fitted=fitted, dual=dual, totals=totals)
    goal = target.joined(amplitude)
    slopes = (reached["mean0"] - goal[:1], reached["mean1"] - goal[1:])
    least = partitions.run(smallest_gradients, [*names, "weights"], fitted=fitted, dual=dual, slopes=slopes)
    gaps, size, lowest = [], 0.0, 0.0
    for arm in (0, 1):
        own = ridges[arm : arm + 1]
        inner = (reached[f"mean{arm}"] * slopes[arm]).sum(1) + own * reached[f"squares{arm}"]
        beside = amplitude[arm] * found[f"columns{arm}"]
        uniform = torch.cat([found[f"features{arm}"], beside], 1) / counts[arm] - goal[arm]
        reference = objective_from_sums(uniform.norm(dim=1), torch.full_like(own, 1 / counts[arm]), own)
        gap = gap_from_sums(inner, least[f"gradient{arm}"].lower, reference)
        gaps.append(float(gap))
        size += float(slopes[arm].norm(dim=1))
        lowest += float(lowest_imbalance(slopes[arm].norm(dim=1), gap * reference))
    means = [reached[f"mean{arm}"][:, : features.shape[1]] for arm in (0, 1)]
    uniforms = [found[f"features{arm}"] / counts[arm] for arm in (0, 1)]
    one = replace(target, features=features, columns=columns)
    return Balanced(one, (means[0], means[1]), (uniforms[0], uniforms[1]), max(gaps), size, lowest)
