"""The variance head's calibration: a known law is found again, and held-out intervals cover."""

import dataclasses

import numpy as np
import pytest
import torch

from dowhy_cina.errors import InputError
from dowhy_cina.learning.simulators import REGISTRY, SimulatedTable
from dowhy_cina.learning.training import calibration
from dowhy_cina.learning.training.calibration import (
    COVERAGE,
    FAMILY_COVERAGE,
    RULE,
    Ingredients,
    calibrate,
    calibrate_checkpoint,
    collect,
    fit_variance,
    write_rule,
)
from dowhy_cina.model import checkpoint
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.variance import BIAS_PARTS, LARGEST_ARM


@pytest.fixture
def model():
    return CinaModel().double().eval()


def drawn(weight, factor, rng, samples=4000):
    """Errors whose variance is ``factor * sampling + weight * (first part)``."""
    sampling = np.exp(rng.normal(-4, 0.5, samples))
    bias = np.exp(rng.normal(-4, 1.0, (samples, len(BIAS_PARTS))))
    bias[:, 1:] *= 1e-6
    freedom = np.full(samples, 50.0)
    scale = np.sqrt(factor * sampling + weight * bias[:, 0])
    error = scale * rng.standard_t(freedom)
    columns = (error, sampling, bias, np.full(samples, 150.0), np.full(samples, 10.0), freedom, np.arange(samples) % 4)
    return Ingredients(*(torch.from_numpy(column) for column in columns))


def test_a_known_law_is_found_again(model):
    rng = np.random.default_rng(0)
    fit_variance(model, drawn(2.0, 1.5, rng), steps=300)
    fresh = drawn(2.0, 1.5, rng)
    assert fresh.coverage(model) == pytest.approx(COVERAGE, abs=0.015)
    weights = model.variance.log_weights.exp()
    assert weights[0] == pytest.approx(2.0, rel=0.35)
    assert model.variance.log_sampling.exp() == pytest.approx(1.5, rel=0.35)


def test_a_head_that_is_too_narrow_is_widened(model):
    ingredients = drawn(2.0, 40.0, np.random.default_rng(1))
    ingredients = dataclasses.replace(ingredients, family=torch.zeros_like(ingredients.family))  # no family apart
    before = ingredients.coverage(model)
    fit_variance(model, ingredients, steps=50)
    assert before < 0.8
    assert ingredients.coverage(model) == pytest.approx(COVERAGE, abs=0.005)


def test_no_family_is_given_up_for_the_others(model):
    """One in twenty samples, whose errors are four times what their ingredients say."""
    ingredients = drawn(2.0, 1.0, np.random.default_rng(2))
    family = torch.arange(len(ingredients.error)) % 20
    error = torch.where(family == 3, 4 * ingredients.error, ingredients.error)
    mixed = dataclasses.replace(ingredients, error=error, family=family)
    fit_variance(model, mixed, steps=200)
    held = mixed._multiple(model) < 1
    assert held[family == 3].double().mean() == pytest.approx(FAMILY_COVERAGE, abs=0.01)
    assert held.double().mean() > COVERAGE + 0.01


def test_many_columns_are_not_given_up_for_few(model):
    """Where there are many columns, errors are three times what their ingredients say: few columns pay less for it."""
    rng = np.random.default_rng(5)
    ingredients = drawn(2.0, 1.0, rng)
    columns = torch.from_numpy(np.where(rng.random(4000) < 0.1, 40.0, 5.0))
    error = torch.where(columns > 10, 3 * ingredients.error, ingredients.error)
    mixed = dataclasses.replace(ingredients, error=error, columns=columns, family=torch.zeros_like(ingredients.family))
    fit_variance(model, mixed, steps=20)
    held = mixed._multiple(model) < 1
    assert held[columns > 10].double().mean() == pytest.approx(FAMILY_COVERAGE, abs=0.005)
    wide = model.variance(mixed.sampling, mixed.bias, mixed.smaller, torch.full((4000,), 40.0).double())
    few = model.variance(mixed.sampling, mixed.bias, mixed.smaller, torch.full((4000,), 5.0).double())
    assert (wide / few).median() > 1.5


def test_another_calibration_forgets_the_one_before(model):
    ingredients = drawn(2.0, 1.5, np.random.default_rng(3), samples=300)
    found = []
    for _ in range(2):
        fit_variance(model, ingredients, steps=20)
        found.append([value.clone() for value in model.variance.state_dict().values()])
    assert all(map(torch.equal, *found))


