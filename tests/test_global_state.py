"""The first estimate of a process leaves the caller's random states, logging, settings and environment as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

#: Every way to an effect in an interpreter that has loaded nothing; DoWhy's import, which draws numbers, is not ours.
CODE = """
import os, sys
from tests.campaigns.fuzzed_paths import PATHS, global_state
from tests.campaigns.fuzzed_tables import Case

assert "sklearn" not in sys.modules and not any(name.startswith("dowhy_cina.calls") for name in sys.modules)
for name, way in PATHS.items():
    if name == "host":
        import dowhy
    before = global_state()
    way(Case(), Case().frame(), {})
    assert global_state() == before, name
# It takes a second, and sets variables of the environment.
assert "torch._dynamo" not in sys.modules and "TORCHINDUCTOR_CACHE_DIR" not in os.environ
print("unchanged")
"""


def test_a_fresh_process():
    root = str(Path(__file__).parents[1])
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE],
        env=environment | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "unchanged\n", found.stderr
