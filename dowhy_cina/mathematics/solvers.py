"""Exact solutions of the CInA dual: one table through a support vector machine, many at once through the splitting.

Letters: B tables, N rows, M features.

References
----------
Tarr and Imai (2025): the dual of Eq. 3 is a support vector machine's with the treatment as label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from sklearn import config_context
from sklearn.svm import SVC
from torch import Tensor

from dowhy_cina.errors import InputError
from dowhy_cina.mathematics.balancing import (
    Features,
    exact_intercept,
    gap_from_scores,
    gram_scores,
    make_feasible,
    margin_scores,
    relative_duality_gap,
)
from dowhy_cina.mathematics.splitting import DUAL_STEP, RELAXATION, Splitting, dual_program

#: Rows of the largest table that is solved exactly: beyond, the Gram alone takes more than 200 MB.
MAX_ROWS = 5000
#: Added to the diagonal of a Gram of unit diagonal before it is factorised.
JITTER = 1e-10
#: Iterations between two looks at the gap.
CHECK_EVERY = 5
#: Iterations after which the step is first fitted to the residuals; then after twice as many, and so on.
FIRST_REBALANCE = 20
#: Stopping threshold of the support vector machine in multiples of the relative gap that is wanted, and the least one:
#: below, the active set is faster, and its precision is not single.
STOP_PER_GAP, LAST_STOP = 15.0, 1e-3
#: Steps of the active set before it gives up, and the error of a margin that makes a variable leave its bound.
ACTIVE_SET_STEPS, MARGIN_TOLERANCE = 200, 1e-9
#: Ridge of its linear systems, relative to the kernel's size: rows that occur twice would make them singular.
ACTIVE_SET_RIDGE = 1e-12
#: Pairwise steps of the support vector machine on one table before it gives up.
MAX_PAIR_STEPS = 1_000_000


@dataclass(frozen=True)
class DualSolution:
    """Solution of the dual of a batch of tables.

    Attributes
    ----------
    alpha : Tensor, shape (B, N)
        Feasible dual variables.
    intercept : Tensor, shape (B,)
    gap : Tensor, shape (B,)
        Relative duality gap that was reached.
    iterations : int
        Of the splitting; or pairwise steps of the support vector machine, summed over tables.
    converged : bool
        Whether every gap is at most the tolerance.
    """

    alpha: Float[Tensor, "B N"]
    intercept: Float[Tensor, " B"]
    gap: Float[Tensor, " B"]
    iterations: int
    converged: bool


def check_rows(rows: int, what: str) -> None:
    """Refuse a table that is too long to be solved exactly.

    Raises
    ------
    InputError
        Naming the landmark route.
    """
    if rows > MAX_ROWS:
        raise InputError(
            f"{what} takes at most {MAX_ROWS} rows, got {rows}; use the landmark route of checkpoint='cina-small'."
        )


def check_gram(gram: Float[Tensor, "N N"]) -> None:
    """Refuse what is no Gram.

    Semi-definiteness is checked as far as one look at each entry allows: the largest one stands on the diagonal.

    Raises
    ------
    InputError
        If the Gram is not symmetric, holds NaN or infinities, or cannot be positive semi-definite.
    """
    # Products with a vector that no asymmetry is orthogonal to: far cheaper than a look at the transpose.
    probe = torch.arange(len(gram), dtype=gram.dtype, device=gram.device).cos()
    product = gram @ probe
    if not bool(torch.isfinite(product).all()):
        raise InputError("gram: expected finite numbers, got NaN or infinities; check the covariates it was made from.")
    size = max(float(gram.amax()), -float(gram.amin()))
    if float((product - probe @ gram).abs().amax()) > 1e-8 * size:
        raise InputError(
            "gram: expected a symmetric matrix, got one that differs from its transpose by "
            f"{float((gram - gram.T).abs().amax()):.2g}; use (K + K') / 2."
        )
    if float(gram.diagonal().amax()) < (1 - 1e-8) * size:
        raise InputError(
            "gram: expected a positive semi-definite matrix, got one whose largest entry is not on its diagonal; "
            "use a kernel."
        )


def _check_shape(gram: Tensor) -> None:
    if gram.ndim != 3 or gram.shape[1] != gram.shape[2]:
        raise InputError(f"gram: expected shape (B, N, N), got {tuple(gram.shape)}; add a first axis for one table.")


def factorise(gram: Float[Tensor, "B N N"]) -> Float[Tensor, "B N N"]:
    """Features whose inner products are a Gram: its Cholesky factor.

    Raises
    ------
    InputError
        If the shape is another one, as :func:`check_gram`, or if an eigenvalue is negative.
    """
    _check_shape(gram)
    for table in gram:
        check_gram(table)
    size = gram.diagonal(dim1=1, dim2=2).amax(1).clamp_min(torch.finfo(gram.dtype).tiny)
    eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(gram + JITTER * size[:, None, None] * eye)
    if bool(failed.any()):
        raise InputError(
            "gram: expected a positive semi-definite matrix, got one with a negative eigenvalue; use a kernel."
        )
    return factor


def check_problem(signs: Float[Tensor, "B N"], regularisation: Float[Tensor, " B"]) -> None:
    """Refuse a regularisation that is not positive, and tables without rows in both arms.

    Raises
    ------
    InputError
        Naming the first table at fault.
    """
    wrong = torch.nonzero(~(regularisation > 0))
    if len(wrong):
        table = int(wrong[0])
        raise InputError(
            f"regularisation: expected positive numbers, got {float(regularisation[table])} for table {table}."
        )
    counts = torch.stack([(signs > 0).sum(1), (signs < 0).sum(1)], 1)
    empty = torch.nonzero(counts.amin(1) == 0)
    if len(empty):
        table = int(empty[0])
        treated, control = counts[table].tolist()
        raise InputError(
            f"table {table}: expected treated and control rows, got {treated} treated and {control} control; "
            "leave it out."
        )


def solve_dual(
    features: Features,
    signs: Float[Tensor, "B N"],
    regularisation: Float[Tensor, " B"],
    *,
    tolerance: float = 1e-3,
    solver: Splitting | None = None,
    step: float = DUAL_STEP,
    max_iterations: int = 5000,
) -> DualSolution:
    """Solve the dual of a batch of tables by splitting; tables of different sizes are padded with rows of sign 0.

    Parameters
    ----------
    features : Tensor, shape (B, N, M)
        Factor of each table's Gram, see :func:`factorise`; zero for padding rows.
    signs : Tensor, shape (B, N)
        1 treated, -1 control, 0 padding.
    regularisation : Tensor, shape (B,)
        Lambda.
    tolerance : float
        Relative duality gap to reach in every table.
    solver : Splitting, optional
        A solver of this problem to continue, for instance the one behind a network's zero-shot values.
    step : float
        Penalty of the splitting from here on; it changes the speed, never the solution.
    max_iterations : int

    Returns
    -------
    DualSolution
        The feasible point with the smallest gap of each table; ``converged`` says whether the tolerance was reached.

    Raises
    ------
    InputError
        If the regularisation is not positive or an arm is empty.
    """
    check_problem(signs, regularisation)
    steps = torch.full_like(regularisation, step)
    solver = solver.with_step(steps) if solver else Splitting(dual_program(features, signs, regularisation), steps)
    alpha = make_feasible(solver.solution, signs)
    gap = relative_duality_gap(features, alpha, signs, regularisation)
    iterations, rebalance_at = 0, FIRST_REBALANCE
    while iterations < max_iterations and bool((gap > tolerance).any()):
        count = min(CHECK_EVERY, max_iterations - iterations)
        candidate = make_feasible(solver.run(count, RELAXATION), signs)
        iterations += count
        found = relative_duality_gap(features, candidate, signs, regularisation)
        # A table that is there already stays, so that its solution does not depend on its company in the batch.
        better = (found < gap) & (gap > tolerance)
        alpha, gap = torch.where(better[:, None], candidate, alpha), torch.where(better, found, gap)
        if iterations >= rebalance_at:
            solver, rebalance_at = solver.rebalanced(RELAXATION), 2 * rebalance_at
            iterations += 1
    intercept = exact_intercept(margin_scores(features, alpha, signs, regularisation), signs)
    return DualSolution(alpha, intercept, gap, iterations, bool((gap <= tolerance).all()))


def solve_dual_svc(
    gram: Float[Tensor, "B N N"],
    signs: Float[Tensor, "B N"],
    regularisation: Float[Tensor, " B"],
    *,
    tolerance: float = 1e-6,
) -> DualSolution:
    """Solve the dual of each table with scikit-learn's SVC, whose box constraint is Eq. 3's; the fastest way on a CPU.

    Parameters
    ----------
    gram : Tensor, shape (B, N, N)
        Kernel of each table's rows; entries of padding rows are not looked at beyond :func:`check_gram`.
    signs : Tensor, shape (B, N)
        1 treated, -1 control, 0 padding.
    regularisation : Tensor, shape (B,)
        Lambda.
    tolerance : float
        Relative duality gap to reach in every table.

    Returns
    -------
    DualSolution
        The feasible point with the smallest gap of each table; ``converged`` says whether the tolerance was reached.

    Raises
    ------
    InputError
        If a Gram is no kernel's, the regularisation is not positive, an arm is empty, or the tables are too long.
    """
    check_rows(signs.shape[1], "an exact solution")
    check_problem(signs, regularisation)
    _check_shape(gram)
    alpha, scores = torch.zeros_like(signs), torch.zeros_like(signs)
    stop, iterations = max(STOP_PER_GAP * tolerance, LAST_STOP), 0
    with config_context(assume_finite=True, skip_parameter_validation=True):  # all of it has been checked
        for table, (kernel, labels, penalty) in enumerate(zip(gram, signs, regularisation.tolist(), strict=True)):
            # Check, solution and scores one by one, while the Gram is in the processor's cache.
            check_gram(kernel)
            found, steps = _fit_svc(kernel, labels, penalty, stop)
            alpha[table], scores[table] = found, kernel @ (found * labels) / penalty
            iterations += steps
    gap = gap_from_scores(scores, alpha, signs)
    # A small gap leaves alpha open to its square root: who asks for that much gets the solution to rounding.
    pending = torch.nonzero(gap > (0 if stop == LAST_STOP else tolerance))
    for table in pending[:, 0].tolist():
        only = slice(table, table + 1)
        found, steps = _active_set(gram[table], signs[table], alpha[table], float(regularisation[table]))
        found_scores = gram_scores(gram[only], found[None], signs[only], regularisation[only])
        found_gap = gap_from_scores(found_scores, found[None], signs[only])
        iterations += steps
        if float(found_gap) < float(gap[table]):
            alpha[table], scores[only], gap[only] = found, found_scores, found_gap
    return DualSolution(alpha, exact_intercept(scores, signs), gap, iterations, bool((gap <= tolerance).all()))


def _fit_svc(
    gram: Float[Tensor, "N N"], signs: Float[Tensor, " N"], regularisation: float, stop: float
) -> tuple[Float[Tensor, " N"], int]:
    """Dual variables of one table, on the signs' device, and the steps that they took."""
    kernel, labels = gram.cpu().numpy(), signs.cpu().numpy()
    rows = np.flatnonzero(labels)
    if len(rows) < len(labels):
        kernel = kernel[np.ix_(rows, rows)]
    # A seed, without which numpy's global state is drawn from; nothing here is random.
    machine = SVC(C=1 / regularisation, kernel="precomputed", tol=stop, max_iter=MAX_PAIR_STEPS, random_state=0)
    machine.fit(kernel, labels[rows].astype(np.int64))  # whole numbers are validated sooner
    alpha = np.zeros(len(labels))
    alpha[rows[machine.support_]] = np.minimum(regularisation * np.abs(machine.dual_coef_[0]), 1)
    return torch.from_numpy(alpha).to(signs), int(machine.n_iter_[0])


