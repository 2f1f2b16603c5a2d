"""One figure for each experiment, from the table that its CSV holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dowhy_cina.learning.evaluation.paper.designs import LINEAR
from dowhy_cina.learning.evaluation.paper.many import EQUAL, SELF_SUPERVISED, SUPERVISED
from dowhy_cina.learning.evaluation.paper.methods import DEFAULT, DML, EXACT, ZERO_SHOT
from dowhy_cina.results.plots.style import AFTER, BEFORE, CONTROL, TREATED, finish, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

#: Colours of what the figures are about; every other method is grey.
COLOURS = {EXACT: CONTROL, ZERO_SHOT: TREATED, DEFAULT: AFTER, DML: "#CC79A7"}
_GREYS = ("-", "--", "-.", ":", (0, (1, 3)))
ERROR = "mean error of the average effect\n(standard deviations of the outcome)"


def _panels(count: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    require_matplotlib()
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, count, figsize=(width, height), layout="constrained", squeeze=False, **options)
    figure.get_layout_engine().set(rect=(0, 0.04, 1, 0.96))  # below: the versions
    return figure, list(axes[0])


def duality(table: pd.DataFrame) -> Figure:
    """Gap and distance over gradient steps, and where the support vector machine stands."""
    figure, (ax,) = _panels(1, 7, 4.4)
    descent, machine = table.iloc[:-1], table.iloc[-1]
    steps = descent["steps"].astype(int)
    floor = 1e-9
    for name, colour, label in (
        ("gap", CONTROL, "relative duality gap: 0 is optimal balance"),
        ("distance", TREATED, "share of the weights that lies elsewhere than the exact solution's"),
    ):
        ax.errorbar(
            steps, descent[name], 2 * descent[f"{name}_se"], color=colour, marker="o", markersize=4, label=label
        )
        ax.axhline(max(machine[name], floor), color=colour, linestyle=":", linewidth=1)
    ax.plot([], [], color=BEFORE, linestyle=":", linewidth=1, label="the same of scikit-learn's support vector machine")
    ax.set(xscale="symlog", yscale="log", xlabel="gradient steps on the values of the attention layer")
    ax.set_xlim(-1, steps.max() * 1.3)
    ax.set_ylim(floor / 2, 20)
    ax.legend(loc="lower left", fontsize="small", frameon=False)
    finish(ax, "Training an attention layer on one table solves a support vector machine")
    return figure


def single(table: pd.DataFrame) -> Figure:
    """Errors over the number of rows, a panel for each design."""
    designs = list(dict.fromkeys(table["design"]))
    figure, axes = _panels(len(designs), 10, 5.4, sharey=True)
    for ax, design in zip(axes, designs, strict=True):
        own = table[table["design"] == design]
        greys = iter(_GREYS)
        for method, part in own.groupby("method", sort=False):
            known = method in COLOURS
            style: dict[str, Any] = {
                "color": COLOURS.get(str(method), "0.55"),
                "linestyle": "-" if known else next(greys),
            }
            width = 2 if known else 1.1
            ax.errorbar(part["rows"], part["error"], part["error_se"], label=method, linewidth=width, **style)
        rows = sorted(own["rows"].unique())
        ax.set(xscale="log", yscale="log", xlabel="rows of the table", ylabel="" if ax is not axes[0] else ERROR)
        ax.set_xticks(rows, [str(number) for number in rows])
        ax.minorticks_off()
        _plain_ticks(ax.yaxis)
        finish(ax, design)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    figure.suptitle(f"Error of each method on single tables (mean of {table['tables'].iloc[0]}, with standard errors)")
    return figure


def training(table: pd.DataFrame) -> Figure:
    """Errors over the number of training tables, and over seconds."""
    figure, axes = _panels(2, 10, 4.8, sharey=True)
    references = {name: table[table["method"] == name].iloc[0] for name in (EQUAL, EXACT)}
    for ax, at, label in (
        (axes[0], "training_tables", "tables trained on"),
        (axes[1], "training_seconds", "seconds of training on one core"),
    ):
        for name, colour, text in (
            (SELF_SUPERVISED, TREATED, "one forward pass, trained without any outcome"),
            (SUPERVISED, AFTER, "one forward pass, trained with known effects too"),
        ):
            part = table[table["method"] == name]
            ax.errorbar(part[at], part["error"], part["error_se"], color=colour, marker="o", label=text)
        for (_, row), colour, text in zip(
            references.items(),
            (BEFORE, CONTROL),
            ("difference in means", "solved on each table (Algorithm 1)"),
            strict=True,
        ):
            ax.axhline(row["error"], color=colour, linestyle="--", linewidth=1.2, label=text)
            ax.axhspan(row["error"] - row["error_se"], row["error"] + row["error_se"], color=colour, alpha=0.1)
        ax.set(xscale="log", xlabel=label, ylabel=ERROR if at == "training_tables" else "")
        ax.set_ylim(0)
        _plain_ticks(ax.xaxis)
        finish(ax, "")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    figure.suptitle(
        f"Weights on {references[EXACT]['tables']} new tables, by networks trained on others ({LINEAR.name})"
    )
    return figure


def transfer(table: pd.DataFrame) -> Figure:
    """Ratio to the exact solution: a row for each model, a panel for each design that it is tested on."""
    designs = list(dict.fromkeys(table["tested on"]))
    methods = [name for name in dict.fromkeys(table["method"]) if name != EXACT]
    labels = [f"Algorithm 2 on {name}" if "supervised" in name else name for name in methods]
    figure, axes = _panels(len(designs), 13, 4.4, sharey=True, sharex=True)
    for ax, design in zip(axes, designs, strict=True):
        part = table[table["tested on"] == design].set_index("method").loc[methods]
        own = np.array([method.startswith(f"{design},") for method in methods])
        places = np.arange(len(methods))[::-1]
        for chosen, colour in ((~own, TREATED), (own, AFTER)):
            ax.errorbar(part["ratio"][chosen], places[chosen], xerr=part["ratio_se"][chosen], fmt="o", color=colour)
        ax.axvline(1, color=CONTROL, linewidth=1)
        ax.set(xscale="log", yticks=places, yticklabels=labels)
        _plain_ticks(ax.xaxis)
        finish(ax, design.replace(", ", ",\n"))
    figure.suptitle(
        "Error of weights by one forward pass, over that of weights solved on the table itself (blue line: 1)"
    )
    figure.supxlabel("green: trained on tables of the same family; orange: of another", fontsize="medium")
    return figure


def published(table: pd.DataFrame) -> Figure:
    """Errors on published tables, a panel for each collection, a bar for each method."""
    collections = list(dict.fromkeys(table["collection"]))
    methods = list(dict.fromkeys(table["method"]))
    figure, axes = _panels(len(collections), 13, 4.4, sharey=True)
    for ax, collection in zip(axes, collections, strict=True):
        part = table[table["collection"] == collection].set_index("method").reindex(methods)
        colours = [COLOURS.get(method, "0.75") for method in methods]
        ax.barh(range(len(methods)), part["error"], xerr=part["error_se"], color=colours)
        ax.set_yticks(range(len(methods)), methods)
        # One method that fails must not make the others' bars too short to tell apart.
        widest = 1.15 * float(np.sort(part["error"].dropna())[-2:][0])
        ax.set_xlim(0, widest)
        for place, error in enumerate(part["error"]):
            if error > widest or np.isnan(error):
                ax.text(
                    0.02 * widest,
                    place,
                    "too many rows" if np.isnan(error) else f"cut: {error:.2f}",
                    va="center",
                    fontsize="x-small",
                )
        finish(ax, f"{collection.split('_realcause')[0]}\ntables: {int(part['tables'].max())}")
    axes[0].invert_yaxis()
    figure.supxlabel(ERROR.replace("\n", " "), fontsize="medium")
    return figure


def seconds(table: pd.DataFrame) -> Figure:
    """Seconds of a table over its rows."""
    figure, (ax,) = _panels(1, 7, 4.4)
    for method in (DML, EXACT, DEFAULT, ZERO_SHOT):
        part = table[table["method"] == method]
        ax.plot(part["rows"], part["seconds"], color=COLOURS[method], marker="o", label=method)
    rows = sorted(table["rows"].unique())
    ax.set(xscale="log", yscale="log", xlabel="rows of the table", ylabel="seconds on one core, median")
    ax.set_xticks(rows, [str(number) for number in rows])
    ax.minorticks_off()
    _plain_ticks(ax.yaxis)
    ax.legend(fontsize="small", frameon=False)
    finish(ax, "Seconds of one table")
    return figure


def _plain_ticks(axis: Axis) -> None:
    """Write 0.1 and 1,000 instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "duality": duality,
    "single": single,
    "training": training,
    "transfer": transfer,
    "published": published,
    "seconds": seconds,
}
