"""The index of all covariates along which steps are looked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.searches.index import Index, index_of_treatment
from tests.model.laws import illnesses, jumps


def test_it_is_what_a_linear_regression_makes_of_the_covariates():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4)) + 1
    t = (rng.random(500) < 1 / (1 + np.exp(1 - x[:, :3].sum(1) + 2))).astype(float)
    index = index_of_treatment(x, t)
    column = index.columns_of(torch.from_numpy(x)[None])[0, :, 0].numpy()
    fitted = np.column_stack([np.ones(500), x])
    fitted = fitted @ np.linalg.lstsq(fitted, t)[0]
    assert np.corrcoef(column, fitted)[0, 1] == pytest.approx(1)
    assert abs(column.mean()) < 1e-12
    assert column.std() == pytest.approx(1)
    # Columns that come after the covariates have no part in it.
    longer = torch.from_numpy(np.column_stack([x, x]))[None]
    np.testing.assert_allclose(index.columns_of(longer)[0, :, 0], column)


@pytest.mark.parametrize(("rows", "columns"), [(100, 2), (100, 11)])
def test_few_covariates_or_few_rows_have_none(rows, columns):
    rng = np.random.default_rng(1)
    assert index_of_treatment(rng.normal(size=(rows, columns)), rng.integers(0, 2, rows).astype(float)) is None


def test_places_follow_the_covariates():
    index = Index(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5]]))
    x, places = torch.randn(1, 5, 3), torch.tensor([1, 2, 0])
    moved = torch.empty_like(x)
    moved[..., places] = x
    torch.testing.assert_close(index.columns_of(x), index.reordered(places).columns_of(moved))


def test_its_steps_are_told_in_words():
    x, t, y = illnesses(0)
    result = dowhy_cina.estimate_effect(pd.DataFrame(x).rename(columns=lambda place: f"illness {place}"), t, y)
    (step,) = [text for text in result.steps.index if "index" in text]
    assert step.startswith("index of all covariates by which the treatment goes above ")
    assert result.steps.loc[step, "covariate"] == "index of all covariates by which the treatment goes"
    assert "index of all covariates" in " ".join(result.summary().split())


def test_a_curve_along_it_is_none():
    """Nor are jumps of single covariates and of pairs, which have steps of their own."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1500, 6))
    index = x.sum(1) / np.sqrt(6)
    t = (rng.random(1500) < 1 / (1 + np.exp(-1.5 * index))).astype(int)
    for table in ((x, t, 2 * np.sin(2 * index) + 0.5 * t + rng.normal(size=1500)), jumps(0)):
        result = dowhy_cina.estimate_effect(*table)
        assert not any("index" in text for text in result.steps.index)


def test_arms_may_change_places():
    x, t, y = illnesses(3)
    treated = dowhy_cina.estimate_effect(x, t, y, target_units="att")
    controls = dowhy_cina.estimate_effect(x, 1 - t, y, target_units="atc")
    assert any("index" in text for text in treated.steps.index)
    assert controls.value == pytest.approx(-treated.value, abs=1e-6 * treated.standard_error)
    assert controls.standard_error == pytest.approx(treated.standard_error, rel=1e-6)
