"""Balancing weights after a forward pass: zero-shot, refined to a gap, or solved exactly on a kernel of all rows.

Letters: B tables, N rows, M features. Exact solutions are of one table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.balancing import (
    arms_imbalance,
    take_rows,
    weights_from_alpha,
)
from dowhy_cina.mathematics.dual import ArmProblem, Curvature
from dowhy_cina.mathematics.kernels import LandmarkKernel, gaussian_gram, median_bandwidth, within_reach
from dowhy_cina.mathematics.means import MeansTarget, balance_with_means
from dowhy_cina.mathematics.passes import gather_rows, places_of
from dowhy_cina.mathematics.solvers import CHECK_EVERY, DualSolution, check_rows, solve_dual, solve_dual_svc
from dowhy_cina.mathematics.splitting import RELAXATION, Splitting, simplex_weights, target_program
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import TableBatch, ZeroShot, one_table

#: Relative duality gap of the exact solution.
EXACT_GAP = 1e-6
#: Lambda of the exact dual and ridge of exact target balancing, in multiples of the kernel's diagonal.
EXACT_REGULARISATION = 0.1
#: Iterations of the splitting after which a refinement gives up, and says so.
MAX_STEPS = 5000


@dataclasses.dataclass(frozen=True)
class Balancing:
    """How weights are found.

    Attributes
    ----------
    refine : float, optional
        Relative duality gap to reach; that of the zero-shot weights by default.
    bandwidth : float, optional
        Of the Gaussian kernel of the covariates in which the problem is solved exactly, see
        :func:`with_kernel_of_all_rows`; without one, weights are those of the model's own balancing layer.
    """

    refine: float | None = None
    bandwidth: float | None = None


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What is known of weights as the solution of a balancing problem, shape (B,).

    Attributes
    ----------
    gap : Tensor
        Relative duality gap of the problem they come from.
    imbalance, lowest_imbalance : Tensor
        Size of what that problem balances, per unit norm, and what no weights as spread out can go below.
    """

    gap: Float[Tensor, " B"]
    imbalance: Float[Tensor, " B"]
    lowest_imbalance: Float[Tensor, " B"]


@dataclasses.dataclass(frozen=True)
class Weighting:
    """Weights of both arms of every table.

    Attributes
    ----------
    weights : Tensor, shape (B, N)
        Not negative; each arm sums to one.
    certify : callable
        Works out the certificate, which refits do without.
    means : Tensor of shape (B, A, 2, M), optional
        Mean features of the kernel under the weights and under uniform ones in each of the A arms, where they are
        known.
    steps : int
        Iterations after the forward pass.
    converged : bool
        Whether a gap that was asked for was reached.
    """

    weights: Float[Tensor, "B N"]
    certify: Callable[[], Certificate]
    means: Float[Tensor, "B A 2 M"] | None = None
    steps: int = 0
    converged: bool = True

    @cached_property
    def certificate(self) -> Certificate:
        """What is known of the weights."""
        return self.certify()

    def of_one(self, place: int) -> Weighting:
        """Weights of one table of the batch, and what is known of them."""
        certificate = one_table(self.certificate, place)
        weights, means = one_table((self.weights, self.means), place)
        return dataclasses.replace(self, weights=weights, means=means, certify=lambda: certificate)

    @classmethod
    def given(cls, weights: Float[Tensor, "B N"]) -> Weighting:
        """Weights that solve no problem, so that nothing is left open."""
        zero = torch.zeros_like(weights[:, 0])
        return cls(weights, lambda: Certificate(zero, zero, zero))

    def halves(self) -> tuple[Weighting, Weighting]:
        """Weights of the first half of the tables, and of the others."""

        def of(place: int) -> Weighting:
            def certify() -> Certificate:
                return Certificate(*(part.chunk(2)[place] for part in vars(self.certificate).values()))

            means = None if self.means is None else self.means.chunk(2)[place]
            return Weighting(self.weights.chunk(2)[place], certify, means, self.steps, self.converged)

        return of(0), of(1)

    def __add__(self, other: Weighting) -> Weighting:
        """Join the weights of two arms."""

        def both() -> Certificate:
            one, two = self.certificate, other.certificate
            lowest = one.lowest_imbalance + two.lowest_imbalance
            return Certificate(torch.maximum(one.gap, two.gap), one.imbalance + two.imbalance, lowest)

        means = None
        if self.means is not None and other.means is not None:
            means = torch.cat([self.means, other.means], 1)
        steps, converged = max(self.steps, other.steps), self.converged and other.converged
        return Weighting(self.weights + other.weights, both, means, steps, converged)


