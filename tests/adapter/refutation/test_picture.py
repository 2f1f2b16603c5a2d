"""The picture shows the report's numbers."""

import dataclasses

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from dowhy_cina import plots
from dowhy_cina.adapter.refutation import Refutation, RefutationReport

RNG = np.random.default_rng(0)


def row(name, verdict, effects, **more):
    effects = np.asarray(effects, dtype=float)
    more = {"new_effect": effects.mean() if effects.size else np.nan, **more}
    return Refutation(name, name, verdict, "why", effects=effects, **more)


@pytest.fixture
def report():
    rows = (
        row("subset", "pass", RNG.normal(5, 0.2, 100), p_value=0.42, expected=5.0),
        row("dummy", "fail", RNG.normal(0.5, 0.1, 100), p_value=0.01, expected=0.0, unit=4.0),
        row("same", "pass", np.full(100, 5.0), p_value=1.0, expected=5.0),
        row("hidden", "uninformative", np.linspace(1, 6, 100), new_effect=1.0, expected=5.0),
        row("none", "not applicable", []),
    )
    return RefutationReport(5.0, (4.5, 5.5), 0.95, rows)


@pytest.fixture
def ax():
    return Figure().subplots()


def test_shows_estimate_interval_and_every_row(report, ax):
    assert report.plot(ax) is ax
    assert [label.get_text() for label in ax.get_yticklabels()] == ["none", "hidden", "same", "dummy", "subset"]
    assert ax.lines[0].get_xdata()[0] == 5.0
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["pass, p = 0.42", "fail, p = 0.01", "pass, p = 1.00", "uninformative", "not applicable"]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["its 95 % interval", "estimate", "no effect", "new effect"]
    assert ax.get_xlabel()


def test_histograms_hold_every_refit_in_the_outcomes_unit(report, ax):
    plots.refutation_plot(report, ax)
    bars = [patch for patch in ax.patches if hasattr(patch, "get_data")]
    assert len(bars) == 4
    for patch, refutation in zip(bars, report.refutations, strict=False):
        values, edges, bottom = patch.get_data()
        effects = refutation.unit * refutation.effects
        assert edges[0] <= effects.min()
        assert edges[-1] >= effects.max()
        counts = np.histogram(effects, edges)[0]
        np.testing.assert_allclose((values - bottom) / (values - bottom).max(), counts / counts.max())


def test_dots_are_the_new_effects_of_the_table(report, ax):
    (dots,) = plots.refutation_plot(report, ax).collections
    table = report.to_frame().new_effect.dropna()
    np.testing.assert_allclose(dots.get_offsets()[:, 0], table * [1, 4.0, 1, 1])
    np.testing.assert_allclose(dots.get_offsets()[:, 1], [4, 3, 2, 1])


def test_without_an_interval_or_refits(report):
    rows = tuple(dataclasses.replace(refutation, effects=np.empty(0)) for refutation in report.refutations)
    axes = plots.refutation_plot(dataclasses.replace(report, confidence_interval=None, refutations=rows))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["estimate", "no effect"]
    pyplot.close("all")
