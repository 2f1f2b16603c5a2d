"""Kernels and landmark features against scikit-learn and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

from dowhy_cina.mathematics import rows as rows_module
from dowhy_cina.mathematics.kernels import (
    HEAD_SCALES,
    JITTER,
    LandmarkKernel,
    gaussian_gram,
    heads,
    median_bandwidth,
    multihead_kernel,
    slope_amplitudes,
    squared_distances,
)
from dowhy_cina.mathematics.passes import gather_rows, places_of, sum_blocks
from dowhy_cina.mathematics.rows import RowFeatures

AMPLITUDES = torch.tensor([[0.3, 1.0, 7.0], [0.0, 1.0, 0.0]], dtype=torch.float64)


def keys(rows, columns=4, seed=0, tables=2):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(tables, rows, columns)))


def reference(x, y, amplitudes):
    """Sum of scikit-learn's Gaussian kernels."""
    return sum(float(a) * rbf_kernel(x, y, gamma=0.5 / s**2) for a, s in zip(amplitudes, HEAD_SCALES, strict=True))


def test_distances_are_scikit_learns_and_never_negative():
    a, b = keys(20), keys(30, seed=1)
    for table in range(2):
        expected = euclidean_distances(a[table], b[table], squared=True)
        np.testing.assert_allclose(squared_distances(a, b)[table], expected, atol=1e-12)
    far = a * 1e6
    assert (squared_distances(far, far) >= 0).all()


def test_kernel_is_the_sum_of_scikit_learns():
    a, b = keys(20), keys(30, seed=1)
    ours = multihead_kernel(squared_distances(a, b), AMPLITUDES)
    for table in range(2):
        np.testing.assert_allclose(ours[table], reference(a[table], b[table], AMPLITUDES[table]), atol=1e-12)


def test_features_are_exact_when_every_row_is_a_landmark():
    x = keys(40)
    features = LandmarkKernel(x, AMPLITUDES).features(x)
    for table in range(2):
        product = features[table] @ features[table].T
        expected = reference(x[table], x[table], AMPLITUDES[table])
        scale = float(AMPLITUDES[table].sum())
        np.testing.assert_allclose(product, expected, atol=2 * JITTER * scale)


def test_features_are_the_nystrom_approximation():
    x = keys(50)
    kernel = LandmarkKernel(x[:, :15], AMPLITUDES)
    product = kernel.features(x) @ kernel.features(x).transpose(1, 2)
    for table in range(2):
        inner = reference(x[table, :15], x[table, :15], AMPLITUDES[table])
        inner += JITTER * float(AMPLITUDES[table].sum()) * np.eye(15)
        outer = reference(x[table], x[table, :15], AMPLITUDES[table])
        np.testing.assert_allclose(product[table], outer @ np.linalg.solve(inner, outer.T), atol=1e-7)
    np.testing.assert_allclose(kernel.diagonal, AMPLITUDES.sum(1))


def test_repeated_landmarks_can_be_factorised():
    x = keys(10)
    features = LandmarkKernel(x.repeat(1, 3, 1), AMPLITUDES).features(x)
    assert torch.isfinite(features).all()


def row_features(keep, rows=33):
    x = keys(rows)
    return RowFeatures.build(LandmarkKernel(x[:, :10], AMPLITUDES), x, keep=keep)


