"""Tests that a TOML file names by reason: ``"reason" = ["file.py::test_*"]``. A name that no test has is an error."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib


def with_reasons(path: Path, items: list[pytest.Item], config: pytest.Config) -> Iterator[tuple[pytest.Item, str]]:
    """Pair each test with the first reason it is named under, "" if there is none."""
    reasons = tomllib.loads(path.read_text(encoding="utf-8"))
    unused = {pattern for patterns in reasons.values() for pattern in patterns}
    pairs = []
    for item in items:
        name = item.nodeid.removeprefix("tests/")
        for reason, patterns in reasons.items():
            matching = [pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))]
            unused.difference_update(matching)
            if matching:
                pairs.append((item, reason))
                break
        else:
            pairs.append((item, ""))
    if unused and not config.option.keyword:
        raise pytest.UsageError(f"{path.name} names tests that do not exist: {sorted(unused)}")
    return iter(pairs)
