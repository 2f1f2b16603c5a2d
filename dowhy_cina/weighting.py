"""Balancing weights of an analysed table: zero-shot, refined to a gap, or solved exactly on a kernel of all rows.

Letters: N rows, M features. Every tensor has a first axis of one table.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.balancing import relative_target_gap, simplex_weights, weights_from_alpha
from dowhy_cina.errors import InputError
from dowhy_cina.kernels import LandmarkKernel, squared_distances
from dowhy_cina.nn.model import CinaModel, TableBatch, ZeroShot
from dowhy_cina.solvers import CHECK_EVERY, MAX_ROWS, solve_dual, solve_dual_svc

#: Relative duality gap of the exact solution.
EXACT_GAP = 1e-6
#: Lambda of the exact dual and ridge of exact target balancing, in multiples of the kernel's diagonal.
EXACT_REGULARISATION = 0.1
#: Iterations after which a refinement gives up, and says so.
MAX_STEPS = 5000
#: Rows whose pairwise distances give the median bandwidth.
BANDWIDTH_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class Weighting:
    """Weights of both arms and what is known of them.

    Attributes
    ----------
    weights : Tensor, shape (1, N)
        Not negative; each arm sums to one.
    gap : float
        Relative duality gap of the problem they come from.
    steps : int
        Iterations after the forward pass.
    converged : bool
        Whether a gap that was asked for was reached.
    """

    weights: Float[Tensor, "1 N"]
    gap: float
    steps: int = 0
    converged: bool = True


def uniform(table: TableBatch) -> Weighting:
    """Equal weights in each arm: all that a table without covariates allows."""
    treated, control = table.treatment, 1 - table.treatment
    return Weighting(treated / treated.sum() + control / control.sum(), 0.0)


def arm_against_arm(model: CinaModel, table: TableBatch, state: ZeroShot, refine: float | None) -> Weighting:
    """Weights of the paper's estimator: zero-shot values, refined on request."""
    values = model.values(table, state)
    gap = float(values.duality_gap)
    if refine is None or gap <= refine:
        return Weighting(values.weights, gap)
    solution = solve_dual(
        state.balance_features,
        table.signs,
        model.regularisation(state),
        tolerance=refine,
        solver=values.solver,
        max_iterations=MAX_STEPS,
    )
    weights = weights_from_alpha(solution.alpha, table.signs)
    return Weighting(weights, float(solution.gap), solution.iterations, solution.converged)


def arm_against_arm_exact(table: TableBatch, state: ZeroShot) -> Weighting:
    """Weights of the paper's Algorithm 1: the dual solved to tolerance on the kernel of all rows."""
    gram = state.balance_features @ state.balance_features.transpose(1, 2)
    regularisation = EXACT_REGULARISATION * float(state.balance_kernel.diagonal)
    signs = table.signs[0].cpu().numpy()
    solution = solve_dual_svc(gram[0].cpu().numpy(), signs, regularisation, tolerance=EXACT_GAP)
    weights = weights_from_alpha(solution.alpha.to(table.signs), table.signs)
    return Weighting(weights, float(solution.gap), solution.iterations, solution.converged)


def arm_to_target(
    model: CinaModel,
    state: ZeroShot,
    arm: Float[Tensor, "1 N"],
    target: Float[Tensor, "1 M"],
    refine: float | None,
) -> Weighting:
    """Weights of one arm that reproduce a target's mean features."""
    features, ridge = state.balance_features, state.balance_ridge
    weights, solver = model.layer.balance_to(features, arm, target, ridge)
    gap = float(relative_target_gap(features, weights, arm, target, ridge))
    if refine is None or gap <= refine:
        return Weighting(weights, gap)
    best, steps = weights, 0
    while gap > refine and steps < MAX_STEPS:
        candidate = simplex_weights(solver.run(CHECK_EVERY), arm)
        steps += CHECK_EVERY
        found = float(relative_target_gap(features, candidate, arm, target, ridge))
        if found < gap:
            best, gap = candidate, found
    return Weighting(best, gap, steps, gap <= refine)


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
    rows = table.covariates.shape[1]
    if rows > MAX_ROWS:
        raise InputError(
            f"checkpoint='exact' takes at most {MAX_ROWS} rows, got {rows}; use the landmark route of 'cina-small'."
        )
    some = table.covariates[:, : min(rows, BANDWIDTH_ROWS)]
    distances = squared_distances(some, some)[0]
    above = distances[torch.triu_indices(len(distances), len(distances), 1).unbind(0)]
    bandwidth = float(above.median().sqrt()) or 1.0
    one_head = state.settings.treatment_amplitudes.new_tensor([[0.0, 1.0, 0.0]])
    kernel = LandmarkKernel.build(table.covariates / bandwidth, one_head)
    features = kernel.features(table.covariates / bandwidth)
    ridge = EXACT_REGULARISATION * kernel.diagonal
    exact = dataclasses.replace(state, balance_kernel=kernel, balance_features=features, balance_ridge=ridge)
    return exact, bandwidth
