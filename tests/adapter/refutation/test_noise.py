"""A covariate of noise may move an estimate, as far as its standard error says."""

import numpy as np
import pandas as pd
import pytest

from dowhy_cina.adapter.refutation import refute


def noise_row(problem, simulations=6):
    report = refute(*problem, refuters="random_common_cause", simulations=simulations, random_state=0, progress=False)
    return report.refutations[0]


def test_noise_is_judged_by_the_standard_error_of_the_estimate(problem):
    row = noise_row(problem)
    away = np.abs(row.effects - problem[2].value).mean() / problem[2].cina_result.standard_error
    assert row.verdict == "pass"
    assert f"{away:.2g} standard errors away on the average" in row.meaning


def test_weights_of_ten_rows_hang_on_noise(make_estimate):
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"x": rng.normal(size=10)})
    frame["t"] = (rng.random(10) < 1 / (1 + np.exp(-2 * frame["x"]))).astype(int)
    frame["y"] = frame["t"] + 5 * frame["x"] + rng.normal(size=10)
    problem = make_estimate(frame, ["x"], method_params={"init_params": {"augmentation": "none"}})
    row = noise_row(problem)
    assert row.verdict == "fail"
    assert np.abs(row.effects - problem[2].value).mean() > problem[2].cina_result.standard_error


@pytest.mark.weekly
def test_noise_seldom_moves_an_estimate_from_a_sound_table(make_estimate):
    """Of 48 such tables the p-value alone fails eight."""
    for seed in range(48):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame(rng.normal(size=(400, 3)), columns=["x0", "x1", "x2"])
        frame["c"] = rng.choice(["a", "b", "c"], size=400)
        frame["t"] = (rng.random(400) < 1 / (1 + np.exp(-0.8 * frame["x0"]))).astype(int)
        frame["y"] = 2 * frame["t"] + frame["x0"] + frame["x1"] ** 2 / 2 + (frame["c"] == "a") + rng.normal(size=400)
        problem = make_estimate(frame, ["x0", "x1", "x2", "c"])
        row = noise_row(problem, simulations=100)
        assert row.verdict == "pass"
