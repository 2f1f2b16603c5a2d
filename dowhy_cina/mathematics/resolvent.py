"""Traces and quadratic forms of ``(G + s)^-1`` for many shifts s at once, which is what choosing a ridge penalty takes.

Letters: B matrices, M rows, S shifts.

References
----------
Golub and Meurant (2010), Matrices, Moments and Quadrature, on forms ``c' f(G) c`` from a tridiagonal matrix. Elden
(1984), A note on the computation of the generalized cross-validation function for ill-conditioned least squares
problems, BIT 24.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import cython_lapack, lapack
from torch import Tensor

from dowhy_cina.mathematics.dense import routine
from dowhy_cina.mathematics.devices import one_blas_thread
from dowhy_cina.mathematics.scaling import Array

#: Columns of LAPACK's workspace: the width of its blocks.
_WORKSPACE = 32


@dataclass(frozen=True)
class ResolventSums:
    """For each matrix G, vector c and shift s, of shape (B, S).

    Attributes
    ----------
    trace : Tensor
        ``tr (G + s)^-1``.
    linear, square : Tensor
        ``c' (G + s)^-1 c`` and ``c' (G + s)^-2 c``.
    """

    trace: Array
    linear: Array
    square: Array


@torch.no_grad()
def resolvent_sums(
    matrices: Float[Tensor, "B M M"], vectors: Float[Tensor, "B M"], shifts: Sequence[float]
) -> ResolventSums:
    """Sums for all shifts, by a tridiagonal form of each matrix on a CPU and by its eigenvalues elsewhere.

    The tridiagonal form takes a third of the time. The sums are in the computer's own memory.

    Parameters
    ----------
    matrices : Tensor, shape (B, M, M)
        Symmetric, positive semi-definite.
    vectors : Tensor, shape (B, M)
    shifts : sequence of S floats
        Positive, and well above the rounding of the matrices.

    Raises
    ------
    numpy.linalg.LinAlgError
        If LAPACK refuses a matrix.
    """
    if not matrices.shape[-1]:  # a table without columns
        none = np.zeros((len(vectors), len(shifts)))
        return ResolventSums(none, none, none)
    if matrices.device.type == "cpu":
        return _by_tridiagonal_form(matrices, vectors, np.asarray(shifts))
    return _by_eigenvectors(matrices, vectors, vectors.new_tensor(shifts))


def _by_eigenvectors(
    matrices: Float[Tensor, "B M M"], vectors: Float[Tensor, "B M"], shifts: Float[Tensor, " S"]
) -> ResolventSums:
    values, basis = torch.linalg.eigh(matrices)
    inverse = 1 / (values.clamp_min(0)[:, None, :] + shifts[None, :, None])
    squares = (vectors[:, None] @ basis).square()
    parts = inverse, squares * inverse, squares * inverse.square()
    return ResolventSums(*(part.sum(-1).cpu().numpy() for part in parts))


def _by_tridiagonal_form(
    matrices: Float[Tensor, "B M M"], vectors: Float[Tensor, "B M"], shifts: Array
) -> ResolventSums:
    """Reduce ``[[0, c'], [c, G]]``: the first reflection rotates c to the first axis, which the others leave alone.

    So the tridiagonal form but for its first row has the sums of G for the first axis, times the squared length of c.
    """
    count, size = vectors.shape
    bordered = np.zeros((count, size + 1, size + 1))
    bordered[:, 1:, 1:], bordered[:, 0, 1:] = matrices.detach().numpy(), vectors.detach().numpy()
    diagonal, off = _tridiagonal(bordered)
    trace, first, slope = _first_entries(diagonal[:, 1:], off[:, 1:], shifts)
    squared = off[:, :1]
    return ResolventSums(trace, squared * first, squared * slope)


def _tridiagonal(matrices: Array) -> tuple[Array, Array]:
    """Diagonals (B, M) and squared off-diagonals (B, M - 1) of the tridiagonal forms of matrices, which are lost.

    The upper triangles are read.
    """
    # LAPACK is given addresses: what lies there must be double precision without gaps.
    matrices = np.ascontiguousarray(matrices, dtype=np.float64)
    count, size = matrices.shape[:2]
    diagonal, off = np.empty((count, size)), np.empty((count, max(size - 1, 0)))
    reduce_symmetric = _unlocked(size) or _dsytrd
    with one_blas_thread():
        for matrix, own_diagonal, own_off in zip(matrices, diagonal, off, strict=True):
            status = reduce_symmetric(matrix, own_diagonal, own_off)
            if status:
                raise np.linalg.LinAlgError(f"LAPACK's dsytrd refused a matrix of {size} rows with info = {status}.")
    return diagonal, np.square(off)


def unlocked_dsytrd() -> Callable[..., None] | None:
    """The routine that runs without the interpreter's lock, which saves two threads of refits a twentieth."""
    return routine(cython_lapack, "dsytrd", "cididdddii")


def _dsytrd(matrix: Array, diagonal: Array, off: Array) -> int:
    """LAPACK's dsytrd: fill the diagonals of a matrix's tridiagonal form, lose the matrix, and return info."""
    _, diagonal[:], off[:], _, info = lapack.dsytrd(matrix.T, lower=1, lwork=_WORKSPACE * len(matrix), overwrite_a=1)
    return int(info)


def _unlocked(size: int) -> Callable[[Array, Array, Array], int] | None:
    """:func:`_dsytrd` of matrices of a size without the interpreter's lock, where there is such a routine."""
    unlocked = unlocked_dsytrd()
    if unlocked is None:
        return None
    reflectors, workspace, status = np.empty(size), np.empty(_WORKSPACE * size), ctypes.c_int()
    lower, order, room = ctypes.c_char(b"L"), ctypes.c_int(size), ctypes.c_int(len(workspace))
    uplo, n, lwork, info = (ctypes.byref(number) for number in (lower, order, room, status))

    def reduce_symmetric(matrix: Array, diagonal: Array, off: Array) -> int:
        arrays = (part.ctypes.data for part in (diagonal, off, reflectors, workspace))
        unlocked(uplo, n, matrix.ctypes.data, n, *arrays, lwork, info)
        return status.value

    return reduce_symmetric


def _first_entries(diagonal: Array, off: Array, shifts: Array) -> tuple[Array, Array, Array]:
    """``tr R``, ``R_11`` and ``(R R)_11`` (B, S) of ``R = (T + s)^-1``.

    Eliminated upwards, ``T + s`` has the pivots ``d_M = a_M + s`` and ``d_i = a_i + s - b_i^2 / d_(i+1)``, and
    downwards others, e. With them ``R_ii = 1 / (d_i + e_i - a_i - s)``, ``R_11 = 1 / d_1`` and
    ``R_(i+1)1 = -b_i / d_(i+1) R_i1``.
    """
    # Both ways at once: what a loop of so small operations costs is their number.
    shifted = np.concatenate([diagonal, diagonal[:, ::-1]]).T[:, :, None] + shifts
    squares = np.ascontiguousarray(np.concatenate([off, off[:, ::-1]]).T[:, :, None])
    pivots = shifted.copy()
    below, share = pivots[-1], np.empty_like(pivots[-1])
    for pivot, square in zip(pivots[-2::-1], squares[::-1], strict=True):
        np.divide(square, below, share)
        np.subtract(pivot, share, pivot)
        below = pivot
    count = len(diagonal)
    up, down = pivots[:, :count], pivots[::-1, count:]
    trace = (1 / (up + down - shifted[:, :count])).sum(0)
    first = 1 / up[0]
    column = np.cumprod(squares[:, :count] / np.square(up[1:]), axis=0).sum(0)
    return trace, first, np.square(first) * (1 + column)
