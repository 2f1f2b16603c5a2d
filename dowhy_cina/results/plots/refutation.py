"""Picture of a battery of refuters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dowhy_cina.errors import InputTypeError
from dowhy_cina.results.plots.arguments import check_axes
from dowhy_cina.results.plots.style import AFTER, BEFORE, CONTROL, TREATED, axes, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

_COLOURS = {"pass": AFTER, "fail": TREATED, "uninformative": BEFORE, "not applicable": BEFORE}
_BINS = 60  # over all rows
_HEIGHT = 0.78  # of a row's tallest bar, in rows


def refutation_plot(result: Any, ax: Axes | None = None) -> Axes:
    """The estimate, its interval, and a histogram of each refuter's refits.

    Refits with a true effect should gather around the estimate (the solid line), those without one around zero (the
    dashed line). A dot marks the report's new effect. Refits of a dummy outcome, which has a standard deviation of one,
    are drawn in the outcome's unit.

    Parameters
    ----------
    result : RefutationReport
        From :func:`dowhy_cina.refute`.
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
        If the result is no report, or the axes are none.
    """
    if isinstance(result, type) or not hasattr(result, "refutations"):
        raise InputTypeError(f"expected a report of dowhy_cina.refute, got {type(result).__name__}.")
    check_axes(ax)
    rows = result.refutations
    ax = axes(ax, height=1.5 + 0.55 * max(len(rows), 3))
    interval = result.confidence_interval
    if interval is not None:
        name = f"its {100 * result.confidence_level:g} % interval"
        ax.axvspan(*interval, color=CONTROL, alpha=0.13, linewidth=0, label=name, zorder=0)
    ax.axvline(result.estimated_effect, color=CONTROL, linewidth=1.8, label="estimate", zorder=1)
    ax.axvline(0, color=BEFORE, linewidth=1, linestyle="--", label="no effect", zorder=1)
    drawn = [row.unit * np.asarray(row.effects, dtype=float) for row in rows]
    everything = np.concatenate([[0.0, result.estimated_effect], *drawn])
    width = float(np.ptp(everything)) / _BINS or 1.0
    for place, (row, effects) in enumerate(zip(rows, drawn, strict=True)):
        bottom, colour = len(rows) - 1 - place, _COLOURS[row.verdict]
        text = row.verdict if np.isnan(row.p_value) else f"{row.verdict}, p = {row.p_value:.2f}"
        ax.text(
            1.01, bottom + 0.3, text, transform=ax.get_yaxis_transform(), color=colour, va="center", fontsize="small"
        )
        if effects.size:
            _histogram(ax, effects, width, bottom, colour)
    places = [place for place, row in enumerate(rows) if row.effects.size]
    if places:
        news, heights = [rows[k].unit * rows[k].new_effect for k in places], [len(rows) - 1 - k for k in places]
        ax.scatter(news, heights, s=14, color="black", label="new effect", zorder=3, clip_on=False)
    ax.set_yticks(np.arange(len(rows)) + 0.3, [row.label for row in reversed(rows)])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.15, len(rows))
    ax.locator_params(axis="x", nbins=6)
    ax.set_xlabel("effect in the refits, in the outcome's unit")
    finish(ax, "Refutations")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, frameon=False, fontsize="small")
    return ax


def _histogram(ax: Axes, effects: NDArray[np.float64], width: float, bottom: float, colour: str) -> None:
    """Histogram that stands on its row, with bins of the width of every other row's."""
    first, last = np.floor(effects.min() / width), np.floor(effects.max() / width)
    counts, edges = np.histogram(effects, width * np.arange(first, last + 2))
    heights = _HEIGHT * counts / counts.max()
    ax.stairs(bottom + heights, edges, baseline=bottom, fill=True, color=colour, alpha=0.75, zorder=2)
    ax.plot([edges[0], edges[-1]], [bottom, bottom], color=colour, linewidth=1, zorder=2)
