"""What whoever reads a result should know of how its covariates were read.

Letters: N rows, D columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from dowhy_cina.tables.sentinels import shortest
from dowhy_cina.tables.words import WITH_UNIT, Wording

#: Levels up to which labels are taken to be meant as such.
PLAIN_LEVELS = 20
#: Levels, as a share of the rows, from which most may be numbers or dates, if they read like these, or names of rows.
#: Levels from which rows of one may be matched are more than another share.
NUMBER_SHARE, NAME_SHARE, PAIR_SHARE = 0.1, 0.5, 0.2
#: Columns that a remark names, and characters of a name or word.
MOST_NAMED, MOST_CHARACTERS = 8, 60
_DATE = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"


def _listed(texts: Iterable[str], between: str = " and ") -> str:
    """The first of some texts, and how many more there are."""
    found = list(texts)
    more = [f"{len(found) - MOST_NAMED:,} more"] if len(found) > MOST_NAMED else []
    return between.join([*found[:MOST_NAMED], *more])


def _quoted(name: Any) -> str:
    """A name or word in quotation marks, cut where it is long."""
    text = str(name)
    return repr(text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "...")


def constant_remark(names: Iterable[str]) -> tuple[str, ...]:
    """Say which covariates cannot be adjusted for."""
    listed = _listed(map(_quoted, names), ", ")
    return (f"Not adjusted for, since constant or empty: {listed}.",) if listed else ()


def outcome_remark(varies: bool) -> tuple[str, ...]:
    """Say what a constant outcome means."""
    if varies:
        return ()
    return ("The outcome is constant: nothing tells how far another sample's effect would be from zero.",)


def unseen_noise_remark(rows: tuple[int, int], varies: tuple[bool, bool]) -> tuple[str, ...]:
    """Say which arm's noise cannot be seen, given the rows of the control and of the treated arm, of two or more."""
    arms = ("control", "treated")
    return tuple(
        f"All {rows[arm]:,} {arms[arm]} rows have the same outcome, the {arms[1 - arm]} rows have not: how far chance "
        "moves that arm cannot be seen, and its noise is taken to be the other's. Of rare events it takes more rows."
        for arm in (0, 1)
        if rows[arm] > 1 and not varies[arm] and varies[1 - arm]
    )


def outcome_sentinels_remark(found: Iterable[tuple[float, int]]) -> tuple[str, ...]:
    """Say which numbers of the outcome may stand for missing ones, and in how many rows."""
    kinds = _listed(f"{shortest(value)} in {rows:,} rows" for value, rows in found)
    if not kinds:
        return ()
    return (
        f"The outcome is {kinds}, far from all its other numbers. If that stands for a missing one, leave these rows "
        "out: they count as any other.",
    )


def telling_remark(names: Sequence[str], told: float | None) -> tuple[str, ...]:
    """Say which covariates may be the outcome itself, and what share of its variance all tell if it is so much."""
    if not names and told is None:
        return ()
    whence = f"{' and '.join(map(repr, names))} alone" if names else "the covariates"
    share = "" if told is None else f" ({100 * told:.5g} % of their variance)"
    return (
        f"Outcomes can be told from {whence} all but exactly{share}. A copy of the outcome, or what follows from it or "
        "was measured after treatment, leaves no effect to be found: if there is one, leave it out.",
    )


def copied_treatment_remark(names: Iterable[str]) -> tuple[str, ...]:
    """Say which covariates tell who is treated."""
    listed = _listed(map(_quoted, names))
    if not listed:
        return ()
    return (
        f"Who is treated can be told from {listed}: a copy of the treatment, what follows from it, or the rule by "
        "which it was given. Leave a copy out; of such a rule no row has a counterpart.",
    )


def codes_remark(found: Iterable[tuple[str, int]], taken_for_labels: bool) -> tuple[str, ...]:
    """Say which numbers look like codes, of how many values, and what became of them."""
    kinds = _listed(f"{_quoted(name)} ({values} values)" for name, values in found)
    if not kinds:
        return ()
    why = "how often rows are treated differs from value to value by more than curves could"
    if taken_for_labels:
        return (f"Taken for labels, not for numbers, since {why}: {kinds}. Make such columns text to say so.",)
    return (
        f"Numbers of {kinds} may be codes, such as of places, since {why}: make such columns text (of more than 1,000 "
        "values group them), or they are not adjusted for well.",
    )


