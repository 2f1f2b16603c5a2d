"""Seconds of a whole session with DoWhy, from the first import to the last figure.

    python benchmarks/session.py [--rows 1000] [--covariates 10] [--simulations 100]

A graph, the effect on everybody and on the treated with intervals and p-values, the battery of five refuters, and three
figures on disk. Run it in a fresh process: imports count.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

START = time.perf_counter()


def main() -> None:
    """Print the seconds of each step, and of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--covariates", type=int, default=10)
    parser.add_argument("--simulations", type=int, default=100)
    arguments = parser.parse_args()
    marks = [("", time.perf_counter())]

    def done(what: str) -> None:
        marks.append((what, time.perf_counter()))
        print(f"{what:40s} {marks[-1][1] - marks[-2][1]:6.2f} s", flush=True)

    import matplotlib

    matplotlib.use("Agg")
    import logging
    import warnings

    from refutation import REFUTERS, draw

    import dowhy_cina
    from dowhy_cina import plots

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    model, estimand = draw(arguments.rows, arguments.covariates, seed=0)
    done("import, table, graph, estimand")
    for target in ("att", "ate"):
        estimate = model.estimate_effect(
            estimand, method_name="backdoor.cina", target_units=target, confidence_intervals=True
        )
        estimate.get_confidence_intervals()
        estimate.test_stat_significance()
        done(f"{target} with interval and p-value")
    report = dowhy_cina.refute(
        model, estimand, estimate, refuters=list(REFUTERS), simulations=arguments.simulations, progress=False
    )
    done(f"five refuters, {arguments.simulations} refits each")
    result = estimate.cina_result
    with tempfile.TemporaryDirectory() as folder:
        for name, axes in (
            ("refutation", report.plot()),
            ("love", plots.love_plot(result)),
            ("overlap", plots.overlap_plot(result)),
        ):
            axes.figure.savefig(Path(folder) / f"{name}.png")
    done("three figures")
    print(f"{'all':40s} {time.perf_counter() - START:6.2f} s")


if __name__ == "__main__":
    main()
