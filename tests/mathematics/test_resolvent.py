"""Sums over shifted inverses: both ways to them against the inverses themselves."""

import numpy as np
import pytest
import torch

from dowhy_cina.mathematics import dense as routines
from dowhy_cina.mathematics import resolvent
from dowhy_cina.mathematics.resolvent import _by_eigenvectors, _by_tridiagonal_form, resolvent_sums

KNOWN = "void (char *, int *, T_d *, int *, T_d *, T_d *, T_d *, T_d *, int *, int *)"
SHIFTS = (1e-3, 0.5, 1e4)


def draw(size, rank, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(3, rank, size, dtype=torch.float64, generator=generator) * scale
    return rows.mT @ rows, torch.randn(3, size, dtype=torch.float64, generator=generator)


def dense(matrices, vectors):
    """Trace and both forms, shape (3, B, S)."""
    found = np.empty((3, len(matrices), len(SHIFTS)))
    for table, (matrix, vector) in enumerate(zip(matrices.numpy(), vectors.numpy(), strict=True)):
        for place, shift in enumerate(SHIFTS):
            inverse = np.linalg.inv(matrix + shift * np.eye(len(vector)))
            solved = inverse @ vector
            found[:, table, place] = np.trace(inverse), vector @ solved, solved @ solved
    return found


def eigen(matrices, vectors):
    return _by_eigenvectors(matrices, vectors, vectors.new_tensor(SHIFTS))


def tridiagonal(matrices, vectors):
    return _by_tridiagonal_form(matrices, vectors, np.asarray(SHIFTS))


@pytest.mark.parametrize("way", [eigen, tridiagonal])
@pytest.mark.parametrize(("size", "rank"), [(1, 1), (2, 5), (40, 100), (40, 7)])
def test_sums_are_those_of_the_inverses(way, size, rank):
    matrices, vectors = draw(size, rank)
    sums = way(matrices, vectors)
    for found, expected in zip((sums.trace, sums.linear, sums.square), dense(matrices, vectors), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("way", [eigen, tridiagonal])
def test_a_large_matrix_leaves_small_shifts_their_digits(way):
    """As with a million rows: a spectrum from 0 to 1e6."""
    matrices, vectors = draw(30, 10, scale=300.0)
    sums = way(matrices, vectors)
    for found, expected in zip((sums.trace, sums.linear, sums.square), dense(matrices, vectors), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("way", [eigen, tridiagonal])
def test_a_zero_vector_has_no_forms(way):
    matrices, vectors = draw(6, 20)
    sums = way(matrices, torch.zeros_like(vectors))
    assert not sums.linear.any()
    assert not sums.square.any()
    np.testing.assert_allclose(sums.trace, dense(matrices, vectors)[0])


def test_vectors_along_the_first_axis_are_no_exception():
    matrices, vectors = draw(6, 20)
    for sign in (1, -1):
        axis = torch.zeros_like(vectors)
        axis[:, 0] = 2.0 * sign
        sums = tridiagonal(matrices, axis)
        np.testing.assert_allclose(sums.linear, dense(matrices, axis)[1])


def test_single_precision_is_no_foreign_memory():
    matrices, vectors = (part.float() for part in draw(40, 100))
    sums = tridiagonal(matrices, vectors)
    np.testing.assert_allclose(sums.trace, dense(matrices.double(), vectors.double())[0], rtol=1e-2)


def test_nothing_of_the_callers_is_changed_or_traced():
    matrices, vectors = (part.requires_grad_() for part in draw(6, 20))
    before = matrices.detach().clone()
    sums = resolvent_sums(matrices, vectors, SHIFTS)
    assert isinstance(sums.trace, np.ndarray)
    torch.testing.assert_close(matrices.detach(), before, rtol=0, atol=0)


@pytest.fixture
def interface(monkeypatch):
    """Have scipy's interface for Cython hold something else: a function of another C type, or nothing."""

    class Capsule:
        function = None

        def __init__(self, signature):
            self.signature = signature

    def change(signature):
        def found(module, name):
            if signature is None:
                raise ValueError(f"No function {name!r} found in __pyx_capi__ of the module")
            return Capsule(signature)

        monkeypatch.setattr(routines, "LowLevelCallable", type("Changed", (), {"from_cython": staticmethod(found)}))

    routines.routine.cache_clear()
    yield change
    routines.routine.cache_clear()


def test_scipys_interface_is_as_known():
    """Or refits on threads wait for each other, and nobody sees it."""
    assert resolvent.unlocked_dsytrd() is not None


@pytest.mark.parametrize(
    "signature",
    [None, "", KNOWN.replace("int *", "int64_t *"), KNOWN.replace("int *", "long *"), KNOWN.replace("T_d", "T_s")],
)
def test_another_interface_is_not_called(interface, signature):
    parts = [draw(size, 50) for size in (1, 2, 40)]
    expected = [tridiagonal(*part) for part in parts]
    routines.routine.cache_clear()
    interface(signature)
    assert resolvent.unlocked_dsytrd() is None
    for part, sums in zip(parts, expected, strict=True):
        found = tridiagonal(*part)
        for name in ("trace", "linear", "square"):
            np.testing.assert_allclose(getattr(found, name), getattr(sums, name), rtol=1e-10)


def test_what_lapack_refuses_raises(monkeypatch):
    monkeypatch.setattr(resolvent, "_WORKSPACE", 0)  # lwork, its ninth argument, must be at least 1
    with pytest.raises(np.linalg.LinAlgError, match=r"dsytrd refused a matrix of 7 rows with info = -9"):
        tridiagonal(*draw(6, 20))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_has_the_same_sums():
    matrices, vectors = draw(40, 100)
    here, there = resolvent_sums(matrices, vectors, SHIFTS), resolvent_sums(matrices.cuda(), vectors.cuda(), SHIFTS)
    np.testing.assert_allclose(there.linear, here.linear, rtol=1e-8)
