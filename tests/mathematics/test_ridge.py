"""Ridge regression, its penalty and its leave-one-out errors against direct solves and literal refits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dowhy_cina.mathematics import rows as rows_module
from dowhy_cina.mathematics.kernels import LandmarkKernel
from dowhy_cina.mathematics.passes import places_of
from dowhy_cina.mathematics.ridge import (
    GCV_FACTOR,
    LEAST_LEFT,
    PENALTY_GRID,
    UNLEARNED,
    cross_validated_ridge,
    fit_ridge,
    generalised_cross_validation,
    gram_statistics,
    leave_one_out_residuals,
)
from dowhy_cina.mathematics.rows import RowFeatures

N = 25
PENALTY = torch.tensor([0.05, 3.0], dtype=torch.float64)
ONES = torch.ones(2, N, dtype=torch.float64)


@pytest.fixture
def case():
    """Two tables: response, 0/1 rows, features of a kernel of 8 landmarks."""
    rng = np.random.default_rng(0)
    keys = torch.from_numpy(rng.normal(size=(2, N, 3)))
    response = torch.sin(keys[..., 0]) + 5 + 0.3 * torch.from_numpy(rng.normal(size=(2, N)))
    rows = torch.from_numpy((rng.random((2, N)) < 0.7).astype(float))
    amplitudes = torch.tensor([[0.1, 1.0, 10.0]], dtype=torch.float64).expand(2, 3)
    return response, rows, RowFeatures.build(LandmarkKernel(keys[:, :8], amplitudes), keys)


def dense(features):
    """Features of every row as an array."""
    return features.kernel.features(features.keys).numpy()


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


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("entries", "keep"), [(1, False), (100, False), (2**18, True)])
def test_statistics_by_hand(case, monkeypatch, entries, keep, weighted):
    response, rows, features = case
    rows = rows * (1 + torch.arange(N) % 3) if weighted else rows
    monkeypatch.setattr(rows_module, "BLOCK_ENTRIES", entries)
    features = RowFeatures.build(features.kernel, features.keys, keep=keep)
    statistics = gram_statistics(features, response, rows)
    for table in range(2):
        weights, phi, y = rows[table].numpy(), dense(features)[table], response[table].numpy()
        mean, level = np.average(phi, axis=0, weights=weights), np.average(y, weights=weights)
        centred, deviation = phi - mean, y - level
        assert statistics.count[table] == weights.sum()
        np.testing.assert_allclose(statistics.mean_features[table], mean, atol=1e-12)
        np.testing.assert_allclose(statistics.mean_response[table], level)
        np.testing.assert_allclose(statistics.gram[table], (centred.T * weights) @ centred, atol=1e-10)
        np.testing.assert_allclose(statistics.cross[table], (centred.T * weights) @ deviation, atol=1e-10)
        np.testing.assert_allclose(statistics.total[table], weights @ deviation**2)


@pytest.mark.parametrize("frequencies", [False, True])
def test_ridge_is_the_direct_solution(case, frequencies):
    response, rows, features = case
    weights = rows * (1 + torch.arange(N) % 3) if frequencies else rows
    fit = fit_ridge(gram_statistics(features, response, weights), PENALTY)
    phi = dense(features)
    for table in range(2):
        intercept, coefficients = direct(
            phi[table], response[table].numpy(), weights[table].numpy(), float(PENALTY[table])
        )
        np.testing.assert_allclose(fit.coefficients[table], coefficients, atol=1e-6)
        np.testing.assert_allclose(fit.predict(features)[table], intercept + phi[table] @ coefficients, atol=1e-7)


@pytest.mark.parametrize("weighted", [False, True])
def test_leverage_is_the_derivative_of_the_fit_in_its_own_response(case, weighted):
    response, rows, features = case
    rows = rows * (1 + torch.arange(N) % 3) / 2 if weighted else rows
    fit = fit_ridge(gram_statistics(features, response, rows), PENALTY)
    leverage = fit.leverage(features, rows)
    assert not leverage[rows == 0].any()
    for row in range(N):
        moved = response.clone()
        moved[:, row] += 1  # the fit is linear in the response
        other = fit_ridge(gram_statistics(features, moved, rows), PENALTY)
        slope = other.predict(features)[:, row] - fit.predict(features)[:, row]
        torch.testing.assert_close(leverage[:, row], slope, atol=1e-8, rtol=0)


def test_leverages_are_the_diagonal_of_the_hat_matrix(case):
    response, _, features = case
    leverage = fit_ridge(gram_statistics(features, response, ONES), PENALTY).leverage(features, ONES)
    for table in range(2):
        hat = hat_matrix(dense(features)[table], float(PENALTY[table]))
        np.testing.assert_allclose(leverage[table], np.diag(hat), atol=1e-7)


@pytest.mark.parametrize("weighted", [False, True])
def test_leave_one_out_is_the_error_of_literal_refits(case, weighted):
    response, rows, features = case
    rows = rows * (1 + torch.arange(N) % 3) if weighted else rows
    fit = fit_ridge(gram_statistics(features, response, rows), PENALTY)
    ours = leave_one_out_residuals(response, fit.predict(features), fit.leverage(features, rows))
    phi = dense(features)
    for table in range(2):
        for row in range(N):  # rows outside the fit have plain errors, which a refit without them does not change
            others = rows[table].numpy().copy()
            others[row] = 0
            intercept, coefficients = direct(phi[table], response[table].numpy(), others, float(PENALTY[table]))
            error = float(response[table, row]) - intercept - phi[table, row] @ coefficients
            np.testing.assert_allclose(float(ours[table, row]), error, atol=1e-6)


def test_a_solved_direction_gives_the_derivatives_of_a_contrast(case):
    response, rows, features = case
    rows = rows * (1 + torch.arange(N) % 3)
    direction = torch.from_numpy(np.random.default_rng(6).normal(size=(2, 8)))
    fit = fit_ridge(gram_statistics(features, response, rows), PENALTY)
    solved = fit.solve(direction)
    ours = rows * (features.times(solved) - (fit.centre * solved).sum(1, keepdim=True))
    torch.testing.assert_close((ours * response).sum(1), (direction * fit.coefficients).sum(1), atol=1e-7, rtol=0)
    for row in range(N):
        moved = response.clone()
        moved[:, row] += 1
        other = fit_ridge(gram_statistics(features, moved, rows), PENALTY)
        slope = (direction * (other.coefficients - fit.coefficients)).sum(1)
        torch.testing.assert_close(ours[:, row], slope, atol=1e-7, rtol=0)


def test_signal_variance_is_the_most_likely_scale(case):
    """Of Gaussian processes ``s (kernel + penalty)``, but for the half row that is added to it."""
    response, _, features = case
    fit = fit_ridge(gram_statistics(features, response, ONES), PENALTY)
    for table in range(2):
        phi, y = dense(features)[table], response[table].numpy()
        phi, y = phi - phi.mean(0), y - y.mean()
        quadratic = y @ np.linalg.solve(phi @ phi.T + float(PENALTY[table]) * np.eye(N), y)
        np.testing.assert_allclose(fit.signal_variance[table], (quadratic + 0.5) / (N + 1), rtol=1e-6)


# The penalty


@pytest.mark.parametrize("factor", [1.0, GCV_FACTOR])
@pytest.mark.parametrize("noise", [0.01, 0.3, 5.0])
def test_penalty_minimises_generalised_cross_validation(case, noise, factor):
    features = case[2]
    rng = np.random.default_rng(1)
    response = torch.sin(2 * features.keys[..., 0]) + noise * torch.from_numpy(rng.normal(size=(2, N)))
    statistics = gram_statistics(features, response, ONES)
    chosen = generalised_cross_validation(statistics, factor)
    for table in range(2):
        hats = [hat_matrix(dense(features)[table], penalty) for penalty in PENALTY_GRID]
        y = response[table].numpy()
        errors = [np.sum((y - hat @ y) ** 2) for hat in hats]
        scores = [N * error / (N - factor * np.trace(hat)) ** 2 for error, hat in zip(errors, hats, strict=True)]
        best = int(np.argmin(scores))
        assert float(chosen.penalty[table]) == PENALTY_GRID[best]
        np.testing.assert_allclose(chosen.degrees_of_freedom[table], np.trace(hats[best]) - 1, atol=1e-6)
        explained = 1 - errors[best] / np.sum((y - y.mean()) ** 2)
        np.testing.assert_allclose(chosen.explained[table], explained, atol=1e-6)


def short_arms(rows, columns, noise):
    """60 short arms with outcomes linear in five columns, and fresh rows.

    The features are all but linear, and so large that most penalties let a fit interpolate.
    """
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(60, rows + 500, columns))
    y = torch.from_numpy(x[..., :5] @ rng.normal(size=5) + noise * rng.normal(size=x.shape[:2]))
    keys = torch.from_numpy(0.7 / columns**0.5 * x)
    kernel = LandmarkKernel(keys[:, :rows], torch.tensor([[0.0, 0.0, 1e5]], dtype=torch.float64).expand(60, 3))
    own, fresh = (RowFeatures.build(kernel, part) for part in (keys[:, :rows], keys[:, rows:]))
    return own, y[:, :rows], fresh, y[:, rows:]


@pytest.mark.parametrize("noise", [0.3, 3.0])
@pytest.mark.parametrize(("rows", "columns"), [(28, 46), (14, 59)])
def test_short_arms_of_many_columns_are_not_interpolated(rows, columns, noise):
    """And leave-one-out errors are those of fresh rows."""
    own, y, fresh, later = short_arms(rows, columns, noise)
    ones = torch.ones_like(y)
    fit = cross_validated_ridge(own, y, ones, torch.ones(60, dtype=torch.float64))
    fitted = fit.predict(own)
    assert (((y - fitted).square().mean(1) / y.var(1)) > 0.01).all()
    errors = leave_one_out_residuals(y, fitted, fit.leverage(own, ones)).square().mean()
    assert 1 / 1.3 < float(errors / (later - fit.predict(fresh)).square().mean()) < 1.3


def test_no_penalty_is_a_candidate_that_leaves_too_little():
    own, y, _, _ = short_arms(14, 59, 0.3)
    found = generalised_cross_validation(gram_statistics(own, y, torch.ones_like(y)))
    assert (1 - GCV_FACTOR * (1 + found.degrees_of_freedom) / 14 > LEAST_LEFT).all()
    # Without a candidate the largest is taken.
    none = generalised_cross_validation(gram_statistics(own, y, torch.ones_like(y)), factor=14.0)
    assert (none.penalty == PENALTY_GRID[-1]).all()


@pytest.mark.parametrize("seed", range(5))
def test_of_features_that_vary_by_rounding_alone_nothing_is_learned(case, seed):
    """Whatever rounding leaves: an arm of equal rows has no digit to choose a penalty by."""
    rng = np.random.default_rng(seed)
    kernel, keys = case[2].kernel, case[2].keys[:, :1] * (1 + 1e-15 * torch.from_numpy(rng.random((2, N, 1))))
    features = RowFeatures.build(kernel, keys)
    response = torch.from_numpy(rng.normal(size=(2, N)))
    statistics = gram_statistics(features, response, ONES)
    assert not statistics.varies.any()
    assert (generalised_cross_validation(statistics).penalty == UNLEARNED).all()
    fit = cross_validated_ridge(features, response, ONES, ONES[:, 0])
    assert (fit.coefficients == 0).all()
    torch.testing.assert_close(fit.predict(features), response.mean(1, keepdim=True).expand(2, N))
    assert gram_statistics(case[2], response, ONES).varies.all()
    # A single row leaves no candidate.
    one = generalised_cross_validation(
        gram_statistics(features.take(places_of(ONES[:, :1])), response[:, :1], ONES[:, :1])
    )
    assert (one.penalty == PENALTY_GRID[-1]).all()


def test_noise_asks_for_a_larger_penalty_than_signal(case):
    features = case[2]
    signal = generalised_cross_validation(gram_statistics(features, torch.sin(features.keys[..., 0]), ONES))
    noise = torch.from_numpy(np.random.default_rng(2).normal(size=(2, N)))
    other = generalised_cross_validation(gram_statistics(features, noise, ONES))
    assert (other.penalty > signal.penalty).all()
    assert (other.explained < signal.explained).all()


def test_cross_validated_ridge_multiplies_the_penalty(case):
    response, rows, features = case
    multiplier = torch.tensor([0.5, 20.0], dtype=torch.float64)
    statistics = gram_statistics(features, response, rows)
    expected = fit_ridge(statistics, generalised_cross_validation(statistics).penalty * multiplier)
    fit = cross_validated_ridge(features, response, rows, multiplier)
    torch.testing.assert_close(fit.penalty, expected.penalty)
    torch.testing.assert_close(fit.coefficients, expected.coefficients)


def test_sampling_weights_raise_the_penalty_by_the_design_effect(case):
    """Kish's: rows over effective sample size, for weights with mean one in the arm."""
    response, rows, features = case
    one = torch.ones(2, dtype=torch.float64)
    weights = rows * (1 + torch.arange(N) % 4)
    weights = weights * rows.sum(1, keepdim=True) / weights.sum(1, keepdim=True)
    plain, weighted = (cross_validated_ridge(features, response, part, one) for part in (rows, weights))
    effective = weights.sum(1).square() / weights.square().sum(1)
    torch.testing.assert_close(weighted.penalty / plain.penalty, rows.sum(1) / effective)
    expected = fit_ridge(gram_statistics(features, response, weights), weighted.penalty)
    torch.testing.assert_close(weighted.coefficients, expected.coefficients)
    # The design effect undoes the scale of the weights in the ridge's objective.
    doubled = cross_validated_ridge(features, response, 2 * weights, one)
    torch.testing.assert_close(doubled.coefficients, weighted.coefficients, atol=1e-6, rtol=1e-6)


