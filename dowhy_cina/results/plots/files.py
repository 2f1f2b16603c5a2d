"""The pictures as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dowhy_cina.results.plots.balance import MOST_COVARIATES, love_plot, overlap_plot, weight_plot
from dowhy_cina.results.plots.style import require_matplotlib

if TYPE_CHECKING:
    from dowhy_cina.results.effect import EffectResult


def save_plots(result: EffectResult, directory: str | Path, prefix: str = "") -> list[Path]:
    """Write the love plot, the weight plot and the overlap plot as PNG files.

    Parameters
    ----------
    result : EffectResult
        An estimate.
    directory : str or pathlib.Path
        Where to write; made if it does not exist.
    prefix : str
        Put before ``love.png``, ``weights.png`` and ``overlap.png``.

    Returns
    -------
    list of pathlib.Path
        The three files.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    OSError
        If the files cannot be written.
    """
    require_matplotlib()
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in [("love", love_plot), ("weights", weight_plot), ("overlap", overlap_plot)]:
        rows = min(len(result.balance), MOST_COVARIATES) if draw is love_plot else 10
        figure = Figure(figsize=(7, 1.6 + 0.28 * max(rows, 4)), layout="constrained")
        draw(result, figure.subplots())
        path = directory / f"{prefix}{name}.png"
        figure.savefig(path, dpi=150)
        paths.append(path)
    return paths
