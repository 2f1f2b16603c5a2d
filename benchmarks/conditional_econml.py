"""Conditional effects by EconML, in an interpreter that has it: run by ``benchmarks/conditional.py``.

    PYTHON benchmarks/conditional_econml.py --measure METHOD FOLDER

The causal forest and the DR-learner are EconML's defaults, nuisances included; the DR-learner's final model is linear.
NonParamDML, which has no default final model, has scikit-learn's boosted trees in default settings throughout. On the
first realisation of each collection the forest is better so on all four, NonParamDML on three.
For each ``.npz`` of FOLDER with training rows x, t, y and test rows ``at`` a file in ``FOLDER/METHOD`` gets the
effects and their 95 % intervals, where the method has any; the seconds of each are printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np


def causal_forest() -> Any:
    """Causal forest on residuals."""
    from econml.dml import CausalForestDML

    return CausalForestDML(discrete_treatment=True, n_jobs=1, random_state=0)


def nonparametric() -> Any:
    """Weighted boosted trees on residuals."""
    from econml.dml import NonParamDML
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    return NonParamDML(
        model_y=HistGradientBoostingRegressor(random_state=0),
        model_t=HistGradientBoostingClassifier(random_state=0),
        model_final=HistGradientBoostingRegressor(random_state=0),
        discrete_treatment=True,
        random_state=0,
    )


def doubly_robust() -> Any:
    """Linear regression of doubly robust scores."""
    from econml.dr import DRLearner

    return DRLearner(random_state=0)


METHODS = {"CausalForestDML": causal_forest, "NonParamDML": nonparametric, "DRLearner": doubly_robust}


def measure(method: str, folder: Path) -> dict[str, float]:
    """Estimate every table of the folder; seconds by file name."""
    make, seconds = METHODS[method], {}
    (folder / method).mkdir()
    make()  # imports are not timed
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as table:
            x, t, y, at = (table[name] for name in ("x", "t", "y", "at"))
        began = time.perf_counter()
        model = make().fit(y, t, X=x)
        found = {"effects": model.effect(at)}
        if method != "NonParamDML":
            found["lower"], found["upper"] = model.effect_interval(at, alpha=0.05)
        seconds[path.name] = time.perf_counter() - began
        np.savez(folder / method / path.name, **found)
    return seconds


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", nargs=2, metavar=("METHOD", "FOLDER"), required=True)
    method, folder = parser.parse_args().measure
    warnings.simplefilter("ignore")
    seconds = measure(method, Path(folder))
    sys.stdout.write(json.dumps(seconds) + "\n")


if __name__ == "__main__":
    main()
