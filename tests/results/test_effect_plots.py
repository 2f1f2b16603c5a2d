"""Pictures of the effect against a covariate and by group show the numbers they are asked for."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from dowhy_cina import plots
from dowhy_cina.errors import InputError
from dowhy_cina.results.heterogeneity import VaryingEffect

ROWS = 300


@dataclass(frozen=True, kw_only=True)
class Drawn(VaryingEffect):
    value: float
    target: str


@pytest.fixture(scope="module")
def result():
    """What the pictures read of a result; the scores rise with age."""
    rng = np.random.default_rng(0)
    covariates = pd.DataFrame({"age": rng.uniform(20, 60, ROWS), "wed": np.tile([1, 0, 0], ROWS // 3)})
    scores = 0.1 * covariates["age"].to_numpy() + rng.normal(size=ROWS)
    return Drawn(
        pseudo_outcomes=scores,
        target_weights=np.full(ROWS, 1 / ROWS),
        treatment=np.tile([1, 0], ROWS // 2).astype(np.int8),
        confidence_level=0.9,
        covariates=covariates,
        cluster=None,
        standard_error=None,
        value=scores.mean(),
        target="ate",
    )


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    pyplot.close("all")


@pytest.mark.parametrize("draw", [plots.effect_plot, plots.group_plot])
@pytest.mark.parametrize("by", ["age", "wed"])
def test_draws_on_the_axes_given_or_its_own(draw, by, result, ax):
    assert draw(result, by, ax=ax) is ax
    assert ax.get_xlabel()
    assert by in ax.get_title(loc="left")
    assert pyplot.get_fignums() == []
    assert isinstance(draw(result, by), Axes)
    assert len(pyplot.get_fignums()) == 1


def test_effect_plot_draws_the_curve_and_its_bands(result, ax):
    plots.effect_plot(result, "age", ax)
    curve = result.effect_curve("age")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), curve["effect"])
    whole, points = ax.collections
    for band, low, high in ((whole, "band_lower", "band_upper"), (points, "lower", "upper")):
        drawn = band.get_paths()[0].vertices[:, 1]
        assert drawn.max() == pytest.approx(curve[high].max())
        assert drawn.min() == pytest.approx(curve[low].min())
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["90 %, whole curve", "90 %, each point", "average effect"]
    assert any(np.allclose(line.get_ydata(), result.value) for line in ax.lines)


def test_effect_plot_of_few_values_draws_each(result, ax):
    plots.effect_plot(result, "wed", ax)
    groups = result.group_effects("wed").table
    (container,) = ax.containers
    points, _, (bars,) = container
    np.testing.assert_allclose(np.asarray(points.get_ydata(), float), groups["effect"])
    np.testing.assert_allclose(np.array(bars.get_segments())[:, :, 1], groups[["lower", "upper"]])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1"]


def test_group_plot_is_a_forest(result, ax):
    plots.group_plot(result, "age", ax, bins=3)
    groups = result.group_effects("age", bins=3)
    intervals, squares = ax.collections
    assert to_rgba(plots.style.AFTER) == tuple(squares.get_facecolor()[0])
    # The first group is on top.
    np.testing.assert_allclose(squares.get_offsets(), np.column_stack([groups.table["effect"], [2, 1, 0]]))
    np.testing.assert_allclose(np.array(intervals.get_segments())[:, :, 0], groups.table[["lower", "upper"]])
    assert f"{groups.table.index[0]}  (100 rows)" in [label.get_text() for label in ax.get_yticklabels()]
    assert f"p = {groups.p_value:.2g}" in ax.texts[0].get_text()


def test_group_plot_of_all_groups_at_once(result, ax):
    plots.group_plot(result, "age", ax, bins=3, simultaneous=True)
    groups = result.group_effects("age", bins=3, simultaneous=True).table
    np.testing.assert_allclose(np.array(ax.collections[0].get_segments())[:, :, 0], groups[["lower", "upper"]])
    assert "90 % intervals, all groups at once" in ax.get_xlabel()


def test_a_group_of_one_row_has_a_point(result, ax):
    by = pd.Series(np.r_[["single"], np.repeat("rest", ROWS - 1)])
    plots.group_plot(result, by, ax)
    assert np.isfinite(ax.collections[1].get_offsets()).all()
    assert not ax.texts  # no test of equality
    plots.effect_plot(result, by, Figure().subplots())


def test_a_group_lacking_an_arm_is_hollow_and_has_no_bar(result, ax):
    few = np.flatnonzero(result.treatment == 0)[:12]
    by = pd.Series(np.where(np.isin(np.arange(ROWS), few), "thin", np.where(np.arange(ROWS) % 4 < 2, "first", "last")))
    plots.group_plot(result, by, ax)
    groups = result.group_effects(by).table
    bars, squares = ax.collections
    drawn = groups.loc[["first", "last"], ["lower", "upper"]]
    np.testing.assert_allclose(np.array(bars.get_segments())[:, :, 0], drawn)
    faces, edges = squares.get_facecolor(), squares.get_edgecolor()
    assert [tuple(face) for face in faces] == [to_rgba(plots.style.AFTER)] * 2 + [to_rgba("white")]
    assert all(tuple(edge) == to_rgba(plots.style.AFTER) for edge in edges)
    assert "thin  (12 rows, no interval)" in [label.get_text() for label in ax.get_yticklabels()]
    points = Figure().subplots()
    plots.effect_plot(result, by, points)
    hollow = next(line for line in points.lines if line.get_label() == "no interval")
    np.testing.assert_allclose(hollow.get_ydata(), groups["effect"]["thin"])
    assert hollow.get_markerfacecolor() == "white"
    assert "no interval" in [text.get_text() for text in points.get_legend().get_texts()]


def test_what_is_no_covariate_is_refused(result):
    for draw in (plots.effect_plot, plots.group_plot):
        with pytest.raises(InputError, match=r"\['income'\]"):
            draw(result, "income")
    assert pyplot.get_fignums() == []
