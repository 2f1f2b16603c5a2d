"""Steps as a result shows them: named, in the covariates' units, with the rows that they divide."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.searches.steps import FINER, LEVELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def jumping(rng: np.random.Generator, rows: int = 1500) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Outcomes that jump at 45 years and where score and income lie on the same side of their medians."""
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 80, rows),
            "income": np.round(rng.lognormal(10, 0.5, rows)),
            "score": -rng.exponential(2, rows),
            "region": rng.choice(["north", "south", "west"], rows),
        }
    )
    old = (table["age"] > 45).to_numpy().astype(float)
    alike = np.sign((table["income"] - table["income"].median()) * (table["score"] - table["score"].median()))
    treatment = (rng.random(rows) < 1 / (1 + np.exp(0.75 - 1.5 * old - 0.5 * alike))).astype(int)
    return table, treatment, (2 * old + alike + treatment + rng.normal(size=rows)).to_numpy()


def test_steps_are_named_in_the_covariates_own_units(rng: np.random.Generator) -> None:
    table, treatment, outcome = jumping(rng)
    result = dowhy_cina.estimate_effect(table, treatment, outcome)
    steps = result.steps
    single, pairs = steps[steps["other"].isna()], steps[steps["other"].notna()]
    assert single["covariate"].tolist() == ["age"]
    (age,) = single["threshold"]
    assert 41 < age < 49
    assert single["share"].item() == pytest.approx((table["age"] > age).mean(), abs=1e-9)
    (pair,) = pairs.itertuples()
    assert {pair.covariate, pair.other} == {"score", "income"}
    above = [table[name] > at for name, at in ((pair.covariate, pair.threshold), (pair.other, pair.other_threshold))]
    assert pair.share == pytest.approx((above[0] == above[1]).mean(), abs=1e-9)
    assert f"age above {age:.5g}" in result.summary()
    assert "thresholds that smooth regressions miss" in result._repr_html_()
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))["steps"]
    assert [step["step"] for step in told] == steps.index.tolist()


def test_a_jump_is_found_once() -> None:
    """What smooth regressions leave goes up and down about a jump: that is no further one."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, treatment = rng.normal(size=(1500, 5)), (rng.random(1500) < 0.5).astype(int)
        outcome = 2 * (x[:, 0] > 0.3) + 2 * (x[:, 1] > 0.2) + treatment + rng.normal(size=1500)
        steps = dowhy_cina.estimate_effect(x, treatment, outcome).steps
        assert sorted(steps["covariate"]) == ["x0", "x1"]
        assert steps["threshold"].between(0.1, 0.4).all()


def test_a_step_is_where_it_was_in_another_unit_and_from_the_other_side(rng: np.random.Generator) -> None:
    table, treatment, outcome = jumping(rng)
    before = dowhy_cina.estimate_effect(table, treatment, outcome).steps
    turned = table.assign(age=-12.0 * table["age"], income=table["income"] / 1000)
    after = dowhy_cina.estimate_effect(turned, treatment, outcome).steps
    (old,), (new,) = (steps[steps["covariate"] == "age"].itertuples() for steps in (before, after))
    assert new.threshold == pytest.approx(-12 * old.threshold)
    assert new.share == pytest.approx(1 - old.share)


def test_without_steps_nothing_is_said(rng: np.random.Generator) -> None:
    covariates = rng.normal(size=(400, 3))
    treatment = (rng.random(400) < 0.5).astype(int)
    result = dowhy_cina.estimate_effect(covariates, treatment, covariates[:, 0] + rng.normal(size=400))
    assert result.steps.empty
    assert result.steps.columns.tolist() == ["covariate", "threshold", "other", "other_threshold", "share"]
    assert "steps" not in result.summary()


def test_a_long_list_of_steps_is_cut(rng: np.random.Generator) -> None:
    covariates = rng.normal(size=(4000, 6))
    treatment = (rng.random(4000) < 0.5).astype(int)
    outcome = 3.0 * (covariates > 0.3).sum(1) + rng.normal(size=4000)
    result = dowhy_cina.estimate_effect(covariates, treatment, outcome)
    assert len(result.steps) > 4
    assert f"and {len(result.steps) - 4} more" in " ".join(result.summary().split())


@pytest.mark.parametrize("page", ["examples/plot_where_outcomes_jump.py", "docs/method.rst"])
def test_pages_say_how_fine_thresholds_are(page: str) -> None:
    assert f" {LEVELS * FINER}ths of the rows" in (ROOT / page).read_text(encoding="utf-8")
