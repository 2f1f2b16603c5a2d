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
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import LowLevelCallable
from scipy.linalg import cython_lapack, lapack
from torch import Tensor

from dowhy_cina.mathematics.devices import one_blas_thread
from dowhy_cina.mathematics.scaling import Array

#: Columns of LAPACK's workspace: the width of its blocks.
_WORKSPACE = 32
#: C's type of dsytrd where LAPACK's integers are int: uplo, n, a, lda, d, e, tau, work, lwork, info, all by address.
_SIGNATURE = re.compile(r"void \(char \*, int \*, (double|\w+_d) \*, int \*, (\1 \*, ){4}int \*, int \*\)")


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

    trace: Float[Tensor, "B S"]
    linear: Float[Tensor, "B S"]
    square: Float[Tensor, "B S"]


@torch.no_grad()
def resolvent_sums(
    matrices: Float[Tensor, "B M M"], vectors: Float[Tensor, "B M"], shifts: Sequence[float]
) -> ResolventSums:
    """Sums for all shifts, by a tridiagonal form of each matrix on a CPU and by its eigenvalues elsewhere.

    The tridiagonal form takes a third of the time.

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
        none = vectors.new_zeros(len(vectors), len(shifts))
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
    return ResolventSums(inverse.sum(-1), (squares * inverse).sum(-1), (squares * inverse.square()).sum(-1))


def _by_tridiagonal_form(
    matrices: Float[Tensor, "B M M"], vectors: Float[Tensor, "B M"], shifts: Array
) -> ResolventSums:
    """Rotate each vector to the first axis and reduce the matrix without moving that axis: T has the same sums."""
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    diagonal, off = _tridiagonal(_reflected(matrices, vectors, lengths).numpy())
    trace, first, slope = _first_entries(diagonal, off, shifts)
    squared = lengths.square()[:, None]
    return ResolventSums(torch.from_numpy(trace), squared * torch.from_numpy(first), squared * torch.from_numpy(slope))


def _reflected(
    matrices: Float[Tensor, "B M M"], vectors: Float[Tensor, "B M"], lengths: Float[Tensor, " B"]
) -> Float[Tensor, "B M M"]:
    """``H G H`` with the Householder reflection H that takes each vector to the first axis; H = 1 for a zero vector."""
    normal = vectors.clone()
    # The sign that does not cancel.
    normal[:, 0] += torch.where(vectors[:, 0] < 0, -lengths, lengths)
    normal = normal * (2**0.5 / torch.linalg.vector_norm(normal, dim=1).clamp_min(1e-300))[:, None]
    pulled = (normal[:, None] @ matrices)[:, 0]
    pulled = pulled - (pulled * normal).sum(1, keepdim=True) / 2 * normal
    reflected: Tensor = matrices - normal[:, :, None] * pulled[:, None] - pulled[:, :, None] * normal[:, None]
    return reflected


def _tridiagonal(matrices: Array) -> tuple[Array, Array]:
    """Diagonals (B, M) and squared off-diagonals (B, M - 1) of the tridiagonal forms of matrices, which are lost."""
    # LAPACK is given addresses: what lies there must be double precision without gaps.
    matrices = np.ascontiguousarray(matrices, dtype=np.float64)
    count, size = matrices.shape[:2]
    diagonal, off = np.empty((count, size)), np.empty((count, max(size - 1, 0)))
    reduce_symmetric = _unlocked_dsytrd() or _dsytrd
    with one_blas_thread():
        for matrix, own_diagonal, own_off in zip(matrices, diagonal, off, strict=True):
            status = reduce_symmetric(matrix, own_diagonal, own_off)
            if status:
                raise np.linalg.LinAlgError(f"LAPACK's dsytrd refused a matrix of {size} rows with info = {status}.")
    return diagonal, np.square(off)


def _dsytrd(matrix: Array, diagonal: Array, off: Array) -> int:
    """LAPACK's dsytrd: fill the diagonals of a matrix's tridiagonal form, lose the matrix, and return info."""
    _, diagonal[:], off[:], _, info = lapack.dsytrd(matrix.T, lower=1, lwork=_WORKSPACE * len(matrix), overwrite_a=1)
    return int(info)


@functools.cache
def _unlocked_dsytrd() -> Callable[[Array, Array, Array], int] | None:
    """The same from scipy's interface for Cython; None where that is not as it is known, with integers of C.

    It runs without the interpreter's lock, which saves two threads of refits a twentieth of their time.
    """
    try:
        found = LowLevelCallable.from_cython(cython_lapack, "dsytrd")
    except ValueError:
        return None
    if not _SIGNATURE.fullmatch(found.signature):
        return None
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    routine = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 10)(pointer_of(found.function, found.signature.encode()))

    def reduce_symmetric(matrix: Array, diagonal: Array, off: Array) -> int:
        size = len(matrix)
        reflectors, workspace = np.empty(size), np.empty(_WORKSPACE * size)
        lower, order, room, info = ctypes.c_char(b"L"), ctypes.c_int(size), ctypes.c_int(len(workspace)), ctypes.c_int()
        arrays = (part.ctypes.data for part in (diagonal, off, reflectors, workspace))
        n, lwork, status = (ctypes.byref(number) for number in (order, room, info))
        routine(ctypes.byref(lower), n, matrix.ctypes.data, n, *arrays, lwork, status)
        return info.value

    return reduce_symmetric


def _first_entries(diagonal: Array, off: Array, shifts: Array) -> tuple[Array, Array, Array]:
    """``tr R``, ``R_11`` and ``(R R)_11`` (B, S) of ``R = (T + s)^-1``.

    With ``d_M = a_M + s`` and ``d_i = a_i + s - b_i^2 / d_(i+1)``, the determinant of ``T + s`` is the product of all d
    and ``R_11 = 1 / d_1``; derivatives in s give the rest.
    """
    shifted = diagonal.T[:, :, None] + shifts
    pivot = shifted[-1].copy()
    ratio = 1 / pivot  # derivative of the pivot, over the pivot
    trace = ratio.copy()
    for row in range(len(shifted) - 2, -1, -1):
        share = off[:, row, None] / pivot
        np.subtract(shifted[row], share, out=pivot)
        np.multiply(share, ratio, out=ratio)
        ratio += 1
        ratio /= pivot
        trace += ratio
    return trace, 1 / pivot, ratio / pivot