@pytest.mark.parametrize("entries", [1, 100, 2**18])
@pytest.mark.parametrize("keep", [False, True])
def test_features_of_rows_are_the_kernels_in_any_blocks(monkeypatch, entries, keep):
    monkeypatch.setattr(rows_module, "BLOCK_ENTRIES", entries)
    features = row_features(keep)
    assert (features.kept is not None) == keep
    assert features.size == 10
    expected = features.kernel.features(features.keys)
    blocks = list(features.blocks())
    assert len(blocks) == {1: 33, 100: 7, 2**18: 1}[entries]
    assert torch.equal(torch.cat([torch.arange(33)[rows] for rows, _ in blocks]), torch.arange(33))
    torch.testing.assert_close(torch.cat([block for _, block in blocks], 1), expected, atol=1e-10, rtol=0)
    weights = torch.from_numpy(np.random.default_rng(2).random((2, 33)))
    torch.testing.assert_close(features.mean(weights), (weights[..., None] * expected).sum(1), atol=1e-9, rtol=0)
    coefficients = torch.from_numpy(np.random.default_rng(3).normal(size=(2, 10)))
    torch.testing.assert_close(
        features.times(coefficients), torch.einsum("bnm,bm->bn", expected, coefficients), atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("keep", [False, True])
def test_kernels_kept_instead_of_features_give_the_same(monkeypatch, keep):
    monkeypatch.setattr(rows_module, "BLOCK_ENTRIES", 70)
    built = row_features(keep)
    ours = RowFeatures.build(built.kernel, built.keys, keep, whiten=False)
    assert ours.kept is None
    assert (ours.similar is not None) == keep
    generator = np.random.default_rng(5)
    weights, vector = (torch.from_numpy(generator.normal(size=(2, size))) for size in (33, 10))
    places = places_of(weights)
    for one, other in ((ours, built), (ours.take(places).with_features(), built.take(places))):
        rows = weights[:, : one.keys.shape[1]]
        torch.testing.assert_close(one.mean(rows), other.mean(rows), atol=1e-9, rtol=0)
        torch.testing.assert_close(one.times(vector), other.times(vector), atol=1e-9, rtol=0)
        torch.testing.assert_close(one.gram(), other.gram(), atol=1e-9, rtol=0)
        torch.testing.assert_close(one.scaled(rows).together(), other.scaled(rows).together(), atol=1e-9, rtol=0)
    assert ours.take(places).with_features().similar is None


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("whiten", [True, False])
def test_rows_that_are_taken_keep_their_factor(whiten, keep):
    built = row_features(keep)
    factor = torch.from_numpy(np.random.default_rng(6).uniform(0.5, 2.0, size=(2, 33)))
    places = torch.tensor([[4, 0, 31], [7, 7, 2]])
    taken = RowFeatures.build(built.kernel, built.keys, keep, whiten=whiten).scaled(factor).take(places)
    expected = gather_rows(built.together() * factor[..., None], places)
    torch.testing.assert_close(taken.together(), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_places_hold_the_rows_with_a_weight_first(share):
    weights = torch.from_numpy((np.random.default_rng(5).random((3, 33)) < share).astype(float))
    weights[0, :20] = 0
    places, counts = places_of(weights), (weights > 0).sum(1)
    assert places.shape == (3, int(counts.max()))
    for table, (row, count) in enumerate(zip(places, counts, strict=True)):
        assert len(set(row.tolist())) == len(row)
        if len(row) < 33:
            assert row[:count].tolist() == weights[table].nonzero()[:, 0].tolist()
        else:
            assert row.tolist() == list(range(33))


def test_many_features_are_not_kept(monkeypatch):
    assert row_features(None).kept is not None
    monkeypatch.setattr(rows_module, "KEPT_ENTRIES", 2 * 33 * 10 - 1)
    assert row_features(None).kept is None


def test_sum_of_blocks():
    parts = [torch.ones(2), torch.arange(2.0), torch.full((2,), 3.0)]
    assert torch.equal(sum_blocks(iter(parts)), torch.tensor([4.0, 5.0]))
    assert torch.equal(parts[0], torch.ones(2))  # it adds to no part in place


def test_slope_is_the_derivative_in_the_squared_distance():
    distances = squared_distances(keys(5), keys(6, seed=1)).requires_grad_()
    multihead_kernel(distances, AMPLITUDES).sum().backward()
    slope = multihead_kernel(distances.detach(), slope_amplitudes(AMPLITUDES))
    torch.testing.assert_close(slope, -2 * distances.grad)


def test_mean_squared_gradients_are_autograds():
    x, landmarks = keys(25), keys(12, seed=3)
    kernel = LandmarkKernel(landmarks, AMPLITUDES)
    coefficients = torch.from_numpy(np.random.default_rng(4).normal(size=(2, 12, 3)))
    ours = kernel.mean_squared_gradients(x, heads(squared_distances(x, landmarks)), coefficients)
    assert ours.shape == (2, 4, 3)
    for function in range(3):
        variable = x.clone().requires_grad_()
        torch.einsum("bnm,bm->bn", kernel.features(variable), coefficients[..., function]).sum().backward()
        torch.testing.assert_close(ours[..., function], variable.grad.square().mean(1), atol=0, rtol=1e-6)


def test_bandwidth_is_the_median_distance_and_the_gram_scikit_learns(monkeypatch):
    x = keys(41)
    distances = euclidean_distances(x[0])[np.triu_indices(41, 1)]
    assert median_bandwidth(x[0]) == pytest.approx(np.median(distances), rel=0.02)  # torch takes the lower of two
    np.testing.assert_allclose(gaussian_gram(x, 1.7)[1], rbf_kernel(x[1], gamma=0.5 / 1.7**2), atol=1e-12)
    assert median_bandwidth(torch.zeros(5, 2)) == 1.0
    monkeypatch.setattr("dowhy_cina.mathematics.kernels.BANDWIDTH_ROWS", 5)
    assert median_bandwidth(x[0]) == median_bandwidth(x[0, :5])


def test_gather_rows():
    x, index = keys(9), torch.tensor([[0, 8, 3], [2, 2, 1]])
    gathered = gather_rows(x, index)
    for table in range(2):
        np.testing.assert_array_equal(gathered[table], x[table].numpy()[index[table].numpy()])
    assert torch.equal(gather_rows(x[..., 0], index), gathered[..., 0])


def test_the_bandwidth_of_rows_that_mostly_coincide_is_one():
    """Products would leave equal rows a tiny distance, and with it a kernel that no factorisation survives."""
    keys = torch.full((300, 3), 1 / 3).double()
    keys[:60] += torch.rand(60, 3, generator=torch.Generator().manual_seed(0))
    assert median_bandwidth(keys) == 1.0
