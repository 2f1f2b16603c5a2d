"""The zero-shot model: its symmetries, what its keys must not see, and its regressions against dense solves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import rbf_kernel

from dowhy_cina.estimating.weighting import balance_arms
from dowhy_cina.mathematics.kernels import HEAD_SCALES, JITTER
from dowhy_cina.mathematics.means import MeansTarget
from dowhy_cina.mathematics.ridge import fit_ridge, gram_statistics
from dowhy_cina.model.agreement import Agreement
from dowhy_cina.model.state import TableBatch, without_rows

N, D = 80, 4


def batch(tables=1, rows=N, columns=D, seed=0, landmarks=None):
    """Standardised tables with confounding; all rows are landmarks unless fewer are asked for."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tables, rows, columns))
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    first = x[..., 0] if columns else rng.normal(size=(tables, rows))
    t = (rng.random((tables, rows)) < 1 / (1 + np.exp(-first))).astype(float)
    t[:, 0], t[:, 1] = 0, 1
    y = np.sin(first) + 0.5 * t + 0.3 * rng.normal(size=(tables, rows))
    y = (y - y.mean(1, keepdims=True)) / y.std(1, keepdims=True)
    marks = torch.stack([torch.from_numpy(rng.permutation(rows)[: landmarks or rows]) for _ in range(tables)])
    return TableBatch(*map(torch.from_numpy, (x, t, y)), marks, torch.arange(rows).expand(tables, rows))


def answers(model, table):
    """Everything that a user of the model sees, rows last."""
    with torch.no_grad():
        state = model(table)
        target = average_row(model, table, state)
        values = model.values(table, state)
        return {
            "propensity": state.propensity,
            "control": state.means[0],
            "treated": state.means[1],
            "residuals": state.residuals,
            "leave_one_out": state.loo_residuals,
            "weights": balance_arms(model, table, state, target).weights,
            "paper": values.weights,
            "gap": values.duality_gap,
        }


def average_row(model, table, state):
    """What each arm is balanced to, if the target is all rows alike."""
    columns = model.balance_columns(table.covariates, state.coordinate)
    return MeansTarget(state.balance_features.mean(1), columns.mean(1))


def close(ours, expected, tolerance):
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, atol=tolerance, rtol=0, msg=lambda text, name=name: name + text)


