"""Kernels and landmark features against scikit-learn and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

from dowhy_cina import kernels
from dowhy_cina.kernels import HEAD_SCALES, LandmarkKernel, gather_rows, multihead_kernel, squared_distances

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
    features = LandmarkKernel.build(x, AMPLITUDES).features(x)
    for table in range(2):
        product = features[table] @ features[table].T
        expected = reference(x[table], x[table], AMPLITUDES[table])
        scale = float(AMPLITUDES[table].sum())
        np.testing.assert_allclose(product, expected, atol=2 * kernels.JITTER * scale)


def test_features_are_the_nystrom_approximation():
    x = keys(50)
    kernel = LandmarkKernel.build(x[:, :15], AMPLITUDES)
    product = kernel.features(x) @ kernel.features(x).transpose(1, 2)
    for table in range(2):
        inner = reference(x[table, :15], x[table, :15], AMPLITUDES[table])
        inner += kernels.JITTER * float(AMPLITUDES[table].sum()) * np.eye(15)
        outer = reference(x[table], x[table, :15], AMPLITUDES[table])
        np.testing.assert_allclose(product[table], outer @ np.linalg.solve(inner, outer.T), atol=1e-7)
    np.testing.assert_allclose(kernel.diagonal, AMPLITUDES.sum(1))


def test_repeated_landmarks_can_be_factorised():
    x = keys(10)
    features = LandmarkKernel.build(x.repeat(1, 3, 1), AMPLITUDES).features(x)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("entries", [1, 100, 2**19])
def test_blocks_change_nothing(monkeypatch, entries):
    x = keys(33)
    kernel = LandmarkKernel.build(x[:, :10], AMPLITUDES)
    weights = torch.from_numpy(np.random.default_rng(2).random((2, 33)))
    monkeypatch.setattr(kernels, "BLOCK_ENTRIES", entries)
    blocks = list(kernel.blocks(x))
    assert torch.equal(torch.cat([torch.arange(33)[rows] for rows, _ in blocks]), torch.arange(33))
    torch.testing.assert_close(torch.cat([block for _, block in blocks], 1), kernel.features(x), atol=1e-12, rtol=0)
    expected = (weights[..., None] * kernel.features(x)).sum(1)
    torch.testing.assert_close(kernel.mean_features(x, weights), expected, atol=1e-12, rtol=0)


def test_mean_squared_gradient_is_autograds():
    x, landmarks = keys(25), keys(12, seed=3)
    kernel = LandmarkKernel.build(landmarks, AMPLITUDES)
    coefficients = torch.from_numpy(np.random.default_rng(4).normal(size=(2, 12)))
    variable = x.clone().requires_grad_()
    torch.einsum("bnm,bm->bn", kernel.features(variable), coefficients).sum().backward()
    expected = variable.grad.square().mean(1)
    torch.testing.assert_close(kernel.mean_squared_gradient(x, coefficients), expected, atol=0, rtol=1e-6)


def test_gather_rows():
    x, index = keys(9), torch.tensor([[0, 8, 3], [2, 2, 1]])
    gathered = gather_rows(x, index)
    for table in range(2):
        np.testing.assert_array_equal(gathered[table], x[table].numpy()[index[table].numpy()])
    assert torch.equal(gather_rows(x[..., 0], index), gathered[..., 0])
