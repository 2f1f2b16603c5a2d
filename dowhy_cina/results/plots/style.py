"""What every picture shares: colours, a figure of its own, the frame around the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dowhy_cina.results.presentation.words import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which stay apart under every common colour vision deficiency.
TREATED, CONTROL, BEFORE, AFTER = "#D55E00", "#0072B2", "#595959", "#009E73"
TARGET_NAMES = {
    "ate": "all rows",
    "att": "the treated",
    "atc": "the untreated",
    "overlap": "the rows where the arms overlap",
    "rows": "the rows named",
}


def require_matplotlib() -> None:
    """Raise with the remedy if matplotlib is not installed.

    Raises
    ------
    ImportError
        Naming the extra that brings it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "expected matplotlib for the plots, but it is not installed: pip install 'dowhy-cina[plots]'."
        ) from error


def axes(ax: Axes | None, height: float = 4.4) -> Axes:
    """The axes given, or those of a new figure of this height in inches."""
    if ax is not None:
        return ax
    require_matplotlib()
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(7, height), layout="constrained")[1]


def finish(ax: Axes, title: str) -> None:
    """Title on the left, two spines, a faint grid behind the data."""
    ax.set_title(title, loc="left", fontsize="medium", fontweight="bold")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="x", color="0.93", linewidth=0.8)
    ax.set_axisbelow(True)


def plain(name: Any) -> str:
    """A column's name as matplotlib writes it letter by letter: not long, no line break, no formula between dollars."""
    return shown(name, 40).replace("$", r"\$")
