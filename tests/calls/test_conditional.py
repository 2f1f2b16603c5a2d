"""Conditional effects against scikit-learn's Gaussian process with the same kernel, and where nothing is known."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct

from dowhy_cina.calls.direct import analyse
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import CinaError
from dowhy_cina.mathematics.columns import ColumnFeatures
from dowhy_cina.mathematics.kernels import HEAD_SCALES
from dowhy_cina.mathematics.rows import RowFeatures
from dowhy_cina.model.sharing import ArmRegression, SharedRows
from dowhy_cina.model.spaces import OutcomeRows
from dowhy_cina.model.state import errors_at
from dowhy_cina.model.variance import ConditionalHead

N = 90


def draw(rows=N, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2))
    t = (rng.random(rows) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    return x, t, 50 + 10 * (np.sin(x[:, 0]) + t * (1 + x[:, 1]) + 0.3 * rng.normal(size=rows))


@pytest.fixture(scope="module")
def analysis():
    """Every row is a landmark, so that the kernel is exact."""
    return analyse(*draw(), options=EstimatorOptions(landmarks=N))


def process(analysis, arm, member):
    """The kernel's or the linear member of the arm's own regression, or its effect on top of the other arm's, as a
    process with a vague intercept, fitted by scikit-learn."""
    fitted, table = analysis.function.state.outcomes[arm].regression, analysis._table
    fit = fitted.borrowed.effect if member == "effect" else getattr(fitted.own, member).fit
    signal, space, response = float(fit.signal_variance), fitted.own.space, table.outcome[0].numpy()
    kernel = ConstantKernel(1e5 * signal, "fixed")
    if member == "kernel":
        for amplitude, scale in zip(space.kernel.amplitudes[0].tolist(), HEAD_SCALES, strict=True):
            kernel = kernel + ConstantKernel(signal * amplitude, "fixed") * RBF(scale, "fixed")
    else:
        kernel = kernel + ConstantKernel(signal, "fixed") * DotProduct(0.0, "fixed")
    if member == "effect":
        response = response - analysis._state.outcomes[1 - arm].prognosis[0].numpy()
    inside = table.treatment[0].numpy() == arm
    rows = space.kernel.landmarks[0] if member == "kernel" else table.covariates[0]
    regressor = GaussianProcessRegressor(kernel, alpha=signal * float(fit.penalty), optimizer=None)
    return regressor.fit(rows.numpy()[inside], response[inside])


def with_head(function, coefficients):
    """The function with other coefficients of its conditional head; all zero they leave the posterior variance."""
    head = ConditionalHead().double()
    head.coefficients.data.copy_(torch.tensor(coefficients))
    changed = copy.copy(function.model)
    changed._modules = {**function.model._modules, "conditional": head}
    return replace(function, model=changed)


def test_scikit_learns_gaussian_process(analysis):
    function = with_head(analysis.function, [0.0] * 5)
    rows = np.random.default_rng(1).normal(size=(25, 2))
    effects, errors = function.at(rows)
    encoded = torch.from_numpy(function.preprocessor.transform(rows))[None]
    with torch.no_grad():
        foreign = function.model.foreign_rows(function.state, encoded)
    means, variances, straight = [], [], []
    for arm, fitted in enumerate(function.state.outcomes):
        model, own = fitted.regression.own, foreign.outcome_rows[arm].own
        mean, sd = process(analysis, arm, "kernel").predict(own.kernel.keys[0].numpy(), return_std=True)
        line, line_sd = process(analysis, arm, "linear").predict(encoded[0].numpy(), return_std=True)
        assert not model.logarithms
        level, shares = float(model.intercept), [float(share) for share in model.shares]
        straight.append(shares[1] / sum(shares))
        variances.append((1 - straight[arm]) * sd**2 + straight[arm] * line_sd**2)
        mean = level + shares[0] * (mean - level) + shares[1] * (line - level)
        means.append(mean.clip(float(model.lower), float(model.upper)))
        one, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        for kept, theirs in (([one, none], sd), ([none, one], line_sd)):
            ours = sum(model.with_shares(kept).posterior_parts(own))[0]
            np.testing.assert_allclose(ours.detach(), theirs**2, rtol=0.01)  # the jitter of the landmarks' Gram
    assert any(0.05 < share < 0.95 for share in straight)
    joined = []
    for arm, fitted in enumerate(function.state.outcomes):
        borrowed = fitted.regression.borrowed
        if borrowed is None:
            joined.append((means[arm], variances[arm], 0.0))
            continue
        share = float(borrowed.share)
        effect, effect_sd = process(analysis, arm, "effect").predict(encoded[0].numpy(), return_std=True)
        lent = means[1 - arm] + effect.clip(float(borrowed.lower), float(borrowed.upper))
        variance = variances[1 - arm] + effect_sd**2
        joined.append(
            (means[arm] + share * (lent - means[arm]), variances[arm] + share * (variance - variances[arm]), share)
        )
    assert max(share for _, _, share in joined) > 0.1
    difference = function.scale * (joined[1][0] - joined[0][0])
    np.testing.assert_allclose(effects, difference, atol=1e-3 * function.scale)
    np.testing.assert_allclose(errors, function.scale * np.sqrt(joined[0][1] + joined[1][1]), rtol=0.01)


def test_what_is_said_of_an_error(analysis):
    """Each part from what the process, the arm's outcomes and the predictions say; a head makes them errors."""
    function = analysis.function
    rows = np.random.default_rng(1).normal(size=(25, 2)) * 1.5
    encoded = torch.from_numpy(function.preprocessor.transform(rows))[None]
    with torch.no_grad():
        foreign = function.model.foreign_rows(function.state, encoded)
        arms = errors_at(function.state, foreign)
    for arm, fitted in enumerate(function.state.outcomes):
        model, table = fitted.regression.own, analysis._table
        own, inside = foreign.outcome_rows[arm].own, table.treatment[0].numpy() == arm
        said = ArmRegression(model, None).error_at(SharedRows(own, own))
        raw = [part[0].numpy() for part in model.parts(own)]
        seen = model.rows(table.covariates, key_coordinate(analysis))
        values = [part[0].numpy()[inside] for part in model.parts(seen)]
        trust, shares = float(model.trust), [float(share) for share in model.shares]
        among = [share / trust for share in shares]
        np.testing.assert_allclose(said.posterior, sum(model.posterior_parts(own)))
        spread = among[0] * values[0].var() + among[1] * values[1].var() + (said.posterior * said.seen)[0].numpy()
        level = table.outcome[0].numpy()[inside].mean()
        by_members, fitted_values = (among[0] * one[0] + among[1] * one[1] for one in (raw, values))
        predicted = level + trust * (by_members - level)
        np.testing.assert_allclose(said.departure[0], (predicted - level) ** 2 / spread, rtol=1e-6)
        ends = level + trust * (np.array([fitted_values.min(), fitted_values.max()]) - level)
        bounds = float(model.lower), float(model.upper)
        assert bounds[0] <= ends[0] < ends[1] <= bounds[1]
        moved = by_members - predicted.clip(*bounds)
        np.testing.assert_allclose(said.moved[0], moved**2 / said.posterior[0].numpy(), atol=1e-9)
        # Every row is a landmark: the landmarks represent the kernel wherever there are rows, and not far away.
        assert (said.seen > 0.95).float().mean() > 0.5
        away = RowFeatures(model.space.kernel, own.kernel.keys + 1e3, None)
        far = OutcomeRows(away, own.columns)
        assert (ArmRegression(model, None).error_at(SharedRows(far, far)).seen < said.seen.min()).all()
    calibrated = with_head(function, [-1.0, 0.5, 0.5, 0.3, 1.0])
    expected = calibrated.model.conditional(arms).sqrt()[0].numpy()
    np.testing.assert_allclose(calibrated.at(rows)[1], function.scale * expected)


