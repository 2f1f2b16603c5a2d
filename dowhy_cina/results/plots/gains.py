"""Pictures of who gains: the distribution of effects, and what treating the most promising first brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dowhy_cina.errors import InputTypeError, came
from dowhy_cina.results.plots.arguments import check_estimate
from dowhy_cina.results.plots.style import AFTER, BEFORE, TARGET_NAMES, axes, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dowhy_cina.results.effect import EffectResult


def distribution_plot(result: EffectResult, ax: Axes | None = None) -> Axes:
    """Quantiles of the conditional effects with their intervals, beside those of the modelled effects.

    Where no heterogeneity is detected, the modelled effects alone, and the words that nothing was detected.

    Parameters
    ----------
    result : EffectResult
        An estimate.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    InputError, CinaError
        As :meth:`dowhy_cina.EffectResult.effect_distribution`.
    InputTypeError
        If the result is no estimate, or one of a Dask DataFrame, or the axes are none.
    """
    check_estimate(result, ax)
    found = result.effect_distribution()
    ax, table = axes(ax), found.table
    at = 100 * table.index.to_numpy()
    hollow: dict[str, Any] = {"color": BEFORE, "markerfacecolor": "white", "markersize": 6}
    ax.plot(table["modelled"], at, "o--", linewidth=1, label="as modelled", **hollow)
    if found.reason is None:
        level = f"{100 * found.level:g} % interval"
        ax.hlines(at, table["lower"], table["upper"], color=AFTER, linewidth=1.8, label=level)
        ax.plot(table["effect"], at, "o", color=AFTER, markersize=7, label="spread corrected")
        note = f"above zero: {100 * found.share_positive:.0f} % ({100 * found.lower:.0f} to {100 * found.upper:.0f} %)"
    else:
        note = "no heterogeneity detected:\nthe spread shown is not known to be one of effects"
    frame = {"facecolor": "white", "edgecolor": "0.9", "boxstyle": "round,pad=0.3"}
    ax.text(0.98, 0.04, note, transform=ax.transAxes, ha="right", va="bottom", fontsize="small", bbox=frame)
    ax.axvline(0, color="black", linewidth=0.8, zorder=0.8)
    ax.axvline(result.value, color=BEFORE, linestyle=":", linewidth=1, zorder=0, label="average effect")
    ax.set_yticks(at, [f"{value:g} %" for value in at])
    ax.set_xlabel("conditional effect")
    ax.set_ylabel("share of the population below")
    finish(ax, f"Distribution of effects, target: {TARGET_NAMES.get(result.target, result.target)}")
    ax.legend(loc="upper left", fontsize="small", edgecolor="0.9")
    return ax


def uplift_plot(
    result: EffectResult, by: Any = None, ax: Axes | None = None, weighting: str = "qini", label: str | None = None
) -> Axes:
    """What treating the most promising first brings: the Qini curve, or the targeting operator characteristic.

    Parameters
    ----------
    result : EffectResult
        An estimate.
    by : column name, or Series or ndarray of N rows, optional
        Scores to rank by, as in :meth:`dowhy_cina.EffectResult.uplift`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if None. Further curves may be added to one picture.
    weighting : {"qini", "autoc"}
    label : str, optional
        Name of the ranking in the legend.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    InputError, CinaError
        As :meth:`dowhy_cina.EffectResult.uplift`.
    InputTypeError
        If the result is no estimate, or one of a Dask DataFrame, or the axes are none.
    """
    check_estimate(result, ax)
    if label is not None and not isinstance(label, str):
        raise InputTypeError(f"label must be the name of the ranking as text, got {came(label)}.")
    found = result.uplift(by, weighting)
    fresh = ax is None or not ax.lines
    ax = axes(ax)
    name = "gain" if weighting == "qini" else "excess"
    curve = found.curve
    start = [0.0] if weighting == "qini" else []
    at = np.r_[start, 100 * curve.index.to_numpy()]
    middle, lower, upper = (np.r_[start, curve[f"{name}{end}"]] for end in ("", "_lower", "_upper"))
    color = AFTER if fresh else (BEFORE, "#D55E00", "#0072B2")[len(ax.collections) % 3]
    text = label or ("modelled effects" if by is None else by if isinstance(by, str) else "given scores")
    if found.standard_error > 0:
        text += f": area {found.area:.3g} ({found.lower:.3g} to {found.upper:.3g})"
    ax.fill_between(at, lower, upper, color=color, alpha=0.2, linewidth=0)
    ax.plot(at, middle, color=color, linewidth=2, label=text)
    if fresh:
        ax.axhline(0, color="black", linewidth=0.8, zorder=0.8)
        ax.set_xlim(0, 100)
        ax.set_xlabel("share treated, the most promising first (%)")
        what = "gain over treating as many at random" if weighting == "qini" else "their effect above the average"
        ax.set_ylabel(what)
        title = "Qini curve" if weighting == "qini" else "Targeting operator characteristic"
        finish(ax, f"{title}, target: {TARGET_NAMES.get(result.target, result.target)}")
        ax.grid(axis="y", color="0.93", linewidth=0.8)
    ax.legend(loc="best", fontsize="small", edgecolor="0.9", title=f"{100 * found.level:g} %, pointwise")
    return ax
