"""Ridge regression, its penalty and its leave-one-out errors against direct solves and literal refits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dowhy_cina import kernels
from dowhy_cina.kernels import LandmarkKernel
from dowhy_cina.outcome import (
    GCV_FACTOR,
    PENALTY_GRID,
    fit_ridge,
    gcv_penalty,
    gram_statistics,
    leave_one_out_residuals,
)

N = 25


@pytest.fixture
def case():
    """Two tables: keys, response, 0/1 rows, a kernel of 8 landmarks."""
    rng = np.random.default_rng(0)
    keys = torch.from_numpy(rng.normal(size=(2, N, 3)))
    response = torch.sin(keys[..., 0]) + 5 + 0.3 * torch.from_numpy(rng.normal(size=(2, N)))
    rows = torch.from_numpy((rng.random((2, N)) < 0.7).astype(float))
    amplitudes = torch.tensor([[0.1, 1.0, 10.0]], dtype=torch.float64).expand(2, 3)
    return keys, response, rows, LandmarkKernel.build(keys[:, :8], amplitudes)


def direct(features, response, weights, penalty):
    """Weighted ridge with a free intercept by numpy's linear solver: intercept, coefficients."""
    design = np.column_stack([np.ones(len(features)), features])
    right = design.T @ (weights * response)
    ridge = penalty * np.diag([0.0] + [1.0] * features.shape[1])
    solution = np.linalg.solve(design.T @ (weights[:, None] * design) + ridge, right)
    return solution[0], solution[1:]


def hat_matrix(features, penalty):
    design = np.column_stack([np.ones(len(features)), features])
    ridge = penalty * np.diag([0.0] + [1.0] * features.shape[1])
    return design @ np.linalg.solve(design.T @ design + ridge, design.T)


@pytest.mark.parametrize("entries", [1, 2**19])
def test_statistics_by_hand(case, monkeypatch, entries):
    keys, response, rows, kernel = case
    monkeypatch.setattr(kernels, "BLOCK_ENTRIES", entries)
    statistics = gram_statistics(kernel, keys, response, rows)
    for table in range(2):
        inside = rows[table].numpy() > 0
        features, y = kernel.features(keys)[table].numpy()[inside], response[table].numpy()[inside]
        centred, deviation = features - features.mean(0), y - y.mean()
        assert statistics.count[table] == inside.sum()
        np.testing.assert_allclose(statistics.mean_features[table], features.mean(0), atol=1e-12)
        np.testing.assert_allclose(statistics.gram[table], centred.T @ centred, atol=1e-10)
        np.testing.assert_allclose(statistics.cross[table], centred.T @ deviation, atol=1e-10)
        np.testing.assert_allclose(statistics.total[table], deviation @ deviation)


@pytest.mark.parametrize("frequencies", [False, True])
def test_ridge_is_the_direct_solution(case, frequencies):
    keys, response, rows, kernel = case
    weights = rows * (1 + torch.arange(N) % 3) if frequencies else rows
    penalty = torch.tensor([0.05, 3.0], dtype=torch.float64)
    fit = fit_ridge(gram_statistics(kernel, keys, response, weights), penalty)
    features = kernel.features(keys).numpy()
    for table in range(2):
        intercept, coefficients = direct(
            features[table], response[table].numpy(), weights[table].numpy(), float(penalty[table])
        )
        np.testing.assert_allclose(fit.coefficients[table], coefficients, atol=1e-6)
        expected = intercept + features[table] @ coefficients
        np.testing.assert_allclose(fit.predict(kernel, keys)[table], expected, atol=1e-7)
        np.testing.assert_allclose(fit.predict_with_leverage(kernel, keys)[0][table], expected, atol=1e-7)


def test_degrees_of_freedom_are_the_trace_and_leverages_the_diagonal_of_the_hat_matrix(case):
    keys, response, _, kernel = case
    penalty = torch.tensor([0.05, 3.0], dtype=torch.float64)
    fit = fit_ridge(gram_statistics(kernel, keys, response, torch.ones(2, N, dtype=torch.float64)), penalty)
    leverage = fit.predict_with_leverage(kernel, keys)[1]
    for table in range(2):
        hat = hat_matrix(kernel.features(keys)[table].numpy(), float(penalty[table]))
        np.testing.assert_allclose(leverage[table], np.diag(hat), atol=1e-7)
        np.testing.assert_allclose(fit.degrees_of_freedom[table], np.trace(hat), atol=1e-6)


