"""What a search has found in an analysed table, in words and in the covariates' own units.

Letters: D covariates, R columns of labels, K differences, S steps.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd

from dowhy_cina.model.sharing import ArmRegression
from dowhy_cina.searches.added import Additions
from dowhy_cina.searches.steps import Steps
from dowhy_cina.searches.waves import Waves
from dowhy_cina.tables import Preprocessor
from dowhy_cina.tables.remarks import lacking_remark

#: Columns of the table of steps.
_COLUMNS: dict[str, type] = {
    "covariate": object,
    "threshold": float,
    "other": object,
    "other_threshold": float,
    "share": float,
}
#: What the index is called.
INDEX_NAME = "index of all covariates by which the treatment goes"
#: Covariates of a group of waves that are named.
SHOWN_NAMES = 3


def readable(added: Additions | None, preprocessor: Preprocessor) -> dict[str, Any]:
    """What a result says of additions to its table: fields of that name."""
    return {
        "labels": readable_labels(added, preprocessor),
        "differences": readable_differences(added, preprocessor),
        "steps": readable_steps(added, preprocessor),
        "waves": readable_waves(added, preprocessor),
    }


def lacking_kinds(regressions: Sequence[ArmRegression], names: Sequence[str]) -> tuple[str, ...]:
    """Warn of the kinds of rows that an arm of one table lacks, by the covariates of these names."""
    arms, remarks = ("control", "treated"), tuple[str, ...]()
    for arm, regression in enumerate(regressions):
        if regression.borrowed is not None:
            rows = zip(names, regression.borrowed.lacking.rows[0].tolist(), strict=False)
            remarks += lacking_remark(arms[arm], arms[1 - arm], [(name, int(count)) for name, count in rows if count])
    return remarks


def readable_labels(added: Additions | None, preprocessor: Preprocessor) -> tuple[str, ...]:
    """Columns of one table's labels as a result shows them: the label, and the covariate along which it has slopes."""
    if added is None or added.labels is None:
        return ()
    labels, names = added.labels, preprocessor.names_out
    told = []
    for along, members in zip(labels.along[0].tolist(), labels.members[0], strict=True):
        label = _label_name([names[column] for column in members.nonzero()[:, 0].tolist()])
        told.append(label if along < 0 else f"{label} along {names[along]}")
    return tuple(told)


def _label_name(names: Sequence[str]) -> str:
    """What indicators of a label's levels are called together: what their names begin with, up to a separator."""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in same)
    end = max(common.rfind(separator) for separator in "=_.")
    return f"{common[:end]} ({len(names)} levels)" if end > 0 else f"{names[0]} and {len(names) - 1} others"


def readable_differences(added: Additions | None, preprocessor: Preprocessor) -> tuple[str, ...]:
    """Differences of one table as a result shows them: of two covariates in their standard deviations."""
    if added is None or added.differences is None:
        return ()
    pairs, names = added.differences.columns[0].tolist(), preprocessor.names_out
    told = []
    for (first, second), sign in zip(pairs, added.differences.signs[0].tolist(), strict=True):
        # Columns point one way, covariates perhaps another.
        pointing = preprocessor.in_own_units(np.array([first, second]), np.zeros(2))[1]
        told.append(f"{names[first]} {'less' if sign * pointing.prod() > 0 else 'plus'} {names[second]}")
    return tuple(told)


def _names(added: Additions, preprocessor: Preprocessor) -> list[str]:
    """Names of the columns that steps and waves are made of."""
    labels, differences = (told(added, preprocessor) for told in (readable_labels, readable_differences))
    return [*preprocessor.names_out, *labels, *differences, *([] if added.index is None else [INDEX_NAME])]


