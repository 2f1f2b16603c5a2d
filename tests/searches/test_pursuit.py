"""What candidates gain is what their parts beside the basis do, computed directly."""

from __future__ import annotations

import numpy as np
import pytest

from dowhy_cina.searches.pursuit import LEAST_OWN, Pursuit, student_gains


def direct_gains(pursuit, signs):
    """Gains of candidates (C, P) from their own parts, one after the other, without clusters."""
    rows, given = pursuit.basis.shape
    found = []
    for values in signs:
        own = values - pursuit.basis @ (pursuit.basis.T @ values)
        usable = own @ own > LEAST_OWN * rows * values.var()
        share = (own @ pursuit.residual) ** 2 / (own**2 @ pursuit.residual**2) if usable else 0.0
        found.append(share * (1 - given / rows))
    return student_gains(np.array(found), rows)


@pytest.mark.parametrize("between", [False, True])
def test_gains_are_those_of_their_definition(between):
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 0.0, 1.0] if between else [-1.0, 1.0], (30, 200))
    # The basis leaves nothing of the fourth one.
    basis = np.linalg.qr(np.column_stack([np.ones(200), rng.normal(size=(200, 5)), signs[3]]))[0]
    residual = rng.normal(size=200) * np.exp(rng.normal(size=200))
    pursuit = Pursuit(residual - basis @ (basis.T @ residual), basis, lambda values: 0 * values, None)
    gains = pursuit.gains(signs)
    assert gains[3] == 0
    np.testing.assert_allclose(gains, direct_gains(pursuit, signs), rtol=1e-9)
    pursuit.add(signs[5])
    assert pursuit.gains(signs)[5] == 0
    np.testing.assert_allclose(pursuit.gains(signs), direct_gains(pursuit, signs), rtol=1e-9)


def test_rows_that_are_clusters_of_their_own_are_rows():
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(300, 4)))[0]
    residual, signs = rng.normal(size=300), rng.choice([-1.0, 1.0], (20, 300))
    alone, clustered = (Pursuit(residual, basis, lambda values: values, codes) for codes in (None, np.arange(300)))
    np.testing.assert_allclose(alone.gains(signs), clustered.gains(signs), rtol=1e-9)