def test_leave_one_out_is_the_error_of_literal_refits(case):
    keys, response, rows, kernel = case
    penalty = torch.tensor([0.05, 3.0], dtype=torch.float64)
    fit = fit_ridge(gram_statistics(kernel, keys, response, rows), penalty)
    ours = leave_one_out_residuals(response, *fit.predict_with_leverage(kernel, keys))
    features = kernel.features(keys).numpy()
    for table in range(2):
        for row in np.flatnonzero(rows[table]):
            others = rows[table].numpy().copy()
            others[row] = 0
            intercept, coefficients = direct(features[table], response[table].numpy(), others, float(penalty[table]))
            error = float(response[table, row]) - intercept - features[table, row] @ coefficients
            np.testing.assert_allclose(float(ours[table, row]), error, atol=1e-6)


@pytest.mark.parametrize("factor", [1.0, GCV_FACTOR])
@pytest.mark.parametrize("noise", [0.01, 0.3, 5.0])
def test_penalty_minimises_generalised_cross_validation(case, noise, factor):
    keys, _, _, kernel = case
    rng = np.random.default_rng(1)
    response = torch.sin(2 * keys[..., 0]) + noise * torch.from_numpy(rng.normal(size=(2, N)))
    statistics = gram_statistics(kernel, keys, response, torch.ones(2, N, dtype=torch.float64))
    chosen = gcv_penalty(statistics, factor)
    for table in range(2):
        scores = []
        for penalty in PENALTY_GRID:
            hat, y = hat_matrix(kernel.features(keys)[table].numpy(), penalty), response[table].numpy()
            scores.append(N * np.sum((y - hat @ y) ** 2) / (N - factor * np.trace(hat)) ** 2)
        assert float(chosen[table]) == PENALTY_GRID[int(np.argmin(scores))]


def test_noise_asks_for_a_larger_penalty_than_signal(case):
    keys, _, _, kernel = case
    ones = torch.ones(2, N, dtype=torch.float64)
    signal = gcv_penalty(gram_statistics(kernel, keys, torch.sin(keys[..., 0]), ones))
    noise = torch.from_numpy(np.random.default_rng(2).normal(size=(2, N)))
    assert (gcv_penalty(gram_statistics(kernel, keys, noise, ones)) > signal).all()


def test_a_level_costs_no_digits(case):
    keys, response, rows, kernel = case
    penalty = torch.ones(2, dtype=torch.float64)
    low = fit_ridge(gram_statistics(kernel, keys, response, rows), penalty)
    high = fit_ridge(gram_statistics(kernel, keys, response + 1e6, rows), penalty)
    torch.testing.assert_close(high.coefficients, low.coefficients, atol=1e-7, rtol=0)


def test_constant_response_and_single_row_stay_finite(case):
    keys, response, rows, kernel = case
    single = torch.zeros_like(rows)
    single[:, 3] = 1
    for y, weights in ((torch.full_like(response, 7.0), rows), (response, single)):
        statistics = gram_statistics(kernel, keys, y, weights)
        fit = fit_ridge(statistics, gcv_penalty(statistics))
        fitted = fit.predict(kernel, keys)
        assert torch.isfinite(fitted).all()
        mean = (weights * y).sum(1, keepdim=True) / weights.sum(1, keepdim=True)
        torch.testing.assert_close(fitted, mean.expand_as(fitted), atol=1e-9, rtol=0)


def test_gradients_reach_keys_and_penalty(case):
    keys, response, rows, _ = case
    keys = keys.clone().requires_grad_()
    penalty = torch.ones(2, dtype=torch.float64, requires_grad=True)
    amplitudes = torch.tensor([[0.1, 1.0, 10.0]], dtype=torch.float64).expand(2, 3)
    kernel = LandmarkKernel.build(keys[:, :8], amplitudes)
    fit = fit_ridge(gram_statistics(kernel, keys, response, rows), penalty)
    fit.predict(kernel, keys).square().mean().backward()
    for gradient in (keys.grad, penalty.grad):
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any()
