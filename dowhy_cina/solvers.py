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

from dowhy_cina.balancing import (
    Splitting,
    dual_program,
    exact_intercept,
    gap_from_scores,
    gram_scores,
    make_feasible,
    margin_scores,
    relative_duality_gap,
)
from dowhy_cina.errors import InputError

#: Rows of the largest table that is solved exactly: beyond, the Gram alone takes more than 200 MB.
MAX_ROWS = 5000
#: Added to the diagonal of a Gram of unit diagonal before it is factorised.
JITTER = 1e-10
#: Iterations between two looks at the gap.
CHECK_EVERY = 5
#: Over-relaxation of a splitting that runs to a gap; it takes about a third off the iterations.
RELAXATION = 1.6
#: First stopping threshold of the support vector machine, in multiples of the relative gap that is wanted ...
STOP_PER_GAP = 20.0
#: ... and never below the first of these, where Newton steps take over, unless they fail: then down to the second.
FIRST_STOP, LAST_STOP = 1e-3, 1e-6
#: Violation of an optimality condition on a margin that makes a variable leave its bound.
KKT_TOLERANCE = 1e-9
#: Newton steps after the support vector machine.
NEWTON_STEPS = 8
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


def check_gram(gram: Float[Tensor, "B N N"]) -> None:
    """Refuse what is no Gram.

    Semi-definiteness is checked as far as one look at each entry allows: the largest one stands on the diagonal.

    Raises
    ------
    InputError
        If the Gram is not square and symmetric, holds NaN or infinities, or cannot be positive semi-definite.
    """
    if gram.ndim != 3 or gram.shape[1] != gram.shape[2]:
        raise InputError(f"gram: expected shape (B, N, N), got {tuple(gram.shape)}; add a first axis for one table.")
    # Products with a vector that no asymmetry is orthogonal to: far cheaper than a look at the transpose.
    probe = torch.arange(gram.shape[1], dtype=gram.dtype, device=gram.device).cos()
    for table in gram:
        product = table @ probe
        if not bool(torch.isfinite(product).all()):
            raise InputError(
                "gram: expected finite numbers, got NaN or infinities; check the covariates it was made from."
            )
        smallest, largest = torch.aminmax(table)
        size = max(float(largest), -float(smallest))
        if float((product - probe @ table).abs().amax()) > 1e-8 * size:
            raise InputError(
                "gram: expected a symmetric matrix, got one that differs from its transpose by "
                f"{float((table - table.T).abs().amax()):.2g}; use (K + K') / 2."
            )
        if float(table.diagonal().amax()) < (1 - 1e-8) * size:
            raise InputError(
                "gram: expected a positive semi-definite matrix, got one whose largest entry is not on its diagonal; "
                "use a kernel."
            )


def factorise(gram: Float[Tensor, "B N N"]) -> Float[Tensor, "B N N"]:
    """Features whose inner products are a Gram: its Cholesky factor.

    Raises
    ------
    InputError
        As :func:`check_gram`, and if an eigenvalue is negative.
    """
    check_gram(gram)
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
    features: Float[Tensor, "B N M"],
    signs: Float[Tensor, "B N"],
    regularisation: Float[Tensor, " B"],
    *,
    tolerance: float = 1e-3,
    solver: Splitting | None = None,
    step: float = 2.0,
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
        Penalty of the splitting, for a new solver.
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
    solver = solver or Splitting(dual_program(features, signs, regularisation), torch.full_like(regularisation, step))
    alpha = make_feasible(solver.solution, signs)
    gap = relative_duality_gap(features, alpha, signs, regularisation)
    iterations = 0
    while iterations < max_iterations and bool((gap > tolerance).any()):
        count = min(CHECK_EVERY, max_iterations - iterations)
        candidate = make_feasible(solver.run(count, RELAXATION), signs)
        iterations += count
        found = relative_duality_gap(features, candidate, signs, regularisation)
        better = found < gap
        alpha, gap = torch.where(better[:, None], candidate, alpha), torch.where(better, found, gap)
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
    check_gram(gram)
    state = _Best(gram, signs, regularisation)
    iterations, stop = 0, max(STOP_PER_GAP * tolerance, FIRST_STOP)
    while True:
        alpha = state.alpha.clone()
        with config_context(assume_finite=True, skip_parameter_validation=True):  # all of it has been checked
            for table in state.above(tolerance):
                alpha[table], steps = _fit_svc(gram[table], signs[table], float(regularisation[table]), stop)
                iterations += steps
        state.improve(alpha)
        alpha = state.alpha.clone()
        for table in state.above(tolerance):
            alpha[table] = _newton(gram[table], signs[table], alpha[table], float(regularisation[table]))
        state.improve(alpha)
        converged = not state.above(tolerance)
        if converged or stop <= LAST_STOP:
            intercept = exact_intercept(gram_scores(gram, state.alpha, signs, regularisation), signs)
            return DualSolution(state.alpha, intercept, state.gap, iterations, converged)
        stop = max(stop / 10, LAST_STOP)