def take(table, part):
    values = {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
    tensors = {name: value[part] for name, value in values.items() if isinstance(value, torch.Tensor)}
    return dataclasses.replace(table, **tensors)


def weighted(table, seed=0):
    """The table with sampling weights of mean one."""
    weights = torch.from_numpy(np.random.default_rng(seed).choice([0.5, 1.0, 3.0], size=table.treatment.shape))
    return dataclasses.replace(table, weights=weights / weights.mean(1, keepdim=True))


# Symmetries


def test_untrained_model_is_the_fixed_rule(untrained):
    table = batch(tables=2)
    pilot = untrained.pilot(table)
    settings = untrained.settings(table, pilot)
    assert all(not value.any() for value in settings.log_multipliers.values())
    config = untrained.config
    share, width = config.isotropic_share, config.key_width
    expected = (share / D + (1 - share) * pilot.shares[..., 0]).sqrt() / width
    torch.testing.assert_close(settings.treatment_scales, expected)
    amplitudes = torch.tensor([config.short_amplitude, 1, config.wide_amplitude]).double().expand(2, 3)
    torch.testing.assert_close(settings.treatment_amplitudes, amplitudes, atol=1e-7, rtol=0)
    torch.testing.assert_close(settings.outcome_amplitudes, amplitudes, atol=1e-7, rtol=0)


def test_a_network_that_corrects_gives_other_settings(model, untrained):
    table = batch()
    ours, fixed = (m.settings(table, m.pilot(table)).treatment_scales for m in (model, untrained))
    assert (ours - fixed).abs().max() > 1e-3


@pytest.mark.parametrize("landmarks", [None, 30])
@pytest.mark.parametrize("sampling", [False, True])
def test_equivariant_to_rows(model, landmarks, sampling):
    table = weighted(batch(landmarks=landmarks)) if sampling else batch(landmarks=landmarks)
    order = torch.from_numpy(np.random.default_rng(1).permutation(N))
    position = torch.argsort(order)
    shuffled = TableBatch(
        table.covariates[:, order],
        table.treatment[:, order],
        table.outcome[:, order],
        position[table.landmarks],
        table.pilot,
        table.weights[:, order] if sampling else None,
    )
    ours, expected = answers(model, shuffled), answers(model, table)
    expected = {name: value if name == "gap" else value[:, order] for name, value in expected.items()}
    close(ours, expected, 1e-8)


def test_invariant_to_columns_and_their_signs(model):
    table = batch()
    other = dataclasses.replace(table, covariates=-table.covariates[..., torch.tensor([2, 0, 3, 1])])
    close(answers(model, other), answers(model, table), 1e-8)


def test_sign_of_the_outcome(model):
    table = batch()
    ours = answers(model, dataclasses.replace(table, outcome=-table.outcome))
    expected = answers(model, table)
    for name in ("control", "treated", "residuals", "leave_one_out"):
        expected[name] = -expected[name]
    close(ours, expected, 1e-8)


@pytest.mark.parametrize("sampling", [False, True])
def test_batch_is_one_by_one(model, sampling):
    table = batch(tables=3, landmarks=40)
    table = weighted(table) if sampling else table
    together = answers(model, table)
    for index in range(3):
        part = slice(index, index + 1)
        close(answers(model, take(table, part)), {name: value[part] for name, value in together.items()}, 1e-9)


def test_weights_of_one_change_nothing_and_others_do(model):
    table = batch()
    ones = dataclasses.replace(table, weights=torch.ones_like(table.treatment))
    close(answers(model, ones), answers(model, table), 1e-12)
    ours, plain = answers(model, weighted(table)), answers(model, table)
    for name in ("control", "treated", "weights"):
        assert (ours[name] - plain[name]).abs().max() > 1e-3
    assert torch.equal(ours["propensity"], plain["propensity"])  # it would tell what the weights depend on


@pytest.mark.parametrize("columns", [0, 1, 25])
@pytest.mark.parametrize("clustered", [False, True])
def test_any_number_of_columns(model, columns, clustered):
    table = batch(columns=columns)
    table = dataclasses.replace(table, cluster=torch.arange(N)[None] // 2) if clustered else table
    result = answers(model, table)
    assert all(torch.isfinite(value).all() for value in result.values())


def test_weights_are_on_the_simplex_and_improve_balance(untrained):
    table = batch(rows=300)
    result = answers(untrained, table)
    x, treated = table.covariates[0], table.treatment[0] > 0
    before = torch.linalg.vector_norm(x[treated].mean(0) - x[~treated].mean(0))
    for weights, share in ((result["weights"][0], 0.6), (result["paper"][0], 0.3)):
        assert (weights >= 0).all()
        for arm in (treated, ~treated):
            assert float(weights[arm].sum()) == pytest.approx(1)
        assert torch.linalg.vector_norm((weights * table.signs[0]) @ x) < share * before


# What the keys must not see


@pytest.fixture
def fixed_penalty(monkeypatch):
    """Penalties that the data do not choose: what is left is what the fits themselves see."""

    def fit(features, response, rows, multiplier):
        return fit_ridge(gram_statistics(features, response, rows), multiplier)

    for module in ("network", "fitting"):
        monkeypatch.setattr(f"dowhy_cina.model.{module}.cross_validated_ridge", fit)


@pytest.mark.parametrize("row", [0, 1, 17])
def test_own_treatment_does_not_enter_own_propensity(model, fixed_penalty, row):
    table = batch()
    settings = model.settings(table, model.pilot(table))
    flipped = table.treatment.clone()
    flipped[:, row] = 1 - flipped[:, row]
    with torch.no_grad():
        before = model.fit_scores(table, settings)[2]
        after = model.fit_scores(dataclasses.replace(table, treatment=flipped), settings)[2]
    assert float(after[0, row]) == pytest.approx(float(before[0, row]), abs=1e-9)
    assert (after - before).abs().max() > 1e-3  # it does enter the others'


@pytest.mark.parametrize("row", [0, 1, 17])
def test_prognostic_scores_are_functions_of_the_covariates(model, fixed_penalty, monkeypatch, row):
    """The arm's own fit, of its rows and of the other's: weights cannot tell rows apart by their own noise."""
    table = batch()
    settings = model.settings(table, model.pilot(table))
    monkeypatch.setattr(model, "settings", lambda table, pilot: settings)
    monkeypatch.setattr("dowhy_cina.model.links.LEAST_SKEWNESS", float("inf"))
    monkeypatch.setattr(Agreement, "trust", property(lambda self: torch.full_like(self.squares, 0.7)))
    seen = []
    changed = table.outcome.clone()
    changed[:, row] += 5
    for outcome in (table.outcome, changed):
        with torch.no_grad():
            state = model(dataclasses.replace(table, outcome=outcome))
        assert all(float(fitted.regression.borrowed.share[0]) == 0.7 for fitted in state.outcomes)
        own = [fitted.regression.own.predict(fitted.rows.own)[0, row] for fitted in state.outcomes]
        seen.append([(fitted.prognosis[0, row], mean) for fitted, mean in zip(state.outcomes, own, strict=True)])
    before, after = seen
    arm = int(table.treatment[0, row])
    score, mean = (float(late - early) for early, late in zip(before[arm], after[arm], strict=True))
    assert mean > 1e-3
    assert score == pytest.approx(mean, abs=1e-8)
    assert float(after[1 - arm][0]) == pytest.approx(float(before[1 - arm][0]), abs=1e-8)


# The regressions against dense solves


def dense(keys, response, at, amplitudes, penalty, landmarks):
    """Kernel ridge with a free intercept by the bordered linear system of the whole Gram, jitter included."""

    def kernel(a, b):
        return sum(float(x) * rbf_kernel(a, b, gamma=0.5 / s**2) for x, s in zip(amplitudes, HEAD_SCALES, strict=True))

    inner = kernel(landmarks, landmarks) + JITTER * float(amplitudes.sum()) * np.eye(len(landmarks))
    right = np.linalg.solve(inner, kernel(landmarks, keys))
    gram, cross = (kernel(rows, landmarks) @ right for rows in (keys, at))
    ones = np.ones((len(keys), 1))
    system = np.block([[gram + penalty * np.eye(len(keys)), ones], [ones.T, np.zeros((1, 1))]])
    solution = np.linalg.solve(system, np.append(response, 0))
    return cross @ solution[:-1] + solution[-1]


def test_propensity_is_literally_leave_one_out(model):
    table = batch(rows=40)
    with torch.no_grad():
        state = model(table)
    keys = (table.covariates * state.settings.treatment_scales[:, None])[0].detach().numpy()
    t, penalty = table.treatment[0].numpy(), float(state.scores.fit.penalty)
    amplitudes = state.settings.treatment_amplitudes[0]
    for row in range(0, 40, 4):
        others = np.arange(40) != row
        expected = dense(keys[others], t[others], keys[[row]], amplitudes, penalty, keys)
        np.testing.assert_allclose(state.propensity[0, row].detach(), expected[0], atol=1e-6)


def test_own_rows_as_foreign_rows_are_plain_predictions(model):
    table = batch(rows=40)
    with torch.no_grad():
        state = model(table)
        rows = model.foreign_rows(state, table.covariates)
        coordinate = state.scores.coordinate(rows.propensity)
    scaled = (table.covariates * state.settings.treatment_scales[:, None])[0].detach().numpy()
    expected = dense(
        scaled,
        table.treatment[0].numpy(),
        scaled,
        state.settings.treatment_amplitudes[0],
        float(state.scores.fit.penalty),
        scaled,
    )
    np.testing.assert_allclose(rows.propensity[0], expected, atol=1e-6)
    assert (rows.propensity - state.propensity).abs().max() > 1e-3  # not leave-one-out
    means = []
    for arm, outcome in enumerate(state.outcomes):
        inside = table.treatment[0].numpy() == arm
        with torch.no_grad():
            space = outcome.regression.own.space
            fit_keys = space.keys(table.covariates, state.coordinate)
            at = space.keys(table.covariates, coordinate)
        assert torch.equal(rows.outcome_rows[arm].own.kernel.keys, at)
        regression, y = outcome.regression.own, table.outcome[0].numpy()[inside]
        by_kernel = dense(
            fit_keys[0].numpy()[inside],
            y,
            at[0].numpy(),
            state.settings.outcome_amplitudes[0],
            float(regression.kernel.fit.penalty),
            fit_keys[0].numpy(),
        )
        linear = Ridge(float(regression.linear.fit.penalty)).fit(table.covariates[0].numpy()[inside], y)
        parts = [by_kernel, linear.predict(table.covariates[0].numpy())]
        assert not regression.logarithms
        expected = y.mean() + sum(
            float(share) * (part - y.mean()) for share, part in zip(regression.shares, parts, strict=True)
        )
        expected = expected.clip(float(regression.lower), float(regression.upper))
        ours = regression.predict(rows.outcome_rows[arm].own)[0].detach()
        np.testing.assert_allclose(ours, expected, atol=1e-5)
        means.append(expected)
    for arm, outcome in enumerate(state.outcomes):
        borrowed, inside = outcome.regression.borrowed, table.treatment[0].numpy() == arm
        expected = means[arm]
        if borrowed is not None:
            left = table.outcome[0].numpy() - state.outcomes[1 - arm].prognosis[0].numpy()
            effect = Ridge(float(borrowed.effect.penalty)).fit(table.covariates[0].numpy()[inside], left[inside])
            lent = effect.predict(table.covariates[0].numpy()).clip(float(borrowed.lower), float(borrowed.upper))
            expected = expected + float(borrowed.share) * (means[1 - arm] + lent - expected)
        np.testing.assert_allclose(rows.means[arm][0], expected, atol=1e-5)
    assert rows.balance_keys.shape == (1, 40, D + 3)


def same_rows(ours, expected, part=slice(None)):
    for one, other in (
        (ours.propensity, expected.propensity),
        (ours.means[0], expected.means[0]),
        (ours.means[1], expected.means[1]),
        (ours.balance_keys, expected.balance_keys),
    ):
        torch.testing.assert_close(one, other[:, part], atol=1e-12, rtol=0)


def test_foreign_rows_do_not_know_each_other(model):
    table = batch()
    with torch.no_grad():
        state = model(table)
        all_rows, few = (model.foreign_rows(state, table.covariates[:, rows]) for rows in (slice(None), slice(3, 7)))
    same_rows(few, all_rows, slice(3, 7))


def test_foreign_rows_need_no_row_of_the_table(model):
    table = batch()
    with torch.no_grad():
        state = model(table)
        small = without_rows(state)
        same_rows(model.foreign_rows(small, table.covariates), model.foreign_rows(state, table.covariates))
    kept = [small.propensity, *small.means, small.residuals, small.loo_residuals, small.balance_features]
    seen = [rows for outcome in small.outcomes for rows in (outcome.rows.own, outcome.rows.other)]
    kept += [values for rows in seen for values in (rows.kernel.keys, rows.columns.values)]
    assert all(value.shape[1] == 0 for value in kept)
    assert all(outcome.rows.own.kernel.kept is None for outcome in small.outcomes)


def test_predictions_stay_in_the_arms_range(model):
    table = batch()
    with torch.no_grad():
        state = model(table)
        rows = model.foreign_rows(state, 100 * table.covariates)
    for arm, outcome in enumerate(state.outcomes):
        own, borrowed = outcome.regression.own, outcome.regression.borrowed
        source = state.outcomes[1 - arm].regression.own
        ends = torch.stack([own.lower, own.upper])
        if borrowed is not None:
            lent = torch.stack([source.lower + borrowed.lower, source.upper + borrowed.upper])
            ends = ends + borrowed.share[:, None] * (lent - ends)
        for means in (rows.means[arm], state.means[arm]):
            assert (means >= ends[0] - 1e-12).all()
            assert (means <= ends[1] + 1e-12).all()


# Numerics


def test_gradients_are_finite_and_reach_the_network(model):
    table = batch(tables=2, landmarks=40)
    state = model(table)
    weights = balance_arms(model, table, state, average_row(model, table, state)).weights
    effect = (state.means[1] - state.means[0]).mean(1) + (weights * table.signs * state.residuals).sum(1)
    values = model.values(table, state)
    loss = effect.square().sum() + values.duality_gap.sum() + (values.weights * table.signs * table.outcome).sum()
    gradients = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert all(gradient.any() for gradient in gradients[-4:])


def test_double_precision_in_and_out_and_no_global_state(model):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    result = answers(model, batch())
    assert {value.dtype for value in result.values()} == {torch.float64}
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_randomised_treatment_has_a_quiet_propensity_coordinate(model):
    """Its leave-one-out noise encodes T: the floor keeps it from becoming a key of full size."""
    table = batch(seed=5)
    random = torch.from_numpy((np.random.default_rng(7).random((1, N)) < 0.5).astype(float))
    with torch.no_grad():
        state = model(dataclasses.replace(table, treatment=random))
    floor = model.config.propensity_floor * float(random.std(unbiased=False))
    assert float(state.scores.divisor) >= floor
    assert float(state.coordinate.abs().max()) <= 4
