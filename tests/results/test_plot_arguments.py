"""What pictures are given: results that are none, tables on workers, axes and words that are none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import dowhy_cina
from dowhy_cina import plots
from dowhy_cina.errors import InputError, InputTypeError

NEED_ROWS = {
    "effect": lambda result, ax=None: plots.effect_plot(result, "a", ax),
    "group": lambda result, ax=None: plots.group_plot(result, "a", ax),
    "uplift": lambda result, ax=None: plots.uplift_plot(result, None, ax),
    "distribution": plots.distribution_plot,
    "weight": plots.weight_plot,
    "overlap": plots.overlap_plot,
    "squares": lambda result, ax=None: plots.love_plot(result, ax, kind="squares"),
}
PICTURES = NEED_ROWS | {"love": plots.love_plot, "answer": plots.answer_plot}


@pytest.fixture(scope="module")
def table(linear_table):
    x, t, y = linear_table(rows=200)
    return pd.DataFrame(x, columns=list("abcd")).assign(t=t, y=y)


@pytest.fixture(scope="module")
def result(table):
    return dowhy_cina.estimate_effect(table[list("abcd")], table["t"], table["y"])


@pytest.fixture(scope="module")
def partitioned(table):
    dd = pytest.importorskip("dask.dataframe")
    return dowhy_cina.estimate_effect(dd.from_pandas(table, npartitions=2), "t", "y")


@pytest.fixture(autouse=True)
def no_figure_is_left():
    pyplot.close("all")
    yield
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("name", [*PICTURES, "overview", "save"])
@pytest.mark.parametrize("given", [None, 3.0, {"value": 1.0}, dowhy_cina.EffectResult])
def test_what_is_no_estimate(name, given, tmp_path):
    draw = PICTURES | {"overview": plots.overview, "save": lambda given: plots.save_plots(given, tmp_path / "new")}
    with pytest.raises(InputTypeError, match=f"expected a result of estimate_effect, got {type(given).__name__}:"):
        draw[name](given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*NEED_ROWS, "overview", "save"])
def test_of_a_dask_table_rows_cannot_be_drawn(name, partitioned, tmp_path):
    draw = NEED_ROWS | {"overview": plots.overview, "save": lambda given: plots.save_plots(given, tmp_path / "new")}
    with pytest.raises(InputTypeError, match=r"in memory, got a PartitionedResult.* draw love_plot\(result\)"):
        draw[name](partitioned)
    assert not list(tmp_path.iterdir())


def test_of_a_dask_table_the_answer_is_drawn(partitioned):
    ax = Figure().subplots()
    assert plots.answer_plot(partitioned, ax) is ax


@pytest.mark.parametrize("name", PICTURES)
def test_what_are_no_axes(name, result):
    for ax in (Figure(), Figure().subplots(2), "ax", Axes):
        with pytest.raises(InputTypeError, match=f"ax must be an Axes of matplotlib, got {type(ax).__name__}"):
            PICTURES[name](result, ax=ax)


def test_figures_and_reports_that_are_none(result):
    for draw in (result.plot, lambda figure: plots.overview(result, figure)):
        with pytest.raises(InputTypeError, match="figure must be a Figure of matplotlib, got Axes"):
            draw(Figure().subplots())
    for given in (None, result):
        with pytest.raises(InputTypeError, match=r"expected a report of dowhy_cina\.refute, got"):
            plots.refutation_plot(given)


@pytest.mark.parametrize("directory", [None, 3, ["pictures"]])
def test_what_is_no_directory(result, directory):
    with pytest.raises(InputTypeError, match="the directory must be a path"):
        plots.save_plots(result, directory)


@pytest.mark.parametrize(
    ("kind", "error"),
    [("square", InputError), (None, InputTypeError), (np.array(["means", "squares"]), InputTypeError)],
)
def test_kinds_of_balance_that_are_none(result, kind, error):
    for ask in (lambda: plots.love_plot(result, kind=kind), lambda: result.balance_of(kind)):
        with pytest.raises(error, match="kind must be 'means', 'squares' or 'interactions', got"):
            ask()


def test_words_of_an_uplift_curve(result):
    with pytest.raises(InputTypeError, match="label must be the name of the ranking as text, got an object of type"):
        plots.uplift_plot(result, "a", label=np.ones(3))
    with pytest.raises(InputTypeError, match="weighting must be 'qini' or 'autoc', got an object of type ndarray"):
        plots.uplift_plot(result, "a", weighting=np.ones(3))
