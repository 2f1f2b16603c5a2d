"""Published benchmark tables, which do not ship with the package, from a folder with their loader."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dowhy_cina.errors import InputError
from dowhy_cina.mathematics.scaling import Array

COLLECTIONS = ("ihdp", "lalonde_psid_realcause", "lalonde_cps_realcause", "acic2016", "acic2017", "twins")


def realisations(folder: Path, name: str) -> Iterator[tuple[Array, Any, Array, dict[str, Any]]]:
    """Realisations of a collection as float64 arrays.

    Parameters
    ----------
    folder : Path
        Holds a ``load.py`` with ``load(name, onehot=True)``, which yields ``(X, T, Y, truth)`` per realisation.
    name : str
        Of the collection.

    Raises
    ------
    InputError
        If the folder has no such file.
    """
    path = Path(folder) / "load.py"
    spec = importlib.util.spec_from_file_location("load", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise InputError(f"expected a load.py in the folder of the published tables, found none in {folder}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for x, t, y, truth in module.load(name, onehot=True):
        yield x.astype(np.float64), t.astype(np.int64), y.astype(np.float64), truth