def sentinels_remark(found: Iterable[tuple[str, float]]) -> tuple[str, ...]:
    """Say which numbers of covariates were taken for something else than a number."""
    kinds = _listed(f"{shortest(value)} in {_quoted(name)}" for name, value in found)
    if not kinds:
        return ()
    return (
        f"Taken for missing, each with an indicator of its own, since far from all other numbers: {kinds}. If one is a "
        "number, bring it nearer, for example by a logarithm.",
    )


def far_remark(found: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """Say of which covariates numbers were cut, and how many."""
    kinds = _listed(f"{rows:,} in {_quoted(name)}" for name, rows in found)
    if not kinds:
        return ()
    return (
        f"Numbers more than a hundred interquartile ranges away were cut there: {kinds}. If these are no errors, bring "
        "them nearer, for example by a logarithm.",
    )


def words_remark(found: Iterable[tuple[str, Wording]]) -> tuple[str, ...]:
    """Say which texts were taken for numbers, which words of theirs for missing ones, and which commas for points."""
    kinds = _listed(_quoted(name) + _read_as(wording) for name, wording in found)
    if not kinds:
        return ()
    return (f"Taken for numbers, though text, since most are numbers and no codes: {kinds}.",)


def _read_as(wording: Wording) -> str:
    """What is special about how a column has its numbers, in brackets."""
    said = ["a comma before decimals"] if wording.mark == "," else []
    said += [f"in {_quoted(wording.unit)}"] if wording.unit else []
    said += [f"{', '.join(map(_quoted, wording.words[:5]))} for missing"] if wording.words else []
    return f" ({'; '.join(said)})" if said else ""


def lacking_remark(arm: str, other: str, found: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """Say which kinds of rows one arm lacks, by which covariate, and how many of the other arm's are such."""
    kinds = _listed(f"{rows:,} {other} rows in {_quoted(name)}" for name, rows in found)
    if not kinds:
        return ()
    return (
        f"No {arm} row is like {kinds}: what the answer says of such rows is what it says of others, and rests on the "
        f"{other} rows alone. Leave them out, or look at whether they may differ.",
    )


def labels_remark(name: str, levels: tuple[Any, ...], rows: int, clustered: bool = False) -> tuple[str, ...]:
    """Say where labels look like something else, and what to do.

    Parameters
    ----------
    name : str
        Of the covariate.
    levels : tuple
        That occur; None stands for missing.
    rows : int
        Of the table.
    clustered : bool
        Whether it has clusters.

    Returns
    -------
    tuple of str
        Empty where nothing is odd.
    """
    text = pd.Series([str(level) for level in levels if level is not None], dtype=object)
    if len(text) <= max(PLAIN_LEVELS, NUMBER_SHARE * rows):
        return ()
    if pd.to_numeric(text.str.replace(",", ""), errors="coerce").notna().mean() > 0.5:
        kind, remedy = "numbers written as text", "Convert it, for example with pandas.to_numeric and errors='coerce'."
    elif text.str.match(_DATE).mean() > 0.5:
        kind, remedy = "dates written as text", "Turn dates into numbers, for example days since the first one."
    elif len(text) > NAME_SHARE * rows:
        kind, remedy = "labels of which most occur once", "If they name rows, leave it out; if not, group its levels."
        if text.str.fullmatch(rf"\s*{WITH_UNIT}\s*").mean() > 0.5:
            remedy += " Numbers with units: give them in one unit, the same behind each, or as plain numbers."
    elif len(text) > PAIR_SHARE * rows and not clustered:
        levelled = f"The covariate {_quoted(name)} has {len(levels):,} levels in {rows:,} rows."
        return (
            f"{levelled} If rows of one are matched, as in pairs, name it with cluster=, too, for a narrow interval.",
        )
    else:
        return ()
    held = f"The covariate {_quoted(name)} holds {kind}: each of {len(levels)} levels is an indicator of its own."
    return (f"{held} {remedy}",)
