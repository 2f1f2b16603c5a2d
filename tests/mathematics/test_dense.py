"""Scipy's routines against torch's, which are asked outside of a lone thread."""

import pytest
import torch

from dowhy_cina.mathematics import dense
from dowhy_cina.mathematics.devices import one_thread_each


@pytest.fixture(autouse=True)
def other_makers_processor(monkeypatch):
    """What is asked of scipy and numpy on any processor."""
    for name in ("_ASK_SCIPY", "_ASK_NUMPY"):
        monkeypatch.setattr(dense, name, True)


@pytest.fixture(params=[dense.LEAST_SIZE - 1, dense.LEAST_SIZE, 128])
def parts(request):
    """Rows, positive definite matrices and their factors; the second of two is as it comes from a transposition."""
    size, generator = request.param, torch.Generator().manual_seed(request.param)
    rows = torch.randn(2, 150, size, dtype=torch.float64, generator=generator)
    matrices = rows.mT @ rows + torch.eye(size, dtype=torch.float64)
    return rows, matrices, torch.linalg.cholesky(matrices)


def both(function, *arguments):
    """What a function says alone and in company."""
    before = [part.clone() for part in arguments]
    with torch.no_grad(), one_thread_each():
        quick = function(*arguments)
    for part, copy in zip(arguments, before, strict=True):
        torch.testing.assert_close(part, copy, rtol=0, atol=0)
    return quick, function(*arguments)


def same(pair):
    torch.testing.assert_close(*pair, rtol=1e-11, atol=1e-11)


def test_products_are_torchs(parts):
    rows, matrices, _ = parts
    same(both(dense.product_of, rows[0], matrices[0]))


def test_routines_are_torchs(parts):
    rows, matrices, factors = parts
    same(both(dense.gram_of, rows))
    same(both(dense.lower_factor, matrices))
    same(both(dense.lower_inverse, factors))
    same(both(dense.solve_by_factor, factors, rows[:, 0]))
    same(both(dense.times_lower, rows, factors))
    same(both(dense.times_lower, rows[:, ::2], factors.mT.contiguous().mT))


def test_factors_have_nothing_above_the_diagonal(parts):
    factors, _ = both(dense.lower_factor, parts[1])
    assert not factors.triu(1).any()


def test_what_is_not_positive_definite_raises(parts):
    with torch.no_grad(), one_thread_each(), pytest.raises(torch.linalg.LinAlgError):
        dense.lower_factor(-parts[1])


def test_exponentials_are_torchs():
    values = torch.linspace(-800, 5, 1001, dtype=torch.float64)
    expected = values.exp()
    with torch.no_grad(), one_thread_each():
        torch.testing.assert_close(dense.exponential_(values.clone()), expected, rtol=1e-14, atol=1e-300)
    torch.testing.assert_close(dense.exponential_(values), expected, rtol=1e-14, atol=1e-300)


def test_gradients_flow(parts):
    rows, matrices, factors = (part.clone().requires_grad_() for part in parts)
    with one_thread_each():
        found = dense.gram_of(rows).sum() + dense.lower_factor(matrices).sum() + dense.times_lower(rows, factors).sum()
    for gradient in torch.autograd.grad(found, (rows, matrices, factors)):
        assert bool(gradient.isfinite().all())
        assert bool(gradient.any())


def test_a_routine_of_another_type_is_not_called(parts, monkeypatch):
    """Then torch's are asked."""
    rows, matrices, factors = parts
    monkeypatch.setattr(dense, "routine", lambda *_: None)
    same(both(dense.lower_factor, matrices))
    same(both(dense.lower_inverse, factors))
    same(both(dense.solve_by_factor, factors, rows[:, 0]))
    same(both(dense.times_lower, rows, factors))


def test_scipys_routines_are_as_known():
    """Or all of this is slow, and nobody sees it."""
    for library, name, types in (
        (dense.cython_lapack, "dpotrf", "cidii"),
        (dense.cython_lapack, "dtrtri", "ccidii"),
        (dense.cython_lapack, "dpotrs", "ciididii"),
        (dense.cython_blas, "dtrmm", "cccciiddidi"),
    ):
        assert dense.routine(library, name, types) is not None
    assert dense.routine(dense.cython_blas, "dtrmm", "cc") is None
