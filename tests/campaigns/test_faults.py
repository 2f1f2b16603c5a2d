"""A few of each kind of fault, drawn from a seed; ``make faults`` tries hundreds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parent / "faults.py"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals to groups, and files that may not grow, are POSIX's")
def test_nothing_breaks_it():
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(FAULTS.parents[2])}
    found = subprocess.run([sys.executable, FAULTS, "--quick"], env=environment, capture_output=True, text=True)
    print(found.stdout)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count(" 0 of ") == 9
