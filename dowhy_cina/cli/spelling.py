"""Options as the command line spells them: advice that names Python's keywords, turned into options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

#: Options that are called differently than the keyword, and keywords that no other word is.
_RENAMED = {"target_units": "--target", "random_state": "--seed", "n_jobs": "--jobs"}
_KEYWORDS = ("treatment_value", "control_value", "sample_weight", "memory_limit", "confidence_level")
#: Ordinary words, which are options only where a value is set.
_WORDS = ("augmentation", "checkpoint", "cluster", "device", "landmarks", "refine", "refuters", "simulations")

_OPTION = {**{name: f"--{name.replace('_', '-')}" for name in (*_KEYWORDS, *_WORDS)}, **_RENAMED}
#: What is the user's: text in quotes that do not belong to a value.
_QUOTED = r"(?<![\w=])(?:'[^']*'|\"[^\"]*\")"
#: A value that advice sets: a number, or text in quotes.
_SET = rf"\b(?P<set>{'|'.join(_OPTION)})=(?P<value>'[^']*'|\"[^\"]*\"|\d[\w+-]*(?:\.\w+)*)"
#: A keyword by itself, in no path.
_NAMED = rf"(?<![\w./\\-])(?P<named>{'|'.join((*_KEYWORDS, *_RENAMED))})(?!\w|[./\\-]\w)"


def in_options(text: str, own: Iterable[str] = ()) -> str:
    """Spell what a message says of keywords as options: ``refine=1e-3`` as ``--refine 1e-3``.

    Parameters
    ----------
    text
        What the package says.
    own
        Names of the user's columns, which stay as they are; so does what stands in quotes.
    """
    taken = [re.escape(name) for name in own if any(word in name for word in _OPTION)]
    kept = "|".join([*(rf"(?<!\w){name}(?!\w)" for name in taken), _QUOTED])
    text = re.sub(rf"{kept}|{_SET}|{_NAMED}", _spelled, text)
    return re.sub(r"\b([Ll])eave (--\S+) at None", r"\1eave \2 out", text)


def _spelled(found: re.Match[str]) -> str:
    if found["set"]:
        return f"{_OPTION[found['set']]} {shlex.quote(found['value'].strip(chr(39) + chr(34)))}"
    return _OPTION[found["named"]] if found["named"] else found[0]
