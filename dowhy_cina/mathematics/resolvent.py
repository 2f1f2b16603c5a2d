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
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from scipy.linalg import cython_lapack
from torch import Tensor

from dowhy_cina.mathematics.devices import one_blas_thread

Array = npt.NDArray[np.float64]

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
    """
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
    reflectors, workspace = np.empty(size), np.empty(_WORKSPACE * size)
    lower, order, room, status = ctypes.c_char(b"L"), ctypes.c_int(size), ctypes.c_int(len(workspace)), ctypes.c_int()
    reduce_symmetric, address = _dsytrd(), ctypes.addressof
    with one_blas_thread():
        for matrix, own_diagonal, own_off in zip(matrices, diagonal, off, strict=True):
            arrays = (part.ctypes.data for part in (own_diagonal, own_off, reflectors, workspace))
            scalars = address(room), address(status)
            reduce_symmetric(address(lower), address(order), matrix.ctypes.data, address(order), *arrays, *scalars)
    return diagonal, np.square(off)


@functools.cache
def _dsytrd() -> Callable[..., None]:
    """LAPACK's dsytrd, from scipy's interface for Cython.

    Unlike ``scipy.linalg.lapack.dsytrd`` it runs without the interpreter's lock, which saves two threads of refits a
    twentieth of their time.
    """
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    capsule = cython_lapack.__pyx_capi__["dsytrd"]
    pointer = pointer_of(capsule, name_of(capsule))
    # uplo, n, a, lda, d, e, tau, work, lwork, info: all by address.
    found: Callable[..., None] = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 10)(pointer)
    return found


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
