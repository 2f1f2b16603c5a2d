"""Balancing weights of an analysed table: zero-shot, refined to a gap, or solved exactly on a kernel of all rows.

Letters: N rows, M features. Every tensor has a first axis of one table.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.balancing import (
    arms_imbalance,
    relative_target_gap,
    simplex_weights,
    target_imbalance,
    weights_from_alpha,
)
from dowhy_cina.kernels import LandmarkKernel, gaussian_gram, median_bandwidth
from dowhy_cina.nn.model import CinaModel, TableBatch, ZeroShot
from dowhy_cina.solvers import CHECK_EVERY, RELAXATION, DualSolution, check_rows, solve_dual, solve_dual_svc

#: Relative duality gap of the exact solution.
EXACT_GAP = 1e-6
#: Lambda of the exact dual and ridge of exact target balancing, in multiples of the kernel's diagonal.
EXACT_REGULARISATION = 0.1
#: Iterations after which a refinement gives up, and says so.
MAX_STEPS = 5000


@dataclasses.dataclass(frozen=True)
class Weighting:
    """Weights of both arms and what is known of them.

    Attributes
    ----------
    weights : Tensor, shape (1, N)
        Not negative; each arm sums to one.
    gap : float
        Relative duality gap of the problem they come from.
    imbalance, lowest_imbalance : float
        Size of what that problem balances, per unit norm, and what no weights as spread out can go below.
    steps : int
        Iterations after the forward pass.
    converged : bool
        Whether a gap that was asked for was reached.
    """

    weights: Float[Tensor, "1 N"]
    gap: float
    imbalance: float = 0.0
    lowest_imbalance: float = 0.0
    steps: int = 0
    converged: bool = True


def uniform(table: TableBatch) -> Weighting:
    """Equal weights in each arm: all that a table without covariates allows."""
    treated, control = table.treatment, 1 - table.treatment
    return Weighting(treated / treated.sum() + control / control.sum(), 0.0)


def arm_against_arm(model: CinaModel, table: TableBatch, state: ZeroShot, refine: float | None) -> Weighting:
    """Weights of the paper's estimator: zero-shot values, refined on request."""
    values = model.values(table, state)
    regularisation = model.regularisation(state)
    if refine is None or float(values.duality_gap) <= refine:
        solution = DualSolution(values.alpha, torch.zeros_like(regularisation), values.duality_gap, 0, True)
    else:
        solution = solve_dual(
            state.balance_features,
            table.signs,
            regularisation,
            tolerance=refine,
            solver=values.solver,
            max_iterations=MAX_STEPS,
        )
    return _arms(table, state, solution, regularisation)


def arm_against_arm_exact(table: TableBatch, state: ZeroShot, bandwidth: float) -> Weighting:
    """Weights of the paper's Algorithm 1: the dual solved to tolerance on the kernel of all rows."""
    regularisation = torch.full_like(table.treatment[:, 0], EXACT_REGULARISATION)
    gram = gaussian_gram(table.covariates, bandwidth)
    solution = solve_table(table.covariates, gram, table.signs, regularisation, EXACT_GAP)
    return _arms(table, state, solution, regularisation)


def solve_table(
    covariates: Float[Tensor, "1 N D"],
    gram: Float[Tensor, "1 N N"],
    signs: Float[Tensor, "1 N"],
    regularisation: Float[Tensor, " 1"],
    tolerance: float,
) -> DualSolution:
    """Exact dual of one table, the same for rows that have the same covariates and treatment.

    The dual determines only the sum of alpha over such rows: every split of it is a solution, and the even one does not
    depend on their order.
    """
    solution = solve_dual_svc(gram, signs, regularisation, tolerance=tolerance)
    rows = torch.cat([covariates[0], signs[0, :, None]], 1)
    group, count = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)[1:]
    sums = torch.zeros_like(count, dtype=signs.dtype).index_add(0, group, solution.alpha[0])
    return dataclasses.replace(solution, alpha=(sums / count)[group][None])


def _arms(table: TableBatch, state: ZeroShot, solution: DualSolution, regularisation: Float[Tensor, " 1"]) -> Weighting:
    size, lowest = arms_imbalance(state.balance_features, solution.alpha, table.signs, regularisation)
    weights = weights_from_alpha(solution.alpha, table.signs)
    gap = float(solution.gap)
    return Weighting(weights, gap, float(size), float(lowest), solution.iterations, solution.converged)


def arm_to_target(
    model: CinaModel,
    state: ZeroShot,
    arm: Float[Tensor, "1 N"],
    target: Float[Tensor, "1 M"],
    refine: float | None,
) -> Weighting:
    """Weights of one arm that reproduce a target's mean features."""
    features, ridge = state.balance_features, state.balance_ridge
    best, solver = model.layer.balance_to(features, arm, target, ridge)
    gap, steps = float(relative_target_gap(features, best, arm, target, ridge)), 0
    while refine is not None and gap > refine and steps < MAX_STEPS:
        candidate = simplex_weights(solver.run(CHECK_EVERY, RELAXATION), arm)
        steps += CHECK_EVERY
        found = float(relative_target_gap(features, candidate, arm, target, ridge))
        if found < gap:
            best, gap = candidate, found
    size, lowest = target_imbalance(features, best, arm, target, ridge)
    return Weighting(best, gap, float(size), float(lowest), steps, refine is None or gap <= refine)


def with_kernel_of_all_rows(table: TableBatch, state: ZeroShot) -> tuple[ZeroShot, float]:
    """Replace the balancing space by that of a Gaussian kernel of the covariates, exact for every row.

    Returns
    -------
    ZeroShot
    float
        Bandwidth of the kernel: the median distance of two rows.

    Raises
    ------
    InputError
        If the table has more rows than the exact solution takes.
    """
    check_rows(table.covariates.shape[1], "checkpoint='exact'")
    bandwidth = median_bandwidth(table.covariates[0])
    one_head = state.settings.treatment_amplitudes.new_tensor([[0.0, 1.0, 0.0]])
    kernel = LandmarkKernel.build(table.covariates / bandwidth, one_head)
    features = kernel.features(table.covariates / bandwidth)
    ridge = EXACT_REGULARISATION * kernel.diagonal
    exact = dataclasses.replace(state, balance_kernel=kernel, balance_features=features, balance_ridge=ridge)
    return exact, bandwidth
