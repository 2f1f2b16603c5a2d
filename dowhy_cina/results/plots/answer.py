"""Pictures of the answer: the effect with its interval, and the overview beside its diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from dowhy_cina.results.plots.arguments import check_estimate, check_figure
from dowhy_cina.results.plots.balance import love_plot, overlap_plot, weight_plot
from dowhy_cina.results.plots.files import love_height
from dowhy_cina.results.plots.style import AFTER, BEFORE, TARGET_NAMES, axes, finish, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dowhy_cina.results.effect import AverageEffect, EffectResult


def answer_plot(result: AverageEffect, ax: Axes | None = None) -> Axes:
    """The effect, its interval, and the density of its error: t, about the estimate.

    Parameters
    ----------
    result : AverageEffect
        An estimate, also one of a Dask DataFrame; without a standard error only the value is drawn.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    InputTypeError
        If the result is no estimate, or the axes are none.
    """
    check_estimate(result, ax, rows=False)
    ax = axes(ax)
    error, interval = result.standard_error, result.confidence_interval
    label = f"effect {result.value:.4g}"
    if error and interval is not None:
        low, high = interval
        law = stats.t(result.degrees_of_freedom, result.value, error)
        margin = 0.35 * (high - low)
        at = np.linspace(low - margin, high + margin, 201)
        ax.plot(at, law.pdf(at), color=AFTER, linewidth=1.6)
        inside = np.linspace(low, high, 201)
        name = f"{100 * result.confidence_level:g} % interval {low:.4g} to {high:.4g}"
        ax.fill_between(inside, law.pdf(inside), color=AFTER, alpha=0.25, linewidth=0, label=name)
        ax.set_ylim(0, 1.45 * float(law.pdf(result.value)))  # room for the legend
    ax.axvline(result.value, color=AFTER, linewidth=2, label=label)
    ax.axvline(0, color=BEFORE, linewidth=1, linestyle="--", label="no effect")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("effect, in the outcome's unit")
    finish(ax, f"Effect, target: {TARGET_NAMES.get(result.target, result.target)}")
    ax.legend(loc="upper right", fontsize="small", edgecolor="0.9")
    return ax


def overview(result: EffectResult, figure: Figure | None = None) -> Figure:
    """The effect with its interval, balance, overlap and weights, in four panels.

    Parameters
    ----------
    result : EffectResult
        An estimate.
    figure : matplotlib.figure.Figure, optional
        Where to draw; a new one if None.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    InputTypeError
        If the result is no estimate of a table in memory, or the figure is none.
    """
    check_estimate(result, None)
    check_figure(figure)
    require_matplotlib()
    if figure is None:
        from matplotlib import pyplot

        figure = pyplot.figure(figsize=(13, 4.4 + max(love_height(result), 4.4)), layout="constrained")
    (answer, overlap), (love, weights) = figure.subplots(2, 2)
    answer_plot(result, answer)
    overlap_plot(result, overlap)
    love_plot(result, love)
    weight_plot(result, weights)
    return figure