def readable_waves(added: Additions | None, preprocessor: Preprocessor) -> tuple[str, ...]:
    """Covariates along which outcomes go up and down, as a result shows them: alone, "one and another", or a few more.

    Of many that only bend together the first are named; of cycles the length, in steps of the covariate, is. Of one
    beside columns of two values, which have no ups and downs, these are what it differs by, in order of their names.
    """
    if added is None or added.waves is None:
        return ()
    told, names = [], _names(added, preprocessor)
    for members, (columns, length) in zip(added.waves.members, added.waves.groups, strict=True):
        along = _divided(added.waves, members)
        if along is None:
            text = _listed([names[column] for column in columns], SHOWN_NAMES)
        else:
            others = sorted(names[column] for column in columns if column != along)
            text = f"{names[along]}, differently by {_listed(others, SHOWN_NAMES - 1)}"
        told.append(f"{text} in cycles of {length}" if length else text)
    return tuple(told)


def _divided(waves: Waves, members: Sequence[int]) -> int | None:
    """The one covariate whose half waves a group has beside each of some columns of two values; None of other groups.

    Those have half a wave each, where both covariates of a pair have up to as many.
    """
    factors, orders = waves.factors[0, members], waves.orders[0, members]
    beside = bool((factors[:, 1] >= 0).all() and (orders[:, 1] == 1).all() and orders[:, 0].max() > 1)
    return int(waves.places[0, factors[0, 0]]) if beside else None


def _listed(names: Sequence[str], most: int) -> str:
    """The first few names, and how many more there are."""
    rest = len(names) - most
    return f"{', '.join(names[:most])} and {rest} more" if rest > 0 else " and ".join(names)


def readable_steps(added: Additions | None, preprocessor: Preprocessor) -> pd.DataFrame:
    """Steps of one table as a result shows them.

    Parameters
    ----------
    added : Additions, optional
        To one table; None where nothing was found.
    preprocessor : Preprocessor
        What encoded the table's D covariates.

    Returns
    -------
    DataFrame, S rows
        The strongest first, indexed by what each says; ``covariate`` and ``threshold``, ``other`` and
        ``other_threshold`` (None and NaN of a step of one covariate), and ``share``: of the rows that lie above, or on
        the same side of both. Rows between two thresholds, where none divides them as it should, count by half.
        Thresholds of a difference, of a label's column and of the index are in standard deviations from the mean.
    """
    if added is None or added.steps is None:
        return _no_steps().copy()
    return _frame([_readable(added, added.steps, place, preprocessor) for place in range(added.steps.count)])


@functools.cache
def _no_steps() -> pd.DataFrame:
    """What most tables have: a copy takes a fraction of the time."""
    return _frame([])


def _frame(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """Steps as :func:`_readable` says them, in a table."""
    # Each column with its type at once: frames that change types take longer than the search itself.
    columns: dict[str, Any] = {
        name: np.array([row[place] for row in rows], dtype=kind)
        for place, (name, kind) in enumerate(_COLUMNS.items(), start=1)
    }
    return pd.DataFrame(columns, index=pd.Index([row[0] for row in rows], dtype=object, name="step"))


def _readable(
    added: Additions, steps: Steps, place: int, preprocessor: Preprocessor
) -> tuple[str, str, float, str | None, float, float]:
    """A step's words, its covariates with their thresholds, and a share of the rows."""
    used = steps.columns[0, place].cpu().numpy()
    used = used[used >= 0]
    thresholds, signs = ((steps.lower + steps.upper)[0, place, : len(used)] / 2).cpu().numpy(), np.ones(len(used))
    own = used < len(preprocessor.names_out)
    thresholds[own], signs[own] = preprocessor.in_own_units(used[own], thresholds[own])
    names = [_names(added, preprocessor)[column] for column in used]
    # The mean of a sign, or of a product of two, is how much more rows lie above than below.
    share = (1 + float(steps.centre[0, place]) * float(np.prod(signs))) / 2
    if len(names) == 1:
        return f"{names[0]} above {thresholds[0]:.5g}", names[0], float(thresholds[0]), None, np.nan, share
    sides = " and ".join(f"{threshold:.5g}" for threshold in thresholds)
    text = f"{names[0]} and {names[1]} on the same side of {sides}"
    return text, names[0], float(thresholds[0]), names[1], float(thresholds[1]), share
