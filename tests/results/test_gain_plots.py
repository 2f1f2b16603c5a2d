"""Pictures of who gains: what is drawn is what was found."""

import numpy as np
import pytest

import dowhy_cina
from dowhy_cina import plots


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 2))
    t = rng.integers(0, 2, 300)
    return dowhy_cina.estimate_effect(x, t, t * (1 + 2 * x[:, 0]) + rng.normal(size=300))


@pytest.fixture(scope="module")
def flat():
    rng = np.random.default_rng(3)
    x, t = rng.normal(size=(200, 2)), rng.integers(0, 2, 200)
    return dowhy_cina.estimate_effect(x, t, t + rng.normal(size=200))


def test_distribution(result):
    axes = plots.distribution_plot(result)
    found = result.effect_distribution()
    corrected = next(line for line in axes.lines if "spread corrected" in str(line.get_label()))
    np.testing.assert_allclose(corrected.get_xdata(), found.table["effect"])
    assert f"above zero: {100 * found.share_positive:.0f} %" in axes.texts[0].get_text()
    assert axes.get_title(loc="left") == "Distribution of effects, target: all rows"


def test_no_distribution(flat):
    axes = plots.distribution_plot(flat)
    assert "no heterogeneity detected" in axes.texts[0].get_text()
    assert not [line for line in axes.lines if "spread corrected" in str(line.get_label())]


@pytest.mark.parametrize(("weighting", "name"), [("qini", "gain"), ("autoc", "excess")])
def test_curves(result, weighting, name):
    axes = plots.uplift_plot(result, weighting=weighting)
    curve = result.uplift(weighting=weighting).curve
    np.testing.assert_allclose(axes.lines[0].get_ydata()[-20:], curve[name])
    again = plots.uplift_plot(result, "x1", ax=axes, weighting=weighting, label="the other column")
    assert again is axes
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[0].startswith("modelled effects: area")
    assert texts[1].startswith("the other column: area")