# Numerics


def test_a_level_costs_no_digits(case):
    response, rows, features = case
    one = torch.ones(2, dtype=torch.float64)
    low = fit_ridge(gram_statistics(features, response, rows), one)
    high = fit_ridge(gram_statistics(features, response + 1e6, rows), one)
    torch.testing.assert_close(high.coefficients, low.coefficients, atol=1e-7, rtol=0)


def test_constant_response_and_single_row_stay_finite(case):
    response, rows, features = case
    single = torch.zeros_like(rows)
    single[:, 3] = 1
    for y, weights in ((torch.full_like(response, 7.0), rows), (response, single)):
        fit = cross_validated_ridge(features, y, weights, torch.ones(2, dtype=torch.float64))
        fitted = fit.predict(features)
        mean = (weights * y).sum(1, keepdim=True) / weights.sum(1, keepdim=True)
        torch.testing.assert_close(fitted, mean.expand_as(fitted), atol=1e-9, rtol=0)
        assert (fit.signal_variance > 0).all()
        assert torch.isfinite(leave_one_out_residuals(y, fitted, fit.leverage(features, weights))).all()


def test_gradients_reach_keys_and_penalty(case):
    response, rows, features = case
    keys = features.keys.clone().requires_grad_()
    penalty = torch.ones(2, dtype=torch.float64, requires_grad=True)
    amplitudes = torch.tensor([[0.1, 1.0, 10.0]], dtype=torch.float64).expand(2, 3)
    features = RowFeatures.build(LandmarkKernel(keys[:, :8], amplitudes), keys)
    fit = fit_ridge(gram_statistics(features, response, rows), penalty)
    fit.predict(features).square().mean().backward()
    for gradient in (keys.grad, penalty.grad):
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any()


