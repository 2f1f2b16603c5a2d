"""Errors of the package; each message says what was expected, what came and what to do."""

from __future__ import annotations

import difflib
import os
import reprlib
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path

#: Letters of a message that are shown: a cell of a table may hold millions.
_LONGEST_MESSAGE, _MESSAGE_END = 2000, 400
#: Other words for populations, which are spelled like none.
_MEANT = {"treated": "att", "treatment": "att", "control": "atc", "controls": "atc", "untreated": "atc"}


class CinaError(Exception):
    """Base of every error that the package raises on purpose."""

    def __str__(self) -> str:
        text = super().__str__()
        if len(text) <= _LONGEST_MESSAGE:
            return text
        return f"{text[: _LONGEST_MESSAGE - _MESSAGE_END]} [...] {text[-_MESSAGE_END:]}"


class InputError(CinaError, ValueError):
    """The data have a right type but values that no estimate can be made from."""


class InputTypeError(CinaError, TypeError):
    """The data have a type that the package does not take."""


class CheckpointError(CinaError, ValueError):
    """A checkpoint file is missing, damaged, foreign or of another format version."""


class RunStoppedError(CinaError):
    """A pretraining run was asked to stop and has saved its state."""


class UnknownOptionError(CinaError, TypeError):
    """An option was given that does not exist."""


def check_known(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Refuse names that are not known, naming the nearest one that is.

    Parameters
    ----------
    given
        Names that came from the user.
    known
        Names that exist.
    what
        What the names stand for, in the singular, as it reads in the message ("option of CinaEstimator").

    Raises
    ------
    UnknownOptionError
        If a given name is not known.
    """
    names = list(dict.fromkeys(known))
    unknown = [name for name in dict.fromkeys(given) if name not in names]
    if not unknown:
        return
    parts = [f"{name!r}{did_you_mean(name, names)}" for name in unknown]
    listing = ", ".join(repr(name) for name in sorted(names)) or "none"
    raise UnknownOptionError(f"unknown {what}: {', '.join(parts)}. Known are: {listing}.")


def check_choice(value: object, choices: Sequence[str | None], what: str) -> None:
    """Refuse what is none of a few words, such as an array, which cannot even be compared with them.

    Parameters
    ----------
    value
        What came from the user.
    choices
        The words, and None if it may be left out.
    what
        Name of the argument.

    Raises
    ------
    InputError
        If it is another word.
    InputTypeError
        If it is no word.
    """
    is_word = value is None or isinstance(value, str)
    if is_word and value in choices:
        return
    expected = f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}"
    if not isinstance(value, str):
        raise InputTypeError(f"{what} must be {expected}, got {came(value)}; pass one of these words.")
    near = did_you_mean(value, [choice for choice in choices if choice is not None])
    raise InputError(f"{what} must be {expected}, got {came(value)}{near}.")


def whole_number(value: object, what: str, least: int) -> int:
    """Return a whole number of any type as an int.

    Raises
    ------
    InputError
        If it is below the least.
    InputTypeError
        If it is no whole number.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InputTypeError(f"{what} must be a whole number of at least {least}, got {came(value)}.")
    if value < least:
        raise InputError(f"{what} must be a whole number of at least {least}, got {value}.")
    return int(value)


def as_path(value: object, what: str) -> Path:
    """Return text, or an object that stands for a path, as a path.

    Raises
    ------
    InputTypeError
        If it is neither.
    """
    name = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(name, str):
        raise InputTypeError(f"{what} must be a path, as text or as pathlib.Path, got {came(value)}.")
    return Path(name)


def came(value: object) -> str:
    """What came, for a message: a short value itself, of anything else its type."""
    if value is None or isinstance(value, str | int | float):
        return reprlib.repr(value)
    return f"an object of type {type(value).__name__}"


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Name the nearest known one, in brackets after a space; empty if none is near."""
    by_lower = {str(one).lower(): one for one in known}
    meant = _MEANT.get(str(name).lower())
    if meant in by_lower:
        return f" (did you mean {by_lower[meant]!r}?)"
    near = difflib.get_close_matches(str(name)[:200].lower(), by_lower, n=1, cutoff=0.5)
    return f" (did you mean {by_lower[near[0]]!r}?)" if near else ""


def first_rows(rows: Sequence[int], limit: int = 5) -> str:
    """Name the first few row positions for a message, "row 3" or "rows 3, 7, 9, ..."."""
    shown = ", ".join(str(int(row)) for row in rows[:limit])
    return ("row " if len(rows) == 1 else "rows ") + shown + (", ..." if len(rows) > limit else "")
