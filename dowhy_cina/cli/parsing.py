"""How arguments are read and refused: types with bounds, and an error on one line that names what was meant."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from dowhy_cina.errors import did_you_mean


class Parser(argparse.ArgumentParser):
    """argparse's parser with refusals on one line."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is left over here, where the options of the command are known."""
        known, rest = super().parse_known_args(args, namespace)
        if rest:
            unknown = [text for text in rest if text.startswith("-")] or rest
            named = [f"{text}{did_you_mean(text.split('=')[0], self._options())}" for text in unknown]
            self.error(f"unknown argument: {', '.join(named)}")
        return known, rest

    def error(self, message: str) -> NoReturn:
        """End the process with code 2 and one line."""
        chosen = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message, re.DOTALL)
        if chosen:
            message += did_you_mean(chosen[1], re.findall(r"[\w-]+", chosen[2]))
        line = " ".join(message.split())
        self.exit(2, f"{self.prog}: error: {line} ({self.prog} --help says what there is)\n")

    def _options(self) -> list[str]:
        return [name for action in self._actions for name in action.option_strings]


def whole(least: int) -> Callable[[str], int]:
    """Type of a whole number of at least so much."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or value > 2**63 - 1:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text!r}")
        return value

    return read


def share(text: str) -> float:
    """Type of a number between 0 and 1, neither included.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return value


def names(text: str) -> list[str]:
    """Names between commas, without those around them that are empty, each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def whole_numbers(text: str, least: int) -> list[int]:
    """Whole numbers between commas, ``1e4`` among them; empty if one is none, below the least or above a billion."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        return []
    sound = all(value.is_integer() and least <= value <= 1e9 for value in values)
    return [int(value) for value in values] if sound else []
