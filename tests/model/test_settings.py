"""Settings of the outcome regressions from the pilot's shares, worked out by hand for an untrained network."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dowhy_cina.config import ModelConfig
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import Pilot, TableBatch, each_tensor

#: An arm of 20 rows trusts itself for one half; half of a column's squared scale ignores the pilot.
CONFIG = ModelConfig(width=8, layers=1, heads=2, small_arm=20.0, isotropic_share=0.5, key_width=2.0)
#: Shares of two columns in the squared gradients of treatment, of the controls' and of the treated rows' outcome.
SHARES = [[0.5, 0.9, 0.2], [0.5, 0.1, 0.8]]


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CinaModel(CONFIG).double().eval()


def table(controls, treated):
    """A table of two columns with arms of these sizes."""
    rows = controls + treated
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(1, rows, 2, generator=generator).double(), torch.randn(1, rows, generator=generator).double()
    t = (torch.arange(rows) >= controls).double()[None]
    return TableBatch(x, t, y, torch.arange(10)[None], torch.arange(rows)[None])


def pilot():
    explained, freedom = torch.full((1, 3), 0.5).double(), torch.full((1, 3), 4.0).double()
    return Pilot(torch.tensor([SHARES], dtype=torch.float64), explained, freedom, torch.zeros(1, 1).double())


def first_shares(settings):
    """The first column's share in each arm's squared scale: ``scale^2 = (1 / 4 + share / 2) / key_width^2``."""
    both = torch.stack(settings.outcome_scales)[:, 0]  # arm, column
    shares = 2 * (4 * both.square() - 0.25)
    torch.testing.assert_close(shares.sum(1), torch.ones(2).double(), rtol=1e-12, atol=0)
    return shares[:, 0].tolist()


def test_scales_by_hand(model):
    """60 controls and 20 treated: 0.725 pooled; trusted 3/4 and 1/2, hence shares of 0.85625 and 0.4625."""
    with torch.no_grad():
        settings = model.settings(table(60, 20), pilot())
    control, treated = (scales[0] for scales in settings.outcome_scales)
    expected = torch.tensor([[0.678125, 0.321875], [0.48125, 0.51875]], dtype=torch.float64).sqrt() / 2
    torch.testing.assert_close(control, expected[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(treated, expected[1], rtol=1e-12, atol=0)
    # The treatment's regression has no arms.
    alike = torch.full((2,), 0.125, dtype=torch.float64).sqrt()
    torch.testing.assert_close(settings.treatment_scales[0], alike, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("arms", "pooled", "trusts"),
    [
        ((20, 20), 0.55, (0.5, 0.5)),
        ((20, 60), 0.375, (0.5, 0.75)),
        ((5, 60), (5 * 0.9 + 60 * 0.2) / 65, (0.2, 0.75)),
        ((180, 20), 0.83, (0.9, 0.5)),
    ],
)
def test_a_small_arm_borrows_from_the_other(model, arms, pooled, trusts):
    """Pooled shares weigh the arms by their rows; the fewer an arm has, the more it takes of them."""
    with torch.no_grad():
        found = first_shares(model.settings(table(*arms), pilot()))
    own = (0.9, 0.2)
    expected = [trust * mine + (1 - trust) * pooled for trust, mine in zip(trusts, own, strict=True)]
    assert found == pytest.approx(expected, rel=1e-12)


def test_sizes_are_those_of_the_whole_table(model):
    """Of a long table only the pilot rows are here: its arms have 180 and 20 rows, the pilot's 10 each."""
    totals = torch.tensor([[200.0, 20.0, 600.0, 160.0]]).double()
    with torch.no_grad():
        found = first_shares(model.settings(table(10, 10), pilot(), totals))
    assert found == pytest.approx([0.9 * 0.9 + 0.1 * 0.83, 0.5 * 0.2 + 0.5 * 0.83], rel=1e-12)


def test_each_table_of_a_batch_has_its_own(model):
    one, other = table(60, 20), table(20, 60)
    both = TableBatch(
        *(torch.cat([getattr(part, field.name) for part in (one, other)]) for field in dataclasses.fields(one)[:5])
    )
    twice = each_tensor([pilot(), pilot()], torch.cat)
    with torch.no_grad():
        together = model.settings(both, twice).outcome_scales
        alone = [model.settings(part, pilot()).outcome_scales for part in (one, other)]
    for arm in (0, 1):
        expected = torch.cat([scales[arm] for scales in alone])
        torch.testing.assert_close(together[arm], expected, rtol=1e-12, atol=0)
    assert (together[0][0] - together[0][1]).abs().max() > 0.01
