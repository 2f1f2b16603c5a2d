"""The pictures as files."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dowhy_cina.errors import as_path
from dowhy_cina.results.plots.arguments import check_estimate
from dowhy_cina.results.plots.balance import MOST_COVARIATES, love_plot, overlap_plot, weight_plot
from dowhy_cina.results.plots.style import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dowhy_cina.results.effect import EffectResult


def png(draw: Callable[[Axes], object], height: float, title: str = "") -> bytes:
    """Draw on axes of their own, seven inches wide, and give the PNG file.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    figure, stream = Figure(figsize=(7, height), layout="constrained"), BytesIO()
    draw(figure.subplots())
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize="large")
    figure.savefig(stream, dpi=150, format="png")
    return stream.getvalue()


def love_height(result: EffectResult) -> float:
    """Inches that a love plot needs for its covariates."""
    return 1.6 + 0.28 * max(min(len(result.balance), MOST_COVARIATES), 4)


def refutation_height(report: Any) -> float:
    """Inches that the picture of a battery needs for its refuters."""
    return 1.5 + 0.55 * max(len(report.refutations), 3)


def save_plots(result: EffectResult, directory: str | Path, prefix: str = "", title: str = "") -> list[Path]:
    """Write the love plot, the weight plot and the overlap plot as PNG files.

    Parameters
    ----------
    result : EffectResult
        An estimate.
    directory : str or pathlib.Path
        Where to write; made if it does not exist.
    prefix : str
        Put before ``love.png``, ``weights.png`` and ``overlap.png``.
    title : str
        Stands above each picture; none by default.

    Returns
    -------
    list of pathlib.Path
        The three files.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    InputTypeError
        If the result is no estimate, or one of a Dask DataFrame, or the directory is no path.
    OSError
        If the files cannot be written.
    """
    check_estimate(result, None)
    directory = as_path(directory, "the directory")
    pictures = [
        ("love", png(lambda ax: love_plot(result, ax), love_height(result), title)),
        ("weights", png(lambda ax: weight_plot(result, ax), 4.4, title)),
        ("overlap", png(lambda ax: overlap_plot(result, ax), 4.4, title)),
    ]
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, content in pictures:
        paths.append(directory / f"{prefix}{name}.png")
        paths[-1].write_bytes(content)
    return paths
