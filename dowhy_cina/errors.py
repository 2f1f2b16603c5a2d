"""Errors of the package; each message says what was expected, what came and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

#: Letters of a message that are shown: a cell of a table may hold millions.
_LONGEST_MESSAGE, _MESSAGE_END = 2000, 400


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


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Name the nearest known one, in brackets after a space; empty if none is near."""
    by_lower = {str(one).lower(): one for one in known}
    near = difflib.get_close_matches(str(name)[:200].lower(), by_lower, n=1, cutoff=0.5)
    return f" (did you mean {by_lower[near[0]]!r}?)" if near else ""


def first_rows(rows: Sequence[int], limit: int = 5) -> str:
    """Name the first few row positions for a message, "row 3" or "rows 3, 7, 9, ..."."""
    shown = ", ".join(str(int(row)) for row in rows[:limit])
    return ("row " if len(rows) == 1 else "rows ") + shown + (", ..." if len(rows) > limit else "")
