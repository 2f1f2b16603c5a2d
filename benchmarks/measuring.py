"""What benchmarks of time share: the machine's load, a yardstick, and slopes.

Times mean something beside others of the same run, on a machine that has nothing else to do: figures are ratios, and
none is written to a file that were measured while others computed.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

#: Times that each figure is the median of.
REPEATS = 5
#: Most cores that other processes may use while this one waits.
MOST_BUSY = 0.15
#: Rows of the matrices whose product is the yardstick.
YARDSTICK_ROWS = 1000


def yardstick() -> float:
    """Seconds of a product of two square matrices in double precision by numpy's BLAS, with this process's threads."""
    matrix = np.random.default_rng(0).normal(size=(YARDSTICK_ROWS, YARDSTICK_ROWS))
    seconds = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))


def busy_cores(seconds: float = 1.0) -> float | None:
    """Cores that are in use while this process waits; None where the system does not say."""
    try:
        start, before = time.perf_counter(), _ticks()
        time.sleep(seconds)
        return (_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.perf_counter() - start)
    except (OSError, AttributeError):  # no /proc
        return None


def _ticks() -> int:
    """Clock ticks that all cores have worked since the system began."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return user + nice + system + sum(interrupts)


class Idleness:
    """Whether a run may write its figures: looked at before it begins, between its parts, and at its end."""

    def __init__(self, *files: Path | None) -> None:
        self.files = [str(path) for path in files if path is not None]
        self._busiest = 0.0
        self.look()
        self.refuse()

    def look(self) -> None:
        """Note how busy others keep the machine now."""
        if self.files:
            self._busiest = max(self._busiest, busy_cores() or 0.0)

    def refuse(self) -> None:
        """Stop if others were seen to keep the machine busy and figures are to be written.

        Raises
        ------
        SystemExit
        """
        if self._busiest > MOST_BUSY:
            raise SystemExit(
                f"the machine is busy: other processes used {self._busiest:.2f} of {os.cpu_count()} cores, at most "
                f"{MOST_BUSY} may be in use. {' and '.join(self.files)} stay as they are: measure again when nothing "
                "else runs, or name no files to look at the figures."
            )


def slopes(sizes: Sequence[float], values: Sequence[float]) -> list[float]:
    """Slope of the logarithm between each size and the one before it; NaN for the first."""
    points = list(zip(map(math.log, sizes), map(math.log, values), strict=True))
    return [math.nan, *((one[1] - two[1]) / (one[0] - two[0]) for one, two in itertools.pairwise(points))]
