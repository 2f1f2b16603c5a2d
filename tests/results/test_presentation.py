"""Results show themselves: cards for notebooks, one line, four panels."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import dowhy_cina
from dowhy_cina.adapter.refutation.report import Refutation, RefutationReport
from dowhy_cina.results.presentation.words import shown


class Text(HTMLParser):
    """The text outside styles; every tag is closed by its own."""

    def __init__(self, content):
        super().__init__()
        self.open, self.parts, self.widths = [], [], []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.widths += [value for name, value in attributes if name == "style"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.parts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.parts).split())


@pytest.fixture(scope="module")
def result(linear_table):
    x, t, y = linear_table(rows=200)
    frame = pd.DataFrame(x, columns=["age", "<b>income</b>", "school", "height"])
    return dowhy_cina.estimate_effect(frame, t, y)


@pytest.fixture(scope="module")
def report():
    row = Refutation("placebo", "placebo", "pass", "no effect <is> left", new_effect=0.25, p_value=0.5)
    overlap = Refutation("assess_overlap", "overlap", "fail", "poor")
    return RefutationReport(1.5, (1.0, 2.0), 0.95, (row, overlap), ("bootstrap_refuter",))


def test_card_says_what_the_result_says(result):
    text = Text(result._repr_html_()).text
    low, high = result.confidence_interval
    assert f"{result.value:.4g} 95 % interval {low:.4g} to {high:.4g}" in text
    assert "overlap: good" in text
    met = int((result.balance["before"].abs() <= 0.1).sum())
    assert f"{met} of 4 covariates within 0.1 sd" in text
    assert "4 of 4 covariates within 0.1 sd" in text
    assert "<b>income</b>" in text
    assert "<b>" not in result._repr_html_()


def test_bars_are_as_long_as_their_figures(result):
    widths = Text(result._repr_html_()).widths
    met = int((result.balance["before"].abs() <= 0.1).sum())
    assert [f"width:{25 * met:.1f}%", "width:100.0%"] == [style for style in widths if style.startswith("width")]
    (span,) = (style for style in widths if style.startswith("left") and "width" in style)
    left, width = (float(part.split(":")[1].rstrip("%")) for part in span.split(";"))
    low, high = result.confidence_interval
    assert (left, width) == pytest.approx((3 + 94 * low / high, 94 * (1 - low / high)), abs=0.01)


def test_card_tells_warnings_and_missing_figures(result):
    poor = dataclasses.replace(
        result,
        standard_error=None,
        confidence_interval=None,
        p_value=None,
        warnings=("a <script> of one row",),
        balance=result.balance.iloc[:0],
        overlap=dataclasses.replace(result.overlap, grade="the data do not answer this"),
    )
    card = poor._repr_html_()
    text = Text(card).text
    assert "95 % interval none" in text
    assert "a <script> of one row" in text
    assert "No covariates that vary" in text
    assert "cina-badge bad" in card
    assert "<script" not in card


def test_cards_inherit_colours_and_load_nothing(result, report):
    for card in (result._repr_html_(), report._repr_html_()):
        assert "http" not in card
        assert "<script" not in card
        # No colour of text or page of its own but on the badges, so that it is read on light and on dark.
        assert "background:#fff" not in card
        assert card.count("color:#fff") == 1


def test_report_card_and_line(report):
    text = Text(report._repr_html_()).text
    assert "estimated effect 1.5, 95 % interval 1 to 2" in text
    assert "placebo 0.25 0.50 pass no effect <is> left" in text
    assert re.search("overlap \\S \\S fail poor", text)
    assert "not finished: bootstrap_refuter" in text
    assert repr(report) == "RefutationReport(estimated_effect=1.5, 95 % interval 1 to 2, verdicts: 1 pass, 1 fail)"


def test_dask_results_show_themselves_too(linear_table):
    dask = pytest.importorskip("dask.dataframe")
    x, t, y = linear_table(rows=200)
    frame = pd.DataFrame(x, columns=list("abcd")).assign(t=t, y=y)
    found = dowhy_cina.estimate_effect(dask.from_pandas(frame, npartitions=2), "t", "y")
    assert repr(found).startswith("PartitionedResult(value=")
    assert f"{found.value:.4g}" in Text(found._repr_html_()).text


def test_four_panels(result):
    figure = result.plot()
    try:
        titles = [ax.get_title(loc="left") for ax in figure.axes]
        assert [title.split(",")[0] for title in titles] == [
            "Effect",
            "Overlap",
            "Covariate balance",
            "Concentration of the weights",
        ]
    finally:
        pyplot.close(figure)
    own = Figure()
    assert result.plot(own) is own
    assert len(own.axes) == 4


def test_answer_plot_shades_the_interval(result):
    ax = dowhy_cina.plots.answer_plot(result, Figure().subplots())
    (shade,) = ax.collections
    at = shade.get_paths()[0].vertices[:, 0]
    assert (at.min(), at.max()) == pytest.approx(result.confidence_interval)
    x, density = ax.lines[0].get_data()
    assert x[np.argmax(density)] == pytest.approx(result.value, abs=0.02 * np.ptp(x))
    bare = dataclasses.replace(result, standard_error=None, confidence_interval=None)
    assert len(dowhy_cina.plots.answer_plot(bare, Figure().subplots()).lines) == 2


def test_names_are_cut_and_printable():
    assert shown("age") == "age"
    assert shown("a\n\x1b[31mb") == "a??[31mb"
    assert len(shown("x" * 10_000)) == 60