class _Best:
    """Feasible points with the smallest gaps so far."""

    def __init__(
        self, gram: Float[Tensor, "B N N"], signs: Float[Tensor, "B N"], regularisation: Float[Tensor, " B"]
    ) -> None:
        self._problem = gram, signs, regularisation
        self.alpha = torch.zeros_like(signs)
        self.gap = torch.full_like(regularisation, torch.inf)

    def above(self, tolerance: float) -> list[int]:
        found: list[int] = torch.nonzero(self.gap > tolerance)[:, 0].tolist()
        return found

    def improve(self, alpha: Float[Tensor, "B N"]) -> None:
        """Take over the tables in which ``alpha`` has a smaller gap."""
        gram, signs, regularisation = self._problem
        feasible = make_feasible(alpha, signs)
        gap = gap_from_scores(gram_scores(gram, feasible, signs, regularisation), feasible, signs)
        better = gap < self.gap
        self.alpha = torch.where(better[:, None], feasible, self.alpha)
        self.gap = torch.where(better, gap, self.gap)


def _fit_svc(
    gram: Float[Tensor, "N N"], signs: Float[Tensor, " N"], regularisation: float, stop: float
) -> tuple[Float[Tensor, " N"], int]:
    """Dual variables of one table, on the signs' device, and the steps that they took."""
    kernel, labels = gram.cpu().numpy(), signs.cpu().numpy()
    rows = np.flatnonzero(labels)
    if len(rows) < len(labels):
        kernel = kernel[np.ix_(rows, rows)]
    machine = SVC(C=1 / regularisation, kernel="precomputed", tol=stop, max_iter=MAX_PAIR_STEPS)
    machine.fit(kernel, labels[rows])
    alpha = np.zeros(len(labels))
    alpha[rows[machine.support_]] = regularisation * np.abs(machine.dual_coef_[0])
    return torch.from_numpy(alpha).to(signs), int(machine.n_iter_[0])


def _newton(
    gram: Float[Tensor, "N N"], signs: Float[Tensor, " N"], alpha: Float[Tensor, " N"], regularisation: float
) -> Float[Tensor, " N"]:
    """Solve the optimality conditions of one table for the variables off their bounds, and renew that set.

    The margin is 1 where ``0 < alpha < 1``, at least 1 where alpha is 0 and at most 1 where it is 1. From a nearly
    solved dual a few steps give it to rounding, where the support vector machine's single precision ends.
    """
    kernel, w = gram.cpu().numpy(), signs.cpu().numpy()
    current = alpha.cpu().numpy()
    free, upper = (current > 0) & (current < 1), current >= 1
    for _ in range(NEWTON_STEPS):
        rows, bound = np.flatnonzero(free), w * upper
        block = kernel[np.ix_(rows, rows)]
        # The ridge is for rows that occur twice; the last row and column are the intercept and the balance of the arms.
        system = np.pad(block + JITTER * kernel.max() * np.eye(len(rows)), (0, 1), constant_values=regularisation)
        system[-1, -1] = 0 if len(rows) else 1
        right = np.append(regularisation * w[rows] - kernel[rows] @ bound, -regularisation * bound.sum())
        *signed, intercept = np.linalg.solve(system, right)
        bound[rows] = signed
        current = bound * w
        margins = w * (kernel @ bound / regularisation + intercept)
        stays = (current > 0) & (current < 1)
        enters = (w != 0) & np.where(upper, margins > 1 + KKT_TOLERANCE, margins < 1 - KKT_TOLERANCE)
        previous, free = free, np.where(free, stays, enters)
        upper = np.where(previous, current >= 1, upper & ~enters)
        if (free == previous).all():
            break
    return torch.from_numpy(current).to(signs)
