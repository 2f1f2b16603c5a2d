"""Sums over shifted inverses: both ways to them against the inverses themselves."""

import numpy as np
import pytest
import torch

from dowhy_cina.mathematics.resolvent import _by_eigenvectors, _by_tridiagonal_form, resolvent_sums

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
    assert not sums.trace.requires_grad
    torch.testing.assert_close(matrices.detach(), before, rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_has_the_same_sums():
    matrices, vectors = draw(40, 100)
    here, there = resolvent_sums(matrices, vectors, SHIFTS), resolvent_sums(matrices.cuda(), vectors.cuda(), SHIFTS)
    torch.testing.assert_close(there.linear.cpu(), here.linear, rtol=1e-8, atol=0)
