"""Exact solutions of the CInA dual: one table through a support vector machine, many at once through the splitting.

Letters: B tables, N rows, M features.

References
----------
Tarr and Imai (2025): the dual of Eq. 3 is a support vector machine's with the treatment as label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from sklearn.svm import SVC
from torch import Tensor

from dowhy_cina.balancing import Splitting, dual_program, exact_intercept, make_feasible, relative_duality_gap
from dowhy_cina.errors import InputError

#: Rows of the largest table that is solved exactly: beyond, the Gram alone takes more than 200 MB.
MAX_ROWS = 5000
#: Added to the diagonal of a Gram of unit diagonal before it is factorised.
JITTER = 1e-10
#: Iterations between two looks at the gap.
CHECK_EVERY = 5


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
    converged : bool
        Whether every gap is at most the tolerance.
    """

    alpha: Float[Tensor, "B N"]
    intercept: Float[Tensor, " B"]
    gap: Float[Tensor, " B"]
    iterations: int
    converged: bool


def factorise(gram: Float[Tensor, "B N N"]) -> Float[Tensor, "B N N"]:
    """Features whose inner products are a Gram: its Cholesky factor.

    Raises
    ------
    InputError
        If the Gram is not square and symmetric, holds NaN or infinities, or is not positive semi-definite.
    """
    if gram.ndim != 3 or gram.shape[1] != gram.shape[2]:
        raise InputError(f"gram: expected shape (B, N, N), got {tuple(gram.shape)}; add a first axis for one table.")
    if not bool(torch.isfinite(gram).all()):
        raise InputError("gram: expected finite numbers, got NaN or infinities; check the covariates it was made from.")
    size = gram.abs().amax((1, 2)).clamp_min(torch.finfo(gram.dtype).tiny)
    asymmetry = (gram - gram.transpose(1, 2)).abs().amax((1, 2)) / size
    if bool((asymmetry > 1e-8).any()):
        raise InputError(
            "gram: expected a symmetric matrix, got one that differs from its transpose by "
            f"{float(asymmetry.max()):.2g} "
            "of its largest entry; use (K + K') / 2."
        )
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
    step: float = 1.0,
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
        candidate = make_feasible(solver.run(count), signs)
        iterations += count
        found = relative_duality_gap(features, candidate, signs, regularisation)
        better = found < gap
        alpha, gap = torch.where(better[:, None], candidate, alpha), torch.where(better, found, gap)
    return _solution(features, alpha, signs, regularisation, gap, iterations, tolerance)


def solve_dual_svc(
    gram: npt.NDArray[np.float64],
    signs: npt.NDArray[np.float64],
    regularisation: float,
    *,
    tolerance: float = 1e-6,
) -> DualSolution:
    """Solve the dual of one table with scikit-learn's SVC, whose box constraint is Eq. 3's.

    Parameters
    ----------
    gram : ndarray, shape (N, N)
    signs : ndarray, shape (N,)
        1 treated, -1 control.
    regularisation : float
        Lambda.
    tolerance : float
        Relative duality gap to reach.

    Raises
    ------
    InputError
        If the Gram is no kernel's, the regularisation is not positive, an arm is empty, or the table is too long.
    """
    if len(gram) > MAX_ROWS:
        raise InputError(
            f"expected at most {MAX_ROWS} rows for the exact solution, got {len(gram)}; "
            "use the landmark route of 'cina-small'."
        )
    weights, lam = torch.from_numpy(signs)[None], torch.tensor([regularisation], dtype=torch.float64)
    check_problem(weights, lam)
    features = factorise(torch.from_numpy(gram)[None])
    alpha = torch.zeros_like(weights)
    iterations, stop = 0, 1e-5
    while True:
        machine = SVC(C=1.0, kernel="precomputed", tol=stop, cache_size=500).fit(gram / regularisation, signs)
        alpha.zero_()
        alpha[0, machine.support_] = torch.from_numpy(machine.dual_coef_[0]).abs()
        iterations += int(machine.n_iter_[0])
        gap = relative_duality_gap(features, alpha, weights, lam)
        if float(gap) <= tolerance or stop < 1e-9:
            return _solution(features, make_feasible(alpha, weights), weights, lam, gap, iterations, tolerance)
        stop /= 10


def _solution(
    features: Tensor,
    alpha: Tensor,
    signs: Tensor,
    regularisation: Tensor,
    gap: Tensor,
    iterations: int,
    tolerance: float,
) -> DualSolution:
    direction = torch.einsum("bnm,bn->bm", features, alpha * signs) / regularisation[:, None]
    intercept = exact_intercept(torch.einsum("bnm,bm->bn", features, direction), signs)
    return DualSolution(alpha, intercept, gap, iterations, bool((gap <= tolerance).all()))
