"""The patch that the docs propose to DoWhy does what they say, on the release that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATCH = ROOT / "docs" / "dowhy-entry-points.patch"

CODE = """
import sys
from pathlib import Path
import numpy, pandas
from dowhy import CausalModel, causal_estimators

exec(Path(sys.argv[1]).read_text(), vars(causal_estimators))
x = numpy.random.default_rng(0).normal(size=(60, 2))
table = pandas.DataFrame({"x": x[:, 0], "t": (x.sum(1) > 0).astype(int), "y": x[:, 1]})
model = CausalModel(table, "t", "y", common_causes=["x"])
estimand = model.identify_effect()
print("dowhy_cina" in sys.modules)
params = {"init_params": {"augmentation": "none"}}
print(type(model.estimate_effect(estimand, method_name="backdoor.cina", method_params=params).estimator).__name__)
print(causal_estimators.get_class_object("linear_regression_estimator").__name__)
for name in ("unknown", "broken", "wrong"):
    try:
        model.estimate_effect(estimand, method_name=f"backdoor.{name}")
    except (ImportError, TypeError) as error:
        print(type(error).__name__, error)
"""
ENTRY_POINTS = """
[dowhy.causal_estimators]
cina = dowhy_cina:CinaEstimator
linear_regression = dowhy_cina:CinaEstimator
broken = dowhy_cina.missing:Estimator
wrong = dowhy_cina:estimate_effect
"""


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs the command patch")
def test_a_plugin_is_found_by_its_entry_point(tmp_path):
    package = Path(find_spec("dowhy").origin).parent
    target = tmp_path / "dowhy" / "causal_estimators" / "__init__.py"
    target.parent.mkdir(parents=True)
    shutil.copy(package / "causal_estimators" / "__init__.py", target)
    subprocess.run(["patch", "-p1", "--fuzz=0", "--input", str(PATCH)], cwd=tmp_path, check=True)

    distribution = tmp_path / "installed" / "plugin-1.dist-info"
    distribution.mkdir(parents=True)
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n", encoding="utf-8")
    (distribution / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(distribution.parent), str(ROOT)])}
    command = [sys.executable, "-W", "ignore", "-c", CODE, str(target)]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines == [
        "False",
        "CinaEstimator",
        "LinearRegressionEstimator",
        "ImportError unknown_estimator is not an existing causal estimator.",
        "ModuleNotFoundError No module named 'dowhy_cina.missing'",
        "TypeError dowhy_cina:estimate_effect is not a CausalEstimator.",
    ]
