"""The variance head's calibration: a known law is found again, and held-out intervals cover."""

import numpy as np
import pytest
import torch

from dowhy_cina.learning.training.calibration import (
    COVERAGE,
    Ingredients,
    calibrate,
    calibrate_checkpoint,
    collect,
    fit_variance,
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
    columns = (error, sampling, bias, np.full(samples, 150.0), freedom)
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
    before = ingredients.coverage(model)
    fit_variance(model, ingredients, steps=50)
    assert before < 0.8
    assert ingredients.coverage(model) == pytest.approx(COVERAGE, abs=0.005)


def test_weights_grow_no_further_than_the_samples(model):
    sampling, bias = torch.ones(2).double(), torch.ones(2, len(BIAS_PARTS)).double()
    variance = model.variance(sampling, bias, torch.tensor([LARGEST_ARM, 1e6]).double())
    assert variance[0] == variance[1]


def test_only_the_head_changes(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    figures = calibrate(model, ["mixed", "linear"], samples=12, landmarks=32, seed=0)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("variance.") for name in changed)
    assert 0 <= figures["coverage"] <= 1
    assert not any(parameter.requires_grad for parameter in model.variance.parameters())


def test_samples_follow_from_the_seed(model):
    one, two = (collect(model, ["mixed"], 3, 32, seed) for seed in (5, 5))
    assert torch.equal(one.error, two.error)
    assert not torch.equal(one.error, collect(model, ["mixed"], 3, 32, 6).error)


def test_a_checkpoint_keeps_its_header(model, tmp_path):
    path = tmp_path / "own.safetensors"
    checkpoint.write(path, model, {"model": vars(model.config), "steps": 7})
    figures = calibrate_checkpoint(path, ["mixed"], samples=8, landmarks=32, seed=0)
    header = checkpoint.read_header(path)
    assert (header["steps"], header["calibration"]) == (7, figures)
    assert not torch.equal(checkpoint.read(path)[0].variance.log_weights, model.variance.log_weights)
