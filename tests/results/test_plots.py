"""The pictures show the numbers of the result and leave matplotlib as it was."""

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import dowhy_cina
from dowhy_cina import plots
from dowhy_cina.errors import InputTypeError
from dowhy_cina.tables.data import COVARIATES, OUTCOME, TREATMENT, load_nsw

DRAWN = [plots.love_plot, plots.weight_plot, plots.overlap_plot]


@pytest.fixture(scope="module")
def result():
    table = load_nsw("psid")
    return dowhy_cina.estimate_effect(table[COVARIATES], table[TREATMENT], table[OUTCOME], target_units="att")


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture(autouse=True)
def closed_figures():
    pyplot.close("all")
    yield
    pyplot.close("all")


@pytest.mark.parametrize("draw", DRAWN)
def test_draws_on_the_axes_given_and_labels_them(draw, result, ax):
    assert draw(result, ax=ax) is ax
    assert ax.get_xlabel()
    assert ax.get_title(loc="left")
    assert len(ax.get_legend().get_texts()) == 2
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("draw", DRAWN)
def test_makes_its_own_axes(draw, result):
    assert isinstance(draw(result), Axes)
    assert len(pyplot.get_fignums()) == 1


def test_love_plot_shows_the_balance(result, ax):
    plots.love_plot(result, ax)
    names = [label.get_text() for label in ax.get_yticklabels()]
    for scatter, column in zip(ax.collections[-2:], ["before", "after"], strict=True):
        drawn = pd.Series(scatter.get_offsets()[:, 0], index=names)
        np.testing.assert_allclose(drawn, result.balance[column].abs()[names])


def test_love_plot_keeps_the_thirty_worst(result, ax):
    rng = np.random.default_rng(0)
    balance = pd.DataFrame(rng.normal(size=(79, 2)), columns=["before", "after"], index=[f"x{i}" for i in range(79)])
    plots.love_plot(dataclasses.replace(result, balance=balance), ax)
    worst = balance.abs().max(axis=1).nlargest(30).index
    assert {label.get_text() for label in ax.get_yticklabels()} == set(worst)
    assert "worst 30 of 79" in ax.get_title(loc="left")


def test_love_plot_without_covariates(result, ax):
    plots.love_plot(dataclasses.replace(result, balance=result.balance.iloc[:0]), ax)
    assert [text.get_text() for text in ax.texts if text.get_text() == "no covariates"]


def test_weight_plot_shows_the_share_of_each_arm(result, ax):
    plots.weight_plot(result, ax)
    for line, arm in zip(ax.lines, [1, 0], strict=True):
        heaviest = np.sort(result.weights[result.treatment == arm])[::-1]
        np.testing.assert_allclose(line.get_ydata(), np.cumsum(heaviest), atol=1e-9)
    assert f"effective {result.effective_sample_size.control:,.0f}" in ax.get_legend().get_texts()[1].get_text()


def test_weight_plot_of_clusters_adds_up_their_weights(linear_table, ax):
    """The effective size counts clusters then, and so does the axis."""
    x, t, y = linear_table(rows=500)
    site = np.array([f"site {number}" for number in np.random.default_rng(0).integers(0, 100, 500)])
    result = dowhy_cina.estimate_effect(x, t, y, cluster=site)
    plots.weight_plot(result, ax)
    for line, dot, arm in zip(ax.lines, ax.collections, [1, 0], strict=True):
        sums = pd.Series(result.weights[t == arm]).groupby(site[t == arm]).sum().to_numpy()
        np.testing.assert_allclose(line.get_ydata(), np.cumsum(np.sort(sums)[::-1]), atol=1e-9)
        assert dot.get_offsets()[0, 0] == pytest.approx(sums.sum() ** 2 / np.square(sums).sum())
    assert ax.get_xlabel().startswith("clusters of the arm")
    held = result.arms.treated.clusters
    assert f"{t.sum()} rows in {held} clusters, effective" in ax.get_legend().get_texts()[0].get_text()
    assert held < t.sum()


@pytest.mark.parametrize("draw", DRAWN)
def test_what_is_no_estimate_is_refused(draw):
    with pytest.raises(InputTypeError, match="estimate_effect, got NoneType"):
        draw(None)
    assert pyplot.get_fignums() == []


def test_of_a_dask_table_only_its_balance_is_drawn(linear_table, ax):
    dd = pytest.importorskip("dask.dataframe")
    x, t, y = linear_table(rows=200)
    table = pd.DataFrame(x, columns=list("abcd")).assign(t=t, y=y)
    result = dowhy_cina.estimate_effect(dd.from_pandas(table, npartitions=2), "t", "y")
    assert plots.love_plot(result, ax) is ax
    for draw in (plots.weight_plot, plots.overlap_plot, lambda result: plots.love_plot(result, kind="squares")):
        with pytest.raises(InputTypeError, match=r"a table in memory, got a PartitionedResult.*draw love_plot"):
            draw(result)


def test_overlap_plot_shows_shares_of_each_arm(result, ax):
    plots.overlap_plot(result, ax)
    treated, control = ax.containers
    assert sum(bar.get_height() for bar in treated) == pytest.approx(1)
    assert sum(bar.get_height() for bar in control) == pytest.approx(-1)
    in_first_bin = np.mean(result.propensity[result.treatment == 0] < 1 / 40)
    assert -control[0].get_height() == pytest.approx(in_first_bin)


def test_save_plots_writes_three_pictures(result, tmp_path):
    paths = plots.save_plots(result, tmp_path / "new" / "folder", prefix="a-")
    assert [path.name for path in paths] == ["a-love.png", "a-weights.png", "a-overlap.png"]
    for path in paths:
        picture = pyplot.imread(path)
        assert picture.shape[0] > 400
        assert picture.std() > 0.05
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("draw", [*DRAWN, lambda result: plots.save_plots(result, "unused")])
def test_without_matplotlib_the_extra_is_named(draw, result, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"dowhy-cina\[plots\]"):
        draw(result)
