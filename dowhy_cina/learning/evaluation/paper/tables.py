"""Published tables: errors of every method that the paper compares."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from dowhy_cina.learning.evaluation.paper.methods import measure, summarise
from dowhy_cina.learning.evaluation.paper.scale import Scale
from dowhy_cina.learning.evaluation.published import COLLECTIONS, realisations


def published(folder: Path, scale: Scale) -> pd.DataFrame:
    """Errors on published tables, a row for each collection and method; all rows of a table are used.

    Parameters
    ----------
    folder : Path
        As :func:`~dowhy_cina.learning.evaluation.published.realisations` takes it.
    scale : Scale

    Raises
    ------
    InputError
        If it has no loader.
    """
    records: list[dict[str, Any]] = []
    for collection in COLLECTIONS:
        some = itertools.islice(realisations(folder, collection), scale.realisations)
        for number, (x, t, y, truth) in enumerate(tqdm(list(some), desc=collection)):
            for figures in measure(x, t, y, truth["ate"]):
                records.append({"collection": collection, "table": number, **figures})
    return summarise(records, ["collection", "method"])