def key_coordinate(analysis):
    """Key coordinate of the table's own propensities, left out as in the fit."""
    state = analysis._state
    return state.coordinate


def test_blocks_change_nothing(analysis, monkeypatch):
    model, rng = analysis.function.state.outcomes[1].regression.own, np.random.default_rng(2)
    keys = torch.from_numpy(rng.normal(size=(1, 30, model.space.kernel.landmarks.shape[2])))
    columns = ColumnFeatures(torch.from_numpy(rng.normal(size=(1, 30, 2))))
    whole = sum(model.posterior_parts(OutcomeRows(RowFeatures.build(model.space.kernel, keys, keep=True), columns)))
    monkeypatch.setattr("dowhy_cina.mathematics.rows.BLOCK_ENTRIES", 4 * N)
    parts = sum(model.posterior_parts(OutcomeRows(RowFeatures(model.space.kernel, keys, None), columns)))
    torch.testing.assert_close(parts, whole)


def test_fewer_landmarks_are_no_surer(analysis):
    """What landmarks cannot represent counts as unknown: there the kernel's variance is the prior's or more."""
    few = analyse(*draw(), options=EstimatorOptions(landmarks=10))
    model = few.function.state.outcomes[0].regression.own
    model = model.with_shares([torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    far = torch.full((1, 1, model.space.kernel.landmarks.shape[2]), 1e3, dtype=torch.float64)
    rows = OutcomeRows(RowFeatures(model.space.kernel, far, None), ColumnFeatures(far[..., :2]))
    assert float(sum(model.posterior_parts(rows))) >= float(
        model.kernel.fit.signal_variance * model.space.kernel.diagonal
    )


def test_far_from_the_data_less_is_known(analysis):
    _, errors = analysis.function.at(np.array([[0.0, 0.0], [4.0, 4.0]]))
    assert errors[1] > 2 * errors[0]


def test_effects_are_those_of_the_table():
    """Where noise is small the modelled effect is the true one, within its own error."""
    x, t, y = draw(1500, seed=3)
    rows = np.random.default_rng(4).normal(size=(200, 2))
    effects, errors = analyse(x, t, y).function.at(rows)
    truth = 10 * (1 + rows[:, 1])
    assert np.corrcoef(effects, truth)[0, 1] > 0.9
    assert np.mean(np.abs(effects - truth) < 3 * errors) > 0.8


def test_rows_do_not_know_each_other(analysis):
    rows = np.random.default_rng(5).normal(size=(9, 2))
    effects, errors = analysis.function.at(rows)
    some = analysis.function.at(rows[3:5])
    np.testing.assert_allclose(some[0], effects[3:5], rtol=1e-9)
    np.testing.assert_allclose(some[1], errors[3:5], rtol=1e-9)


def test_categories_and_gaps_are_encoded_as_the_table_was():
    x, t, y = draw(200)
    frame = pd.DataFrame({"a": x[:, 0], "city": np.where(x[:, 1] > 0, "north", "south")})
    frame.loc[::9, "a"] = np.nan
    function = analyse(frame, t, y).function
    effects, errors = function.at(frame.iloc[[5, 0]][["city", "a"]])
    assert np.isfinite([effects, errors]).all()
    np.testing.assert_allclose(function.at(frame)[0][[5, 0]], effects, rtol=1e-9)


def test_without_columns_the_effect_is_the_same_everywhere():
    _, t, y = draw()
    effects, errors = analyse(np.ones((N, 1)), t, y).function.at(np.array([[1.0], [1.0]]))
    np.testing.assert_allclose(effects, y[t == 1].mean() - y[t == 0].mean(), rtol=1e-6)
    assert (errors > 0).all()


def test_no_row_of_the_table_is_kept(analysis):
    state = analysis.function.state
    assert state.balance_features.shape[1] == 0
    assert analysis.function is analysis.effect().function


def test_pickles(analysis):
    rows = np.random.default_rng(6).normal(size=(4, 2))
    copy = pickle.loads(pickle.dumps(analysis.function))
    for one, other in zip(copy.at(rows), analysis.function.at(rows), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_alone_have_none():
    weights = analyse(*draw(), options=EstimatorOptions(augmentation="none"))
    assert weights.function is None
    with pytest.raises(CinaError, match="conditional_effects"):
        weights.effect().conditional_effects(np.zeros((1, 2)))


def test_an_arm_whose_outcome_never_varies_has_errors():
    x, t, y = draw()
    function = analyse(x, t, np.where(t == 1, 3.0, y)).function
    head = ConditionalHead().double()
    head.coefficients.data.copy_(torch.ones(5))
    calibrated = copy.copy(function.model)
    calibrated._modules = {**function.model._modules, "conditional": head}
    for model in (function.model, calibrated):
        errors = replace(function, model=model).at(np.array([[0.0, 0.0], [50.0, 50.0]]))[1]
        assert (errors > 0).all()
        assert np.isfinite(errors).all()
