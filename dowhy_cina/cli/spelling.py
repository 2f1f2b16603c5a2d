"""Options as the command line spells them: advice that names Python's keywords, turned into options."""

from __future__ import annotations

import re
import shlex

#: Options that are called differently than the keyword, and keywords that no other word is.
_RENAMED = {"target_units": "--target", "random_state": "--seed", "n_jobs": "--jobs"}
_KEYWORDS = ("treatment_value", "control_value", "sample_weight", "memory_limit", "confidence_level")
#: Ordinary words, which are options only where a value is set.
_WORDS = ("augmentation", "checkpoint", "cluster", "device", "landmarks", "refine", "refuters", "simulations")

_OPTION = {**{name: f"--{name.replace('_', '-')}" for name in (*_KEYWORDS, *_WORDS)}, **_RENAMED}
_SET = re.compile(rf"\b({'|'.join(_OPTION)})=('[^']*'|\"[^\"]*\"|[\w+-]+(?:\.\w+)*)")
_NAMED = re.compile(rf"(?<![\w-])({'|'.join((*_KEYWORDS, *_RENAMED))})\b")


def in_options(text: str) -> str:
    """Spell what a message says of keywords as options: ``refine=1e-3`` as ``--refine 1e-3``."""
    text = _SET.sub(lambda found: f"{_OPTION[found[1]]} {shlex.quote(found[2].strip(chr(39) + chr(34)))}", text)
    text = _NAMED.sub(lambda found: _OPTION[found[1]], text)
    return re.sub(r"\b([Ll])eave (\S+) at None", r"\1eave \2 out", text)
