"""Target populations of training tables: the oracle's weights worked out by hand, and the label that they make."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dowhy_cina.learning.simulators import SimulatedTable
from dowhy_cina.learning.training.tables import TARGETS, label, target_population

#: Four rows, whose odds of treatment are 4, 1, 1/4 and 1/3.
TABLE = SimulatedTable(
    covariates=np.zeros((4, 1)),
    treatment=np.array([1.0, 1.0, 0.0, 0.0]),
    outcome=np.array([5.0, 3.0, 2.0, 7.0]),
    mu0=np.array([1.0, 2.0, 1.5, 4.0]),
    mu1=np.array([4.0, 2.5, 3.0, 6.0]),
    propensity=np.array([0.8, 0.5, 0.2, 0.25]),
    noise_sd=np.full(4, 100.0),
    family="by hand",
)
#: Target weights, and the oracle's weights of control and of treated rows.
EXPECTED = {
    "ate": ([1 / 4, 1 / 4, 1 / 4, 1 / 4], [5 / 4, 1 / 2, 5 / 16, 1 / 3], [5 / 16, 1 / 2, 5 / 4, 1]),
    "att": ([1 / 2, 1 / 2, 0, 0], [2, 1 / 2, 1 / 8, 1 / 6], [1 / 2, 1 / 2, 1 / 2, 1 / 2]),
    "atc": ([0, 0, 1 / 2, 1 / 2], [1 / 2, 1 / 2, 1 / 2, 1 / 2], [1 / 8, 1 / 2, 2, 3 / 2]),
}
#: Average effect in the target, and what the augmentation adds to it: the treated rows' errors are 1 and 1/2, the
#: control rows' 1/2 and 3.
LABELS = {
    "ate": ((3 + 0.5 + 1.5 + 2) / 4, 5 / 16 + 1 / 4 - 5 / 32 - 1),
    "att": (1.75, 1 / 2 + 1 / 4 - 1 / 16 - 1 / 2),
    "atc": (1.75, 1 / 8 + 1 / 4 - 1 / 4 - 3 / 2),
}


def test_chances_of_the_targets():
    assert set(TARGETS) == set(EXPECTED)
    assert sum(TARGETS.values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", EXPECTED)
def test_weights_by_hand(kind):
    target, (control, treated) = target_population(kind, TABLE)
    for found, expected in zip((target, control, treated), EXPECTED[kind], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", LABELS)
def test_labels_by_hand(kind):
    """The augmented inverse-propensity estimate; its unit is so large that the bounds of the noise do not bind."""
    target, inverse = target_population(kind, TABLE)
    value, effect, _ = label(TABLE, target, inverse, 1e6)
    expected, noise = LABELS[kind]
    assert effect * 1e6 == pytest.approx(expected, rel=1e-12)
    assert (value - effect) * 1e6 == pytest.approx(noise, rel=1e-8)


@pytest.mark.parametrize("kind", EXPECTED)
def test_the_oracle_balances_the_arms_to_the_target(kind):
    """Either arm's weight times the chance to be in that arm is the chance to be in the target, over its size."""
    e, (control, treated) = TABLE.propensity, target_population(kind, TABLE)[1]
    share = {"ate": np.ones(4) / 4, "att": e / 2, "atc": (1 - e) / 2}[kind]
    np.testing.assert_allclose((1 - e) * control, share, rtol=1e-12)
    np.testing.assert_allclose(e * treated, share, rtol=1e-12)


@pytest.mark.parametrize("kind", EXPECTED)
def test_arms_that_change_places(kind):
    """Treated and control rows, and their chances, exchanged: the mirror population has the mirrored weights."""
    mirror = dataclasses.replace(TABLE, treatment=1 - TABLE.treatment, propensity=1 - TABLE.propensity)
    target, (control, treated) = target_population({"ate": "ate", "att": "atc", "atc": "att"}[kind], mirror)
    for found, expected in zip((target, treated, control), EXPECTED[kind], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)
