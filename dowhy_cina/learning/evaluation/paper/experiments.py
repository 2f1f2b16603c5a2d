"""Run every experiment and write what it found."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from dowhy_cina.learning.evaluation.paper.claims import claims
from dowhy_cina.learning.evaluation.paper.designs import LINEAR
from dowhy_cina.learning.evaluation.paper.figures import FIGURES
from dowhy_cina.learning.evaluation.paper.many import train_all, training_curve, transfer
from dowhy_cina.learning.evaluation.paper.methods import measure
from dowhy_cina.learning.evaluation.paper.scale import FULL, Scale
from dowhy_cina.learning.evaluation.paper.single import duality, single_tables
from dowhy_cina.learning.evaluation.paper.tables import published
from dowhy_cina.learning.evaluation.published import COLLECTIONS, realisations
from dowhy_cina.mathematics.devices import one_thread_each
from dowhy_cina.results.plots.style import require_matplotlib

PACKAGES = ("dowhy-cina", "torch", "numpy", "scikit-learn", "lightgbm", "matplotlib")


def run(output: Path, *, scale: Scale = FULL, data: Path | None = None) -> dict[str, pd.DataFrame]:
    """Run the experiments and write ``NAME.csv`` and ``NAME.png`` of each, ``claims.csv`` and ``versions.json``.

    Everything computes on one core; nothing is tuned, and the seeds are fixed.

    Parameters
    ----------
    output : Path
        Folder; made if it does not exist.
    scale : Scale
        ``FULL`` or ``QUICK``.
    data : Path, optional
        Folder of published tables with their ``load.py``; without one they are left out.

    Returns
    -------
    dict
        The tables by their names.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    InputError
        If ``data`` has no loader.
    """
    require_matplotlib()
    if data is not None:
        next(realisations(data, COLLECTIONS[0]))  # refused now, not after everything else
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    versions, found = _versions(scale), {}
    began, processor = time.monotonic(), time.process_time()
    with one_thread_each():
        first = next(LINEAR.tables(1, scale.seed, 100))
        measure(first.covariates, first.treatment, first.outcome, 0.0)  # whatever is imported at first use
        for name, table in _experiments(scale, data):
            found[name] = table
            table.to_csv(output / f"{name}.csv", index=False, float_format="%.3g")
            draw(output, name, table, versions)
            found["claims"] = claims(found)
            found["claims"].to_csv(output / "claims.csv", index=False, float_format="%.3g")
            took = {"seconds": time.monotonic() - began, "processor_seconds": time.process_time() - processor}
            whole = (
                versions
                | {key: round(value) for key, value in took.items()}
                | {"experiments": [key for key in found if key != "claims"]}
            )
            (output / "versions.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return found


def _experiments(scale: Scale, data: Path | None) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "duality", duality(scale)
    models = train_all(scale)
    yield "training", training_curve(models, scale)
    yield "transfer", transfer(models, scale)
    errors, seconds = single_tables(scale)
    yield "single", errors
    yield "seconds", seconds
    if data is not None:
        yield "published", published(data, scale)


def draw(output: Path, name: str, table: pd.DataFrame, versions: dict[str, Any]) -> None:
    """Write the figure of an experiment, with the versions on it."""
    from matplotlib import pyplot

    figure = FIGURES[name](table)
    line = ", ".join(f"{package} {versions[package]}" for package in ("dowhy-cina", "torch", "numpy", "scikit-learn"))
    figure.text(0.005, 0.005, f"{line}; seed {versions['scale']['seed']}", fontsize=5, color="0.5")
    figure.savefig(output / f"{name}.png", dpi=110, metadata={"Software": line})
    pyplot.close(figure)


def _versions(scale: Scale) -> dict[str, Any]:
    versions: dict[str, Any] = {"python": sys.version.split()[0], "machine": platform.machine()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions | {"scale": dataclasses.asdict(scale)}
