"""Fuzzed tables through every way to an effect: each ends in finite numbers or in an error of the package.

    python -m tests.campaigns.fuzz [--seconds 120] [--seed 0] [--paths direct dask] [--rounds 1]

Beside that nothing changes: the caller's table, the global random states, numpy's and torch's settings; JSON is strict,
and numpy does not warn. Prints the tables of each path, how many were answered and refused, and of each failure the
smallest table that hypothesis found. Exit code 1 if there is any.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter

import dowhy  # noqa: F401  Its import draws from Python's own numbers.
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.campaigns.fuzzed_paths import PATHS, check
from tests.campaigns.fuzzed_tables import Case, cases


class Campaign:
    """Counts of tables by path and how they ended, and the smallest case of each failure.

    Parameters
    ----------
    first_seed : int
    seconds : float
        After which no table is begun.
    size : int
        Tables of a path in a round; each round has a seed of its own.
    """

    def __init__(self, first_seed: int, seconds: float, size: int = 25) -> None:
        self.seed, self.until, self.size = first_seed, time.monotonic() + seconds, size
        self.counts: Counter[tuple[str, str]] = Counter()
        self.failures: dict[tuple[str, str, str], tuple[Case, str]] = {}

    def run(self, path: str, number: int) -> None:
        """Draw the tables of a round; a failure that is known already is not shrunk again."""
        found: list[tuple[tuple[str, str, str], Case, str]] = []

        @seed(10_000 * self.seed + 10 * number + list(PATHS).index(path))
        @settings(
            max_examples=self.size,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
            print_blob=False,
        )
        @given(cases())
        def one(case: Case) -> None:
            if time.monotonic() > self.until and not found:
                return
            try:
                ending = "answered" if check(case, path) else "refused"
            except Exception as error:
                kind = (path, type(error).__name__, _place(error))
                if kind in self.failures:
                    return
                found.append((kind, case, traceback.format_exc(limit=-6)))
                raise
            if not found:
                self.counts[path, ending] += 1

        try:
            one()
        except Exception:
            if not found:
                raise
            kind, case, text = found[-1]  # hypothesis ends with the smallest
            self.failures[kind] = (case, text)
            self.counts[path, "failed"] += 1
            print(f"\n{path}: {kind[1]} in {kind[2]}\n    check({case!r}, {path!r})\n{text}", flush=True)

    def report(self) -> str:
        """Table of the counts."""
        endings = ("answered", "refused", "failed")
        lines = [f"{'path':10s}" + "".join(f"{ending:>10s}" for ending in endings)]
        for path in sorted({path for path, _ in self.counts}):
            lines.append(f"{path:10s}" + "".join(f"{self.counts[path, ending]:>10d}" for ending in endings))
        return "\n".join([*lines, f"{sum(self.counts.values())} tables, {len(self.failures)} failures"])


def _place(error: Exception) -> str:
    """Deepest function of the package, or of the campaign, that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "dowhy_cina" in f.filename.rsplit("/tests/", 1)[0].rsplit("site-packages", 1)[-1]]
    frame = (own or frames)[-1]
    return f"{frame.filename.rsplit('/', 1)[-1]}:{frame.name}:{frame.lineno}"


def main() -> int:
    """Run until the time is over, or for a number of rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--paths", nargs="+", choices=sorted(PATHS), default=list(PATHS))
    parser.add_argument("--rounds", type=int, default=10**6)
    arguments = parser.parse_args()
    campaign = Campaign(arguments.seed, arguments.seconds)
    for number in range(arguments.rounds):
        if time.monotonic() > campaign.until:
            break
        for path in arguments.paths:
            if time.monotonic() < campaign.until:
                campaign.run(path, number)
    print(campaign.report())
    return int(bool(campaign.failures))


if __name__ == "__main__":
    sys.exit(main())