@pytest.mark.parametrize("weighted", [False, True])
def test_fitted_variance_and_evidence_by_hand(case, weighted):
    response, rows, features = case
    rows = rows * (1 + torch.arange(N) % 3) if weighted else rows
    fit = fit_ridge(gram_statistics(features, response, rows), PENALTY)
    fitted = fit.predict(features)
    for table in range(2):
        weights, values = rows[table].numpy(), fitted[table].numpy()
        spread = np.average((values - np.average(values, weights=weights)) ** 2, weights=weights)
        assert float(fit.fitted_variance[table]) == pytest.approx(spread)
        count = weights.sum()
        residual = response[table].numpy() - values
        # y' (K + penalty)^-1 y is y'(y - f) / penalty: of centred outcomes.
        centred = response[table].numpy() - np.average(response[table].numpy(), weights=weights)
        quadratic = (weights * centred * residual).sum() / float(PENALTY[table])
        assert float(fit.signal_variance[table]) == pytest.approx((quadratic + 0.5) / (count + 1))
        assert float(fit.evidence[table]) == pytest.approx(quadratic / (quadratic + 0.5))


def test_a_constant_response_is_evidence_of_nothing(case):
    _, rows, features = case
    fit = fit_ridge(gram_statistics(features, torch.full_like(rows, 3.0), rows), PENALTY)
    np.testing.assert_allclose(fit.evidence, 1e-6)
    np.testing.assert_allclose(fit.fitted_variance, 0, atol=1e-12)
