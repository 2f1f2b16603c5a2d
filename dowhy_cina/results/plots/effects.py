"""Pictures of how the effect varies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dowhy_cina.results.heterogeneity import MOST_LEVELS, GroupEffects, select_modifiers
from dowhy_cina.results.plots.arguments import check_estimate
from dowhy_cina.results.plots.style import AFTER, BEFORE, TARGET_NAMES, axes, finish, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dowhy_cina.results.effect import EffectResult


def effect_plot(result: EffectResult, modifier: Any, ax: Axes | None = None) -> Axes:
    """Average effect along one covariate, with a band; at each value of a covariate that has few.

    A value without a standard error, such as one with fewer than five rows of an arm, is a hollow mark without a bar.

    The dark band holds the effect at one value of the covariate with the result's confidence level, the light one the
    whole curve at once: a horizontal line that fits into the light band is an effect that need not vary.

    Parameters
    ----------
    result : EffectResult
        An estimate.
    modifier : column name, or Series or ndarray of N rows
        A covariate by name, or values of one's own.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if None.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    InputError, InputTypeError
        If the modifier is not a covariate, or has missing values between many others; if the result is no estimate, or
        one of a Dask DataFrame, or the axes are none.
    """
    check_estimate(result, ax)
    column = select_modifiers(result.covariates, modifier, result.reading)[result.treatment >= 0].iloc[:, 0]
    is_curve = pd.api.types.is_numeric_dtype(column) and column.nunique() > MOST_LEVELS
    curve = result.effect_curve(modifier) if is_curve else None
    groups = None if is_curve else result.group_effects(modifier)
    ax = axes(ax)
    level = f"{100 * result.confidence_level:g} %"
    if groups is not None:
        _points(ax, groups, f"{level} interval")
    if curve is not None:
        at = curve.index.to_numpy()
        shade: dict[str, Any] = {"color": AFTER, "linewidth": 0}
        ax.fill_between(
            at, curve["band_lower"], curve["band_upper"], alpha=0.15, label=f"{level}, whole curve", **shade
        )
        ax.fill_between(at, curve["lower"], curve["upper"], alpha=0.3, label=f"{level}, each point", **shade)
        ax.plot(at, curve["effect"], color=AFTER, linewidth=2)
        ax.set_xlim(at[0], at[-1])
        rows = np.quantile(column.to_numpy(float), np.linspace(0, 1, min(len(column), 201)))
        ax.plot(rows, np.full(len(rows), 0.012), "|", color=BEFORE, markersize=5, transform=ax.get_xaxis_transform())
    ax.axhline(0, color="black", linewidth=0.8, zorder=0)
    ax.axhline(result.value, color=BEFORE, linestyle="--", linewidth=1, zorder=0, label="average effect")
    ax.set_xlabel(plain(column.name))
    ax.set_ylabel("effect")
    finish(ax, f"Effect by {plain(column.name)}, target: {TARGET_NAMES.get(result.target, result.target)}")
    ax.grid(axis="y", color="0.93", linewidth=0.8)
    ax.legend(loc="best", fontsize="small", edgecolor="0.9")
    return ax


def group_plot(
    result: EffectResult, by: Any, ax: Axes | None = None, bins: int = 4, simultaneous: bool = False
) -> Axes:
    """Average effects by group with their intervals, as a forest plot.

    A group without a standard error, such as one with fewer than five rows of an arm, is a hollow mark without a bar.

    Parameters
    ----------
    result : EffectResult
        An estimate.
    by : column name, list of column names, or Series, DataFrame or ndarray of N rows
        What makes the groups; numbers with many values are cut at quantiles.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if None.
    bins : int
        Groups that a column of numbers is cut into.
    simultaneous : bool
        Draw intervals that hold all groups at once, not each by itself.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    InputError, InputTypeError
        If a name is not that of a covariate; if the result is no estimate, or one of a Dask DataFrame, or the axes are
        none.
    """
    check_estimate(result, ax)
    groups = result.group_effects(by, bins=bins, simultaneous=simultaneous)
    table = groups.table
    ax = axes(ax, height=1.8 + 0.34 * max(len(table), 3))
    from matplotlib.ticker import MaxNLocator

    rows = np.arange(len(table))[::-1]
    known = table["standard_error"].notna().to_numpy()
    # A square of the group's size, as in meta-analyses: the eye weighs the large groups.
    size = 20 + 110 * table["rows"].to_numpy() / max(table["rows"].max(), 1)
    ax.hlines(rows[known], table["lower"][known], table["upper"][known], color=AFTER, linewidth=1.8)
    style: dict[str, Any] = {"marker": "s", "edgecolors": AFTER, "zorder": 3}
    ax.scatter(table["effect"], rows, s=size, c=[AFTER if bar else "white" for bar in known], **style)
    ax.axvline(0, color="black", linewidth=0.8, zorder=0)
    ax.axvline(result.value, color=BEFORE, linestyle="--", linewidth=1, zorder=0)
    notes = np.where(known, "", ", no interval")
    names = [
        f"{plain(label)}  ({count:,} rows{note})"
        for (label, count), note in zip(table["rows"].items(), notes, strict=True)
    ]
    ax.set_yticks(rows, names)
    ax.set_ylim(-1.1, len(table) - 0.3)  # room for the test
    ax.xaxis.set_major_locator(MaxNLocator(6))
    intervals = "intervals, all groups at once" if groups.simultaneous else "interval"
    ax.set_xlabel(f"effect, {100 * groups.level:g} % {intervals} (dashed: average)")
    if groups.p_value is not None:
        text = f"equal effects: p = {groups.p_value:.2g}"
        frame = {"facecolor": "white", "edgecolor": "0.9", "boxstyle": "round,pad=0.3"}
        ax.text(0.99, 0.02, text, transform=ax.transAxes, ha="right", va="bottom", fontsize="small", bbox=frame)
    title = ", ".join(map(plain, select_modifiers(result.covariates, by).columns))
    finish(ax, f"Effect by {title}, target: {TARGET_NAMES.get(result.target, result.target)}")
    return ax


def _points(ax: Axes, groups: GroupEffects, label: str) -> None:
    table = groups.table
    position = np.arange(len(table))
    known = table["standard_error"].notna().to_numpy()
    half = ((table["upper"] - table["lower"]) / 2).to_numpy()
    style: dict[str, Any] = {"color": AFTER, "markersize": 7, "linewidth": 1.8, "capsize": 4}
    ax.errorbar(position[known], table["effect"][known], yerr=half[known], fmt="o", label=label, **style)
    if not known.all():
        hollow: dict[str, Any] = {"color": AFTER, "markersize": 7, "markerfacecolor": "white", "label": "no interval"}
        ax.plot(position[~known], table["effect"][~known], "o", **hollow)
    ax.set_xticks(position, [plain(name) for name in table.index])
    ax.set_xlim(-0.6, len(table) - 0.4)
