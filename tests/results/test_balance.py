"""Balance of squares, products, variances and distributions, by hand and against statsmodels and scipy."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

import dowhy_cina
from dowhy_cina.errors import CinaError, InputError
from dowhy_cina.results.balance import ComparedRows


def draw(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"age": rng.normal(40, 9, rows), "score": rng.exponential(size=rows)})
    frame["old"] = (frame["age"] > 45).astype(float)
    frame["same"] = 3.0
    treatment = (rng.random(rows) < 1 / (1 + np.exp(-(frame["age"] - 40) / 9))).astype(float)
    return ComparedRows(frame, treatment, rng.random(rows))


def arms(rows, weights):
    return [(rows.treatment == arm, weights[rows.treatment == arm]) for arm in (1, 0)]


def test_variances_and_distributions():
    rows = draw()
    table = rows.balance_of("means")
    (treated, one), (control, zero) = arms(rows, rows.weights)
    for name in ("age", "score"):
        values = rows.covariates[name].to_numpy()
        ratio = DescrStatsW(values[treated], one).var / DescrStatsW(values[control], zero).var
        assert table.loc[name, "variance_ratio_after"] == pytest.approx(ratio)
        assert table.loc[name, "variance_ratio_before"] == pytest.approx(values[treated].var() / values[control].var())
        apart = stats.ks_2samp(values[treated], values[control]).statistic
        assert table.loc[name, "largest_difference_before"] == pytest.approx(apart)
        grid = np.sort(values)
        steps = [
            [(w * (values[arm] <= at)).sum() / w.sum() for at in grid] for arm, w in ((treated, one), (control, zero))
        ]
        assert table.loc[name, "largest_difference_after"] == pytest.approx(np.abs(np.subtract(*steps)).max())
    # Of a binary covariate both say what the means say.
    old = rows.covariates["old"].to_numpy()
    shares = abs(old[treated].mean() - old[control].mean())
    assert table.loc["old", "largest_difference_before"] == pytest.approx(shares)
    assert np.isnan(table.loc[["old", "same"], ["variance_ratio_before", "variance_ratio_after"]]).all(axis=None)
    assert not table.loc["same", ["before", "after", "largest_difference_before", "largest_difference_after"]].any()


def test_squares_and_products_by_hand():
    rows = draw()
    squares, products = rows.balance_of("squares"), rows.balance_of("interactions")
    assert list(squares.index) == ["age²", "score²"]
    assert list(products.index) == ["age²", "age * score", "age * old", "score²", "score * old"]
    z = (rows.covariates - rows.covariates.mean()) / rows.covariates.std(ddof=0)
    treated = rows.treatment == 1
    for name, term in {"age²": z["age"] ** 2, "score * old": z["score"] * z["old"]}.items():
        term = term.to_numpy()
        unit = np.sqrt((term[treated].var(ddof=1) + term[~treated].var(ddof=1)) / 2)
        means = [np.average(term[arm], weights=rows.weights[arm]) for arm in (treated, ~treated)]
        assert products.loc[name, "before"] == pytest.approx((term[treated].mean() - term[~treated].mean()) / unit)
        assert products.loc[name, "after"] == pytest.approx((means[0] - means[1]) / unit)
    pd.testing.assert_frame_equal(products.loc[squares.index], squares)


def test_sampling_weights_count_before_weighting():
    rows = draw()
    sampling = np.random.default_rng(1).choice([1.0, 3.0], len(rows.treatment))
    counted = ComparedRows(rows.covariates, rows.treatment, rows.weights, sampling).balance_of("means")
    again = np.repeat(np.arange(len(sampling)), sampling.astype(int))
    copied = ComparedRows(rows.covariates.iloc[again], rows.treatment[again], rows.weights[again]).balance_of("means")
    for name in ("variance_ratio_before", "largest_difference_before"):
        np.testing.assert_allclose(counted[name], copied[name], atol=1e-12)


@pytest.mark.parametrize("kind", ["squares", "interactions"])
def test_nothing_to_multiply(kind):
    rows = draw()
    none = ComparedRows(rows.covariates[["same"]], rows.treatment, rows.weights).balance_of(kind)
    assert none.empty
    assert list(none.columns) == ["before", "after"]


def test_of_a_result(linear_table):
    x, t, y = linear_table(rows=300)
    frame = pd.DataFrame(x, columns=[f"c{k}" for k in range(x.shape[1])]).assign(kind=np.where(x[:, 0] > 0, "a", "b"))
    frame.loc[3, "c1"] = np.nan
    treatment = np.where(np.arange(300) < 5, 7, t)
    found = dowhy_cina.estimate_effect(frame, treatment, y, treatment_value=1, control_value=0)
    means, products = found.balance_of(), found.balance_of("interactions")
    pd.testing.assert_frame_equal(means[["before", "after"]], found.balance)
    assert set(products.index) >= {"c0²", "c0 * c1", "c2 * kind=b"}
    assert np.isfinite(products).all(axis=None)
    pd.testing.assert_frame_equal(copy.deepcopy(found).balance_of("squares"), found.balance_of("squares"))
    with pytest.raises(InputError, match="'means', 'squares' or 'interactions', got 'cubes'"):
        found.balance_of("cubes")
    with pytest.raises(CinaError, match="estimate again"):
        pickle.loads(pickle.dumps(found)).balance_of()
    assert "compared" not in found.to_dict()


def test_love_plot_of_products(linear_table):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    found = dowhy_cina.estimate_effect(*linear_table(rows=200))
    axes = dowhy_cina.plots.love_plot(found, figure.subplots(), kind="interactions")
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert set(labels) == set(found.balance_of("interactions").index)
