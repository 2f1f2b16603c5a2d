"""How much of a prediction outcomes bear out: by weighted least squares and a robust standard error."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
import torch

from dowhy_cina.model.agreement import Agreement

N = 60


def draw(slope, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    offered = rng.normal(size=(2, N))
    return torch.from_numpy(slope * offered + noise * rng.normal(size=(2, N))), torch.from_numpy(offered)


def weights(seed=1):
    return torch.from_numpy(np.random.default_rng(seed).choice([0.0, 0.5, 2.0], size=(2, N)))


def by_hand(wanted, offered, rows, groups):
    """``b - 2 se^2 / b`` by statsmodels' regression without an intercept and sandwich without corrections."""
    inside = rows > 0
    how = {"groups": groups[inside], "use_correction": False, "df_correction": False}
    model = sm.WLS(wanted[inside], offered[inside][:, None], weights=rows[inside])
    fit = model.fit(cov_type="cluster", cov_kwds=how)
    slope, variance = fit.params[0], fit.bse[0] ** 2
    return np.clip(slope - 2 * variance / slope, 0, 1) if slope > 0 else 0.0


@pytest.mark.parametrize("clusters", [None, 15])
@pytest.mark.parametrize("slope", [-0.5, 0.1, 0.3, 0.6, 1.5])
def test_slope_less_what_its_noise_makes_of_it(slope, clusters):
    (wanted, offered), rows = draw(slope), weights()
    groups = np.arange(N) if clusters is None else np.arange(N) % clusters
    codes = None if clusters is None else torch.from_numpy(groups).expand(2, N)
    found = Agreement.of(wanted, offered, rows, codes).trust
    for b in range(2):
        expected = by_hand(wanted[b].numpy(), offered[b].numpy(), rows[b].numpy(), groups)
        np.testing.assert_allclose(found[b], expected, rtol=1e-9, atol=1e-12)


def test_parts_add_up():
    (wanted, offered), rows = draw(0.5), weights()
    parts = [Agreement.of(wanted[:, part], offered[:, part], rows[:, part]) for part in (slice(20), slice(20, None))]
    torch.testing.assert_close((parts[0] + parts[1]).trust, Agreement.of(wanted, offered, rows).trust)


def test_units_change_nothing():
    (wanted, offered), rows = draw(0.5), weights()
    plain = Agreement.of(wanted, offered, rows).trust
    torch.testing.assert_close(Agreement.of(-1e4 * wanted, -1e4 * offered, 3 * rows).trust, plain)
    torch.testing.assert_close(Agreement.of(wanted, offered, rows, torch.arange(N).expand(2, N)).trust, plain)


def test_all_and_nothing():
    offered, rows = draw(0.0)[1], torch.ones(2, N, dtype=torch.float64)
    for wanted in (offered, 3 * offered):
        assert (Agreement.of(wanted, offered, rows).trust == 1).all()
    nothing = torch.zeros_like(offered)
    for wanted, given in ((-offered, offered), (nothing, offered), (offered, nothing), (nothing, nothing)):
        assert (Agreement.of(wanted, given, rows).trust == 0).all()


def test_rounding_is_no_offer():
    (wanted, offered), rows = draw(1.5), torch.ones(2, N, dtype=torch.float64)
    assert (Agreement.of(wanted, 1e-4 * offered, rows).trust == 1).all()
    assert (Agreement.of(wanted, 1e-12 * offered, rows).trust == 0).all()


def test_one_outcome_does_not_vouch_for_the_others():
    """A single outlier that is followed by chance, in otherwise plain noise, brings a slope but no trust."""
    (wanted, offered), rows = draw(0.0), torch.ones(2, N, dtype=torch.float64)
    wanted, offered = wanted.clone(), offered.clone()
    wanted[:, 3], offered[:, 3] = 20, 2
    found = Agreement.of(wanted, offered, rows)
    assert (found.products / found.squares > 0.4).all()
    assert (found.trust == 0).all()