def uniform(table: TableBatch) -> Weighting:
    """Equal weights in each arm: all that a table without covariates allows."""
    control, treated = (arm / arm.sum(1, keepdim=True) for arm in (table.arm(0), table.arm(1)))
    return Weighting.given(control + treated)


def arm_against_arm(model: CinaModel, table: TableBatch, state: ZeroShot, how: Balancing) -> Weighting:
    """Weights of the paper's estimator: zero-shot values, refined on request, or Algorithm 1's exact solution."""
    if how.bandwidth is not None:
        regularisation = torch.full_like(table.treatment[:, 0], EXACT_REGULARISATION)
        keys = within_reach(table.covariates)
        gram = gaussian_gram(keys, how.bandwidth)
        solution = solve_table(keys, gram, table.signs, regularisation, how.refine or EXACT_GAP)
        return _of_dual(table, state, solution, regularisation)
    values, regularisation = model.values(table, state), model.regularisation(state)
    if how.refine is None or bool((values.duality_gap <= how.refine).all()):
        solution = DualSolution(values.alpha, torch.zeros_like(regularisation), values.duality_gap, 0, True)
    else:
        solution = solve_dual(
            state.balance_features,
            table.signs,
            regularisation,
            tolerance=how.refine,
            solver=values.solver,
            max_iterations=MAX_STEPS,
        )
    return _of_dual(table, state, solution, regularisation)


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


def _of_dual(
    table: TableBatch, state: ZeroShot, solution: DualSolution, regularisation: Float[Tensor, " B"]
) -> Weighting:
    def certify() -> Certificate:
        sizes = arms_imbalance(state.balance_features, solution.alpha, table.signs, regularisation)
        return Certificate(solution.gap, *sizes)

    weights = weights_from_alpha(solution.alpha, table.signs)
    return Weighting(weights, certify, None, solution.iterations, solution.converged)


