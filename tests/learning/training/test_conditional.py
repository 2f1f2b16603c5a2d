"""The conditional head's calibration: a known law is found again, errors are those of the rows."""

import numpy as np
import pytest
import torch

from dowhy_cina.learning.simulators import REGISTRY, SimulatedTable
from dowhy_cina.learning.training import calibration
from dowhy_cina.learning.training.calibration import collect
from dowhy_cina.learning.training.conditional import (
    LEVEL,
    ROWS_COVERAGE,
    ROWS_OF_SAMPLE,
    RowErrors,
    fit_conditional,
)
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.variance import RowError

KNOWN = (-0.5, 0.6, 0.7, 0.5, 0.9)


@pytest.fixture
def model():
    return CinaModel().double().eval()


def drawn(rng, samples=1500, rows=ROWS_OF_SAMPLE):
    """Errors whose variance is that of the head with the known coefficients."""
    arms = []
    for _ in range(2):
        shape = (samples, rows)
        parts = [np.exp(rng.normal(-3, 1, shape)), rng.uniform(0.01, 1, shape), rng.uniform(0.05, 1, samples)]
        parts += [rng.exponential(1, shape), rng.exponential(0.5, shape)]
        arms.append(RowError(*(torch.from_numpy(part) for part in parts)))
    head = CinaModel().double().conditional
    head.coefficients.data.copy_(torch.tensor(KNOWN))
    pair = (arms[0], arms[1])
    return RowErrors(head(pair).sqrt() * torch.from_numpy(rng.standard_t(10, (samples, rows))), pair)


def test_a_known_law_is_found_again(model):
    rng = np.random.default_rng(0)
    before = drawn(rng)
    assert before.coverage(model) > 0.97  # the posterior variance as it is, is too large here
    fit_conditional(model, before)
    np.testing.assert_allclose(model.conditional.coefficients[1:], KNOWN[1:], atol=0.06)
    assert drawn(rng).coverage(model) == pytest.approx(ROWS_COVERAGE, abs=0.006)
    assert not model.conditional.coefficients.requires_grad


def test_another_calibration_forgets_the_one_before(model):
    rows, found = drawn(np.random.default_rng(2), samples=50), []
    for _ in range(2):
        fit_conditional(model, rows, steps=20)
        found.append(model.conditional.coefficients.clone())
    assert torch.equal(*found)


def test_multiples_are_of_the_half_width(model):
    rows = drawn(np.random.default_rng(1), samples=3)
    half = 1.959963984540054 * model.conditional(rows.arms).sqrt()
    np.testing.assert_allclose(rows.multiple(model), rows.error.abs() / half)
    assert LEVEL == 0.95


def simulator(effect):
    """Outcomes that are the covariate, without noise; what is said to be the effect is given, the table is the same."""

    def draw(rng, rows, columns):
        x = rng.normal(size=(rows, 2))
        t = (rng.random(rows) < 0.5).astype(float)
        y = 10 * x[:, 0]
        return SimulatedTable(x, t, y, y, y + effect(x), np.full(rows, 0.5), np.full(rows, 0.1), "own")

    return draw


def test_errors_are_those_of_the_rows(model, monkeypatch):
    """The same sample against two truths: the errors differ by the truths' difference at the very rows."""
    monkeypatch.setattr(calibration, "ROWS", (200, 210))
    errors = []
    for effect in (lambda x: 0 * x[:, 0], lambda x: 10 * x[:, 0]):
        monkeypatch.setitem(REGISTRY, "own", simulator(effect))
        errors.append(collect(model, ["own"], 4, 32, seed=0).rows)
    nothing, all_of_it = errors
    assert nothing.error.shape == (4, ROWS_OF_SAMPLE)
    truth = nothing.error - all_of_it.error  # the outcome itself in its own sd, of rows drawn from the sample
    assert truth.std(1).numpy() == pytest.approx(1, abs=0.3)
    assert nothing.error.abs().max() < 1 < truth.abs().max()
    # An effect that is the outcome departs from the arm's mean as far as the prediction does.
    departure = nothing.arms[0].departure.flatten()
    assert np.corrcoef(departure, (truth**2).flatten())[0, 1] > 0.95
