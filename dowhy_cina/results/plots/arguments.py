"""What every picture is given: an estimate and, if the caller has one, the axes to draw on; checked before anything."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dowhy_cina.errors import InputTypeError
from dowhy_cina.results.effect import AverageEffect
from dowhy_cina.results.heterogeneity import VaryingEffect
from dowhy_cina.results.plots.style import require_matplotlib


def check_estimate(result: Any, ax: Any, rows: bool = True) -> None:
    """Refuse what is no estimate, or none that knows its rows where they are needed, and what are no axes.

    Raises
    ------
    ImportError
        As :func:`check_axes`.
    InputTypeError
        If either is something else.
    """
    if not isinstance(result, AverageEffect | VaryingEffect):
        raise InputTypeError(
            f"expected a result of estimate_effect, got {type(result).__name__}: of an estimate of DoWhy's it is its "
            "cina_result."
        )
    if rows and not isinstance(result, VaryingEffect):
        raise InputTypeError(
            f"expected an estimate of a table in memory, got a {type(result).__name__}, whose rows are on the workers: "
            "estimate from a sample of the rows, or draw love_plot(result) or answer_plot(result), which take it."
        )
    check_axes(ax)


def check_axes(ax: Any) -> None:
    """Refuse what are no axes; None stands for new ones.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    InputTypeError
        If it is something else.
    """
    if ax is not None:
        _check_kind(
            ax,
            "ax must be an Axes",
            "axes",
            "Axes",
            "pyplot.subplots()[1] is one, and of an array of them a picture takes one",
        )


def check_figure(figure: Any) -> None:
    """Refuse what is no figure; None stands for a new one.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    InputTypeError
        If it is something else.
    """
    if figure is not None:
        _check_kind(figure, "figure must be a Figure", "figure", "FigureBase", "pyplot.figure() is one")


def _check_kind(value: Any, expected: str, module: str, kind: str, remedy: str) -> None:
    """Refuse what is no object of a class of matplotlib's."""
    require_matplotlib()
    if not isinstance(value, getattr(import_module(f"matplotlib.{module}"), kind)):
        raise InputTypeError(f"{expected} of matplotlib, got {type(value).__name__}: {remedy}.")