def test_a_part_follows_the_rows_and_the_columns(model):
    """Errors that are all of the first part, which matters as the root of the columns and not of the rows."""
    rng = np.random.default_rng(4)
    ingredients = drawn(2.0, 0.0, rng)
    smaller, columns = (torch.from_numpy(rng.uniform(*ends, 4000)).exp() for ends in ((3, 7), (1, 4)))
    wider = ingredients.error * (columns / 10) ** 0.25
    fit_variance(model, dataclasses.replace(ingredients, error=wider, smaller=smaller, columns=columns))
    assert model.variance.columns[0] == pytest.approx(0.5, abs=0.1)
    assert model.variance.growth[0] == pytest.approx(0.0, abs=0.1)


def test_weights_grow_no_further_than_the_samples(model):
    sampling, bias = torch.ones(2).double(), torch.ones(2, len(BIAS_PARTS)).double()
    variance = model.variance(
        sampling, bias, torch.tensor([LARGEST_ARM, 1e6]).double(), torch.full((2,), 10.0).double()
    )
    assert torch.equal(variance[0], variance[1])


def test_only_the_head_changes(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    figures = calibrate(model, ["mixed", "linear"], samples=12, landmarks=32, seed=0)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in changed} == {"variance", "conditional"}
    assert 0 <= figures["coverage"] <= 1
    assert 0 <= figures["rows_coverage"] <= 1
    heads = [*model.variance.parameters(), *model.conditional.parameters()]
    assert not any(parameter.requires_grad for parameter in heads)


def test_too_few_samples_are_refused(model):
    with pytest.raises(InputError, match="calibration_samples must be at least 10, got 1"):
        calibrate(model, ["mixed"], samples=1, landmarks=32, seed=0)


def test_samples_follow_from_the_seed(model):
    one, two = (collect(model, ["mixed"], 3, 32, seed) for seed in (5, 5))
    assert torch.equal(one.error, two.error)
    assert not torch.equal(one.error, collect(model, ["mixed"], 3, 32, 6).error)


def two_groups(effect, populations):
    """A simulator of two groups, treated by chances of 0.2 and 0.8, whose outcome is noise and the second's effect.

    ``effect`` gives what is said to be the effect of each row, by its chance; the table is the same whatever it is.
    """

    def simulator(rng, rows, columns):
        second = (rng.random(rows) < 0.5).astype(float)
        e = 0.2 + 0.6 * second
        t = (rng.random(rows) < e).astype(float)
        y = second * t + 0.01 * rng.normal(size=rows)
        table = SimulatedTable(second[:, None], t, y, np.zeros(rows), effect(e), e, np.full(rows, 0.01), "two groups")
        populations.append(table)
        return table

    return simulator


def test_effects_are_those_of_the_population_that_is_estimated(model, monkeypatch):
    """Errors of one sample against three truths: their differences leave the truth alone, in units of the last one."""
    monkeypatch.setattr(calibration, "ROWS", (200, 300))  # samples of fewer rows than a calibration draws, to be quick
    samples, errors, populations = 24, [], []
    for effect in (lambda e: 0 * e, lambda e: (e > 0.5) * 1.0, lambda e: 0 * e + 1):
        monkeypatch.setitem(REGISTRY, "two groups", two_groups(effect, populations))
        errors.append(collect(model, ["two groups"], samples, 32, seed=0).error.numpy())
    nothing, second, everyone = errors
    drawn = populations[samples : 2 * samples]
    assert len(nothing) == len(drawn) == samples
    found = (nothing - second) / (nothing - everyone)
    of_all = np.array([table.mu1.mean() for table in drawn])
    of_treated = np.array([(table.mu1 * table.propensity).sum() / table.propensity.sum() for table in drawn])
    is_treated = np.abs(found - of_treated) < np.abs(found - of_all)
    np.testing.assert_allclose(found, np.where(is_treated, of_treated, of_all), rtol=1e-9)
    assert 0 < is_treated.sum() < samples / 2  # a quarter of the samples by chance
    # The two truths are 0.3 apart; what is estimated is the one that it is held against.
    assert (np.abs(second) < 0.4 * np.abs(of_treated - of_all) * (nothing - everyone)).all()


def test_a_checkpoint_keeps_its_header(model, tmp_path):
    path = tmp_path / "own.safetensors"
    checkpoint.write(path, model, {"model": vars(model.config), "steps": 7})
    figures = calibrate_checkpoint(path, ["mixed"], samples=10, landmarks=32, seed=0)
    header = checkpoint.read_header(path)
    assert (header["steps"], header["calibration"]) == (7, figures)
    assert not torch.equal(checkpoint.read(path)[0].variance.log_weights, model.variance.log_weights)


def test_the_rule_has_intervals_of_its_own(tmp_path):
    path = tmp_path / "rule.safetensors"
    figures = write_rule(path, 10)
    model, header = checkpoint.read(path)
    assert (header["calibration"], header["steps"]) == (figures, 0)
    assert model.config == RULE
    assert not bool(model.encoder.column_output.weight.any())
    assert not torch.equal(model.variance.log_weights, CinaModel(RULE).variance.log_weights.double())