def _active_set(
    gram: Float[Tensor, "N N"], signs: Float[Tensor, " N"], alpha: Float[Tensor, " N"], regularisation: float
) -> tuple[Float[Tensor, " N"], int]:
    """Solve the dual of one table to rounding from a feasible, nearly solved point; also the steps that it took.

    Each step goes towards the optimum over the variables off their bounds, up to the first bound that it meets. At that
    optimum the variables whose margin says so leave their bounds: a margin under 1 at 0, or over 1 at 1.
    """
    kernel, w, current = gram.cpu().numpy(), signs.cpu().numpy(), alpha.cpu().numpy().copy()
    ridge = ACTIVE_SET_RIDGE * kernel.max()
    free, step = (current > 0) & (current < 1), 0
    while free.any() and step < ACTIVE_SET_STEPS:
        step += 1
        rows, fixed = np.flatnonzero(free), w * np.where(free, 0, current)
        # Last row and column: the balance of the arms and the intercept.
        system = np.pad(kernel[np.ix_(rows, rows)], (0, 1), constant_values=regularisation)
        system[np.diag_indices_from(system)] += ridge
        system[-1, -1] = 0
        right = np.append(regularisation * w[rows] - kernel[rows] @ fixed, -regularisation * fixed.sum())
        solution = np.linalg.solve(system, right)
        direction = w[rows] * solution[:-1] - current[rows]
        room = np.where(direction > 0, 1 - current[rows], current[rows])
        reach = np.divide(room, np.abs(direction), out=np.full(len(rows), np.inf), where=direction != 0)
        blocked = reach <= min(1, reach.min())
        current[rows] = np.where(blocked, direction > 0, current[rows] + min(1, reach.min()) * direction)
        free[rows[blocked]] = False
        if not blocked.any():
            margins = w * (kernel @ (w * current) / regularisation + solution[-1])
            wrong = np.where(current > 0.5, margins > 1 + MARGIN_TOLERANCE, margins < 1 - MARGIN_TOLERANCE)
            enters = wrong & ~free & (w != 0)
            if not enters.any():
                break
            free |= enters
    return torch.from_numpy(current).to(signs), step
