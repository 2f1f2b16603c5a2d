"""Columns as features: the verbs of a kernel's features, against dense algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dowhy_cina.mathematics.columns import ColumnFeatures
from dowhy_cina.mathematics.ridge import fit_ridge, gram_statistics

B, N, L = 2, 37, 5


def draw(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.fixture(params=[None, 1, 40, 10_000])
def features(request):
    """The same rows in one block, in blocks of a row, of some rows, and by default."""
    return ColumnFeatures(draw(B, N, L), request.param)


def test_blocks_are_the_rows_in_their_order(features):
    parts = list(features.blocks())
    assert torch.equal(torch.cat([block for _, block in parts], 1), features.values)
    assert [row for part, _ in parts for row in range(part.start, part.stop)] == list(range(N))
    lengths = {None: N, 1: 1, 40: 4, 10_000: N}
    assert parts[0][1].shape[1] == lengths[features.block_entries]
    assert features.size == L


def test_means_and_products(features):
    x, weights, slope = features.values.numpy(), draw(B, N, seed=1), draw(B, L, seed=2)
    np.testing.assert_allclose(features.mean(weights), np.einsum("bn,bnl->bl", weights, x))
    np.testing.assert_allclose(features.times(slope), np.einsum("bnl,bl->bn", x, slope))


def test_solved_blocks(features):
    lower = torch.linalg.cholesky(draw(B, L, 9, seed=3) @ draw(B, L, 9, seed=3).mT)
    found = torch.cat([block for _, block in features.solved_blocks(lower)], 2)
    np.testing.assert_allclose(found, np.linalg.solve(lower.numpy(), features.values.numpy().transpose(0, 2, 1)))


def test_each_row_with_the_coefficients_of_its_group(features):
    codes, slopes = torch.from_numpy(np.random.default_rng(4).integers(0, 3, (1, N))), draw(1, 3, L, seed=5)
    one = ColumnFeatures(features.values[:1], features.block_entries)
    expected = (features.values[0].numpy() * slopes[0].numpy()[codes[0].numpy()]).sum(1)
    np.testing.assert_allclose(one.times_each(slopes, codes)[0], expected)


def test_some_of_the_rows(features):
    index = torch.tensor([[3, 0, 36], [5, 5, 1]])
    taken = features.take(index)
    assert taken.block_entries == features.block_entries
    for b in range(B):
        assert torch.equal(taken.values[b], features.values[b][index[b]])


def test_ridge_regression(features):
    """Second moments and leverages are those of a dense design with an intercept that is free."""
    y, rows = draw(B, N, seed=6), torch.from_numpy(np.random.default_rng(7).uniform(0.2, 2, (B, N)))
    fit = fit_ridge(gram_statistics(features, y, rows), torch.tensor([0.5, 20.0], dtype=torch.float64))
    for b, penalty in enumerate((0.5, 20.0)):
        design = np.column_stack([np.ones(N), features.values[b].numpy()])
        inverse = np.linalg.inv(design.T * rows[b].numpy() @ design + np.diag([0.0, *[penalty] * L]))
        hat = design @ inverse @ design.T * rows[b].numpy()
        np.testing.assert_allclose(fit.predict(features)[b], hat @ y[b].numpy(), rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(fit.leverage(features, rows)[b], np.diag(hat), rtol=1e-7)


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (4, 0), (0, 0)])
def test_nothing(rows, columns):
    empty = ColumnFeatures(torch.zeros(1, rows, columns, dtype=torch.float64))
    assert [block.shape for _, block in empty.blocks()] == [(1, rows, columns)]
    assert empty.mean(torch.ones(1, rows).double()).tolist() == [[0.0] * columns]
    assert empty.times(torch.ones(1, columns).double()).tolist() == [[0.0] * rows]