def arm_to_target(
    state: ZeroShot,
    arm: Float[Tensor, "B N"],
    columns: Float[Tensor, "B N L"],
    target: MeansTarget,
    how: Balancing,
    known: Curvature | None = None,
) -> Weighting:
    """Weights of one arm that balance it to a target: its kernel's mean features, and the means of columns beside them.

    An exact solution is that of its kernel alone. Of features that are kept, there may be several arms of every table,
    one after the other. ``known`` is the curvature of the whole arm, if it is known.
    """
    places, ridge = places_of(arm), state.balance_ridge
    if len(arm) > len(ridge):
        target, ridge = target.repeated(len(arm) // len(ridge)), ridge.repeat(len(arm) // len(ridge))
    # The rows of the other arm need not be carried along.
    own = take_rows(state.balance_features, places)
    problem = ArmProblem(own, arm.gather(1, places), target.features, ridge)
    if how.bandwidth is None:
        own_columns = gather_rows(columns, places)
        _, weights, solution = balance_with_means(problem, own_columns, target.columns, known, target.given)
        means, steps = solution.means[:, None, :, : problem.target.shape[1]], 0
    else:
        weights, steps = _by_splitting(problem, how.refine or EXACT_GAP)
        solution, means = None, None

    def certify() -> Certificate:
        found = problem.certificate(weights) if solution is None else solution.certificate
        return Certificate(found.gap, found.imbalance, found.lowest)

    converged = how.refine is None or bool((certify().gap <= how.refine).all())
    solved = torch.zeros_like(arm).scatter(1, places, weights)
    return Weighting(solved, certify, means, steps, converged)


def _by_splitting(problem: ArmProblem, goal: float) -> tuple[Float[Tensor, "B n"], int]:
    """Weights whose gap is at most a goal, as far as that is reached, and the steps to them.

    For as many features as rows, those of an exact kernel: Newton's systems would be larger than the splitting's work.
    """
    # The step of the splitting that converges fastest sits a little below the ridge, whatever the kernel.
    program = target_program(problem.features, problem.arm, problem.target, problem.ridge)
    solver, steps = Splitting(program, 0.3 * problem.ridge), 0
    weights = simplex_weights(solver.run(1), problem.arm)
    gap = problem.certificate(weights).gap
    while bool((gap > goal).any()) and steps < MAX_STEPS:
        candidate = simplex_weights(solver.run(CHECK_EVERY, RELAXATION), problem.arm)
        steps += CHECK_EVERY
        found = problem.certificate(candidate).gap
        better = (found < gap) & (gap > goal)
        weights, gap = torch.where(better[:, None], candidate, weights), torch.where(better, found, gap)
    return weights, steps


def balance_arms(
    model: CinaModel,
    table: TableBatch,
    state: ZeroShot,
    target: MeansTarget,
    how: Balancing | None = None,
    untouched: str | None = None,
) -> Weighting:
    """Weights of both arms, each balanced to the target; the arm that is the target itself may keep its own weights.

    Parameters
    ----------
    model, table, state
        A batch of tables after their forward pass.
    target : MeansTarget
        The target population's mean features and columns.
    how : Balancing, optional
    untouched : str, optional
        "att" or "atc" for the arm that keeps its own weights.
    """
    known = state.arm_moments
    columns = model.balance_columns(table.covariates, state.coordinate) if known is None else known.columns
    how = how or Balancing()
    zero_shot = untouched is None and how.bandwidth is None
    if zero_shot and table.arms_are_alike and isinstance(state.balance_features, Tensor):
        both = torch.cat([table.arm(0), table.arm(1)])
        control, treated = arm_to_target(state, both, columns, target, how).halves()
        return control + treated
    arms = []
    for place, name in enumerate(("atc", "att")):
        arm = table.arm(place)
        if untouched == name:
            arms.append(Weighting.given(arm / arm.sum(1, keepdim=True)))
        else:
            moments = None if known is None else known.both[place]
            arms.append(arm_to_target(state, arm, columns, target, how, moments))
    return arms[0] + arms[1]


def with_kernel_of_all_rows(table: TableBatch, state: ZeroShot) -> tuple[ZeroShot, Balancing]:
    """Replace the balancing space by that of a Gaussian kernel of the covariates, exact for every row.

    Returns
    -------
    ZeroShot
    Balancing
        An exact one; the bandwidth is the median distance of two rows.

    Raises
    ------
    InputError
        If the table has more rows than the exact solution takes.
    """
    check_rows(table.covariates.shape[1], "checkpoint='exact'")
    keys = within_reach(table.covariates)
    bandwidth = median_bandwidth(keys[0])
    one_head = state.settings.treatment_amplitudes.new_tensor([[0.0, 1.0, 0.0]])
    kernel = LandmarkKernel(keys / bandwidth, one_head)
    features = kernel.features(keys / bandwidth)
    ridge = EXACT_REGULARISATION * kernel.diagonal
    exact = dataclasses.replace(
        state, balance_kernel=kernel, balance_features=features, balance_ridge=ridge, arm_moments=None
    )
    return exact, Balancing(EXACT_GAP, bandwidth)
