"""Plugin of pytest: tests of ours that are known to fail with the newest releases of other packages.

``newest.toml`` beside it says which and why. They run, and one that passes is an error: its line can go.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from named_tests import with_reasons

NAMES = Path(__file__).with_name("newest.toml")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item, reason in with_reasons(NAMES, items, config):
        if reason:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
