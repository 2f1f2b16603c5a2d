"""Dense linear algebra of small matrices on one thread: what scipy's BLAS and LAPACK do sooner than torch's.

Torch's BLAS factorises and multiplies matrices of a hundred rows at a half to a third of the speed of OpenBLAS on
processors that are not its maker's, and on these a little faster. Where torch's own way is taken instead, the results
are the same to rounding: there, with gradients, on a GPU, for matrices of a few rows, with several threads, and where
a routine is not as it is known.

Letters: B matrices, N rows, M columns.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy import LowLevelCallable
from scipy.linalg import cython_blas, cython_lapack
from torch import Tensor

from dowhy_cina.mathematics.devices import is_alone

#: Rows of a matrix from which the call of a routine is worth its price.
LEAST_SIZE = 48
#: C's types of the routines where LAPACK's integers are int: text, integers and numbers, all by address.
_TYPES = {"c": r"char \*", "i": r"int \*", "d": r"(?:double|\w+_d) \*"}
_TEXTS = {text: ctypes.c_char(text.encode()) for text in "LURTN"}
_ONE = ctypes.c_double(1.0)


def _makes_mkl() -> bool:
    """Whether the processor is of the maker of torch's BLAS."""
    try:
        named = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system
        named = platform.processor()
    return "GenuineIntel" in named


_AT_HOME = _makes_mkl()
#: Whether scipy's routines are sooner done than those of torch's BLAS, and numpy's exponential than torch's.
_ASK_SCIPY = bool(torch._C.has_mkl) and not _AT_HOME
_ASK_NUMPY = torch.backends.cpu.get_cpu_capability() == "AVX512" and not _AT_HOME


@functools.cache
def routine(library: Any, name: str, arguments: str) -> Callable[..., None] | None:
    """A routine of scipy's interface for Cython, which runs without the interpreter's lock; None if it is another one.

    Parameters
    ----------
    library : module
        ``scipy.linalg.cython_blas`` or ``cython_lapack``.
    name : str
    arguments : str
        A letter for each argument: c for a text, i for integers and d for numbers of double precision.
    """
    try:
        found = LowLevelCallable.from_cython(library, name)
    except ValueError:
        return None
    if not re.fullmatch(rf"void \({', '.join(_TYPES[letter] for letter in arguments)}\)", found.signature):
        return None
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    address = pointer_of(found.function, found.signature.encode())
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arguments))(address)


def _address(value: str | int | ctypes.c_double | ctypes.c_int) -> Any:
    if isinstance(value, str):
        return ctypes.byref(_TEXTS[value])
    return ctypes.byref(ctypes.c_int(value) if isinstance(value, int) else value)


def is_quick(matrices: Tensor) -> bool:
    """Whether numpy and scipy are asked instead of torch."""
    return (
        matrices.shape[-1] >= LEAST_SIZE
        and is_alone()
        and matrices.device.type == "cpu"
        and matrices.dtype == torch.float64
        and _ASK_SCIPY
        and not torch.is_grad_enabled()
    )


def product_of(
    one: Float[Tensor, "N K"], other: Float[Tensor, "K M"], out: Float[Tensor, "N M"] | None = None
) -> Float[Tensor, "N M"]:
    """``one @ other``, in the memory of ``out`` if it is given."""
    if not is_quick(other):
        return torch.mm(one, other, out=out)
    own = None if out is None else out.numpy()
    return torch.from_numpy(np.matmul(one.detach().numpy(), other.detach().numpy(), out=own))


def gram_of(rows: Float[Tensor, "B N M"]) -> Float[Tensor, "B M M"]:
    """``rows' rows`` of every table; numpy sees that half of it is enough."""
    if not is_quick(rows):
        return rows.mT @ rows
    values = rows.detach().numpy()
    return torch.from_numpy(np.matmul(values.transpose(0, 2, 1), values))


def with_diagonal(matrices: Float[Tensor, "B M M"], added: Float[Tensor, " B"]) -> Float[Tensor, "B M M"]:
    """Add a number to every entry of a diagonal, in place."""
    matrices.diagonal(dim1=-2, dim2=-1).add_(added[:, None])
    return matrices


def lower_factor(matrices: Float[Tensor, "B M M"]) -> Float[Tensor, "B M M"]:
    """Lower Cholesky factors.

    Raises
    ------
    torch.linalg.LinAlgError
        If a matrix is not positive definite.
    """
    if is_quick(matrices):
        factors = _of_triangle(routine(cython_lapack, "dpotrf", "cidii"), matrices, "U")
        if factors is not None:
            return factors.tril_()
    factor: Tensor = torch.linalg.cholesky(matrices)
    return factor


def solve_by_factor(factors: Float[Tensor, "B M M"], right: Float[Tensor, "B M"]) -> Float[Tensor, "B M"]:
    """``(factor factor')^-1 right`` for lower Cholesky factors."""
    solve = routine(cython_lapack, "dpotrs", "ciididii") if is_quick(factors) else None
    if solve is None:
        found: Tensor = torch.cholesky_solve(right[..., None], factors)[..., 0]
        return found
    size, one, upper = _address(factors.shape[-1]), _address(1), _address("U")
    solution, factors = right.clone(memory_format=torch.contiguous_format), factors.contiguous()
    for own, vector in zip(factors, solution, strict=True):
        # Sizes are known to be right: nothing is left that could be refused.
        solve(upper, size, one, own.data_ptr(), size, vector.data_ptr(), size, _address(0))
    return solution


def lower_inverse(factors: Float[Tensor, "B M M"]) -> Float[Tensor, "B M M"]:
    """Inverses of lower triangular matrices."""
    if is_quick(factors):
        inverses = _of_triangle(routine(cython_lapack, "dtrtri", "ccidii"), factors, "U", "N")
        if inverses is not None:
            return inverses
    eye = torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device)
    inverse: Tensor = torch.linalg.solve_triangular(factors, eye, upper=False)
    return inverse


def times_lower(rows: Float[Tensor, "B N M"], lower: Float[Tensor, "B M M"]) -> Float[Tensor, "B N M"]:
    """``lower row`` of every row, for lower triangular matrices."""
    multiply = routine(cython_blas, "dtrmm", "cccciiddidi") if is_quick(rows) else None
    if multiply is None:
        return rows @ lower.mT
    products, lower = rows.clone(memory_format=torch.contiguous_format), lower.contiguous()
    size, how = _address(rows.shape[-1]), [*map(_address, "LUTN")]
    for product, own in zip(products, lower, strict=True):
        multiply(*how, size, _address(len(product)), _address(_ONE), own.data_ptr(), size, product.data_ptr(), size)
    return products


def _of_triangle(
    compute: Callable[..., None] | None, matrices: Float[Tensor, "B M M"], *how: str
) -> Float[Tensor, "B M M"] | None:
    """What a routine of LAPACK leaves of the lower triangles, which by columns are upper ones; None if it refuses."""
    if compute is None:
        return None
    matrices = matrices.clone(memory_format=torch.contiguous_format)
    size, status, options = _address(matrices.shape[-1]), ctypes.c_int(), [*map(_address, how)]
    for matrix in matrices:
        compute(*options, size, matrix.data_ptr(), size, ctypes.byref(status))
        if status.value:
            return None
    return matrices


def exponential_(values: Tensor) -> Tensor:
    """``exp`` in place; numpy's is quicker on some processors that have the instructions that it is written in."""
    if is_alone() and values.device.type == "cpu" and _ASK_NUMPY:
        array = values.detach().numpy()
        np.exp(array, out=array)
        return values
    return values.exp_()
