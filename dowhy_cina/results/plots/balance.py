"""Pictures of balance, weights and overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from dowhy_cina.errors import check_choice
from dowhy_cina.results.balance import KINDS
from dowhy_cina.results.plots.arguments import check_estimate
from dowhy_cina.results.plots.style import AFTER, BEFORE, CONTROL, TARGET_NAMES, TREATED, axes, finish, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from dowhy_cina.results.effect import EffectResult

_BALANCED = 0.1  # the customary bound on a standardised mean difference
#: Covariates that a love plot has room for.
MOST_COVARIATES = 30


def love_plot(
    result: EffectResult, ax: Axes | None = None, kind: Literal["means", "squares", "interactions"] = "means"
) -> Axes:
    """Standardised mean differences of the covariates, before and after weighting.

    Parameters
    ----------
    result : EffectResult
        An estimate; its ``balance`` is drawn, the thirty worst covariates of a longer list.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if None.
    kind : {"means", "squares", "interactions"}
        Terms as in :meth:`dowhy_cina.EffectResult.balance_of`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    InputError, InputTypeError
        If the kind is another one, the result is no estimate or one of a Dask DataFrame and the kind is not "means", or
        the axes are none.
    """
    check_choice(kind, KINDS, "kind")
    check_estimate(result, ax, rows=kind != "means")
    table = result.balance if kind == "means" else result.balance_of(kind)
    balance = table[["before", "after"]].abs()
    total = len(balance)
    worst = balance.max(axis=1).sort_values(ascending=False, kind="stable").index[:MOST_COVARIATES]
    balance = balance.loc[worst].sort_values("before", kind="stable")
    ax = axes(ax, height=1.6 + 0.28 * max(len(balance), 4))
    rows = np.arange(len(balance))
    before, after = balance["before"].to_numpy(float), balance["after"].to_numpy(float)
    ax.hlines(rows, np.minimum(before, after), np.maximum(before, after), color="0.8", linewidth=1.5, zorder=1)
    ax.scatter(before, rows, s=38, marker="o", facecolors="white", edgecolors=BEFORE, linewidths=1.6, label="before")
    ax.scatter(after, rows, s=38, marker="o", color=AFTER, label="after weighting", zorder=3)
    ax.axvline(_BALANCED, color=BEFORE, linestyle="--", linewidth=1, zorder=0)
    ax.annotate(
        f"{_BALANCED:g}",
        (_BALANCED, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -9),
        textcoords="offset points",
        color=BEFORE,
        fontsize="small",
    )
    ax.set_yticks(rows, [plain(name) for name in balance.index])
    ax.set_ylim(-0.7, max(len(balance), 1) - 0.3)
    ax.set_xlim(left=0)
    if total == 0:
        ax.text(0.5, 0.5, "no covariates", ha="center", transform=ax.transAxes, color=BEFORE)
    ax.set_xlabel("absolute standardised mean difference")
    shown = f", worst {len(balance)} of {total}" if total > len(balance) else ""
    finish(ax, f"Covariate balance{shown}")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize="small", borderaxespad=0.1)
    return ax


def weight_plot(result: EffectResult, ax: Axes | None = None) -> Axes:
    """How many rows of each arm carry its weight; how many clusters, if the estimate named some.

    A curve that rises late is an estimate that rests on many rows; one that reaches 1 after a few rests on those few.
    The dot stands at the effective sample size, the number of equally weighted rows, or clusters, that would be as
    precise.

    Parameters
    ----------
    result : EffectResult
        An estimate; its ``weights``, added up by ``cluster``, and its ``effective_sample_size`` are drawn.
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
        If the result is no estimate, or one of a Dask DataFrame, or the axes are none.
    """
    check_estimate(result, ax)
    treated, control = _arms(result)
    ax = axes(ax)
    arms = [
        ("treated", treated, result.arms.treated, TREATED, "-"),
        ("control", control, result.arms.control, CONTROL, "--"),
    ]
    for name, rows, arm, colour, dashes in arms:
        heaviest_first = np.sort(_unit_weights(result, rows))[::-1]
        share = np.cumsum(heaviest_first) / max(heaviest_first.sum(), np.finfo(float).tiny)
        count = np.arange(1, len(share) + 1)
        effective = arm.effective_size
        label = f"{name}: {rows.sum():,} rows{arm.held}, effective {effective:,.0f}"
        ax.plot(count, share, color=colour, linestyle=dashes, linewidth=2, drawstyle="steps-post", label=label)
        at = float(np.clip(effective, 1, len(share)))
        ax.scatter([at], [np.interp(at, count, share)], s=46, color=colour, zorder=3)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_ylim(0, 1.03)
    units = "rows" if result.cluster is None else "clusters"
    ax.set_xlabel(f"{units} of the arm, heaviest first (dot: effective sample size)")
    ax.set_ylabel("share of the arm's weight")
    finish(ax, f"Concentration of the weights, target: {TARGET_NAMES.get(result.target, result.target)}")
    ax.legend(loc="lower right", fontsize="small", edgecolor="0.9")
    return ax


def overlap_plot(result: EffectResult, ax: Axes | None = None) -> Axes:
    """Distribution of the propensity score in each arm, the treated upward and the controls downward.

    Where one arm has bars and the other none, the effect is extrapolated. The heights are on a square-root scale, so
    that a thin tail beside a tall bar is seen.

    Parameters
    ----------
    result : EffectResult
        An estimate; its ``propensity`` is drawn.
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
        If the result is no estimate, or one of a Dask DataFrame, or the axes are none.
    """
    check_estimate(result, ax)
    treated, control = _arms(result)
    ax = axes(ax)
    propensity = np.asarray(result.propensity, float)
    edges = np.linspace(0, 1, 41)
    width = edges[1] - edges[0]
    tallest = []
    for name, rows, colour, sign, hatch in [
        ("treated", treated, TREATED, 1, ""),
        ("control", control, CONTROL, -1, "////"),
    ]:
        share = np.histogram(propensity[rows], edges)[0] / max(rows.sum(), 1)
        tallest.append(float(share.max()))
        style: dict[str, Any] = {"color": colour, "edgecolor": "white", "linewidth": 0.5, "hatch": hatch}
        ax.bar(edges[:-1], sign * share, width, align="edge", label=f"{name} ({rows.sum():,} rows)", **style)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_yscale("function", functions=(_signed_root, _signed_square))
    levels = np.array([0.01, 0.05, 0.1, 0.25, 0.5, 1.0])
    up, down = (levels[levels <= max(1.2 * height, levels[0])] for height in tallest)
    ticks = np.concatenate([-down[::-1], [0], up])
    ax.set_yticks(ticks, [f"{abs(tick):.0%}" for tick in ticks])
    ax.set_ylim(-1.2 * max(tallest[1], levels[0]), 1.2 * max(tallest[0], levels[0]))
    ax.set_xlim(0, 1)
    ax.set_xlabel("leave-one-out propensity score")
    ax.set_ylabel("share of the arm (square-root scale)")
    finish(ax, "Overlap")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize="small", borderaxespad=0.1)
    return ax


def _unit_weights(result: EffectResult, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of the rows of an arm, or of its clusters if there are any."""
    weights = np.asarray(result.weights, float)[rows]
    if result.cluster is None:
        return weights
    # By their text, as the estimate tells them apart.
    clusters = pd.factorize(pd.Series(np.asarray(result.cluster)[rows]).astype(str))[0]
    return np.bincount(clusters, weights).astype(np.float64)


def _arms(result: EffectResult) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows of the treated and of the control arm; those set aside are in neither."""
    return result.treatment == 1, result.treatment == 0


def _signed_root(value: NDArray[np.float64]) -> NDArray[np.float64]:
    root: NDArray[np.float64] = np.sign(value) * np.sqrt(np.abs(value))
    return root


def _signed_square(value: NDArray[np.float64]) -> NDArray[np.float64]:
    square: NDArray[np.float64] = np.sign(value) * np.square(value)
    return square
