"""The bundled data: LaLonde's National Supported Work experiment and its observational comparison groups."""

from __future__ import annotations

from importlib.resources import files
from typing import Literal, get_args

import numpy as np
import pandas as pd

from dowhy_cina.errors import InputError

__all__ = ["COVARIATES", "OUTCOME", "TREATMENT", "Comparison", "load_nsw"]

Comparison = Literal["experiment", "psid", "cps"]

COVARIATES = ["age", "education", "black", "hispanic", "married", "nodegree", "re74", "re75"]
TREATMENT = "training"
OUTCOME = "re78"

_TREATED_SAMPLE = 0
_CONTROL_SAMPLE: dict[str, int] = {"experiment": 1, "psid": 2, "cps": 3}


def load_nsw(comparison: Comparison = "experiment") -> pd.DataFrame:
    """Load the NSW job training table with one of its comparison groups.

    The 185 trained men are the same in every table. Against the experiment's own controls the difference in mean
    earnings is an unbiased estimate of the effect of the programme on them; against the survey samples it is biased
    by many thousand dollars, which is what makes these tables a test of an estimator.

    Parameters
    ----------
    comparison : {"experiment", "psid", "cps"}
        Who the untrained men are: the 260 randomised controls, 2,490 men of the Panel Study of Income Dynamics, or
        15,992 men of the Current Population Survey.

    Returns
    -------
    pandas.DataFrame, shape (445 | 2675 | 16177, 10)
        ``training`` (0/1), the covariates ``age`` and ``education`` (years), ``black``, ``hispanic``, ``married``,
        ``nodegree`` (0/1), ``re74`` and ``re75`` (US dollars a year), and the outcome ``re78`` (US dollars a year).

    Raises
    ------
    InputError
        If `comparison` is none of the three.

    References
    ----------
    LaLonde (1986), American Economic Review 76(4); Dehejia and Wahba (1999), Journal of the American Statistical
    Association 94(448). Source and licence of the files: ``dowhy_cina/tables/data/README.md``.
    """
    if comparison not in _CONTROL_SAMPLE:
        raise InputError(
            f"expected comparison to be one of {', '.join(map(repr, get_args(Comparison)))}, got {comparison!r}"
        )
    with files(__package__).joinpath("nsw.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    sample = columns.pop("sample")
    keep = (sample == _TREATED_SAMPLE) | (sample == _CONTROL_SAMPLE[comparison])
    table = {TREATMENT: (sample[keep] == _TREATED_SAMPLE).astype(np.int64)}
    for name in [*COVARIATES, OUTCOME]:
        values = columns[name][keep]
        table[name] = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    return pd.DataFrame(table)
