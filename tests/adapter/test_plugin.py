"""Registration with DoWhy and the light import, each in a fresh interpreter."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import dowhy_cina
from dowhy_cina.adapter import plugin

ROOT = Path(__file__).resolve().parents[2]


def run_python(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *flags, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)


def test_import_loads_no_heavy_package():
    loaded = run_python("import sys, dowhy_cina; print(*sys.modules)").stdout.split()
    assert "dowhy.causal_estimators.cina_estimator" in loaded
    assert not {"torch", "dowhy", "numpy", "pandas", "scipy", "sklearn", "matplotlib"} & set(loaded)


def test_import_takes_less_than_50_ms():
    def milliseconds() -> float:
        report = run_python("import dowhy_cina", "-X", "importtime").stderr
        (line,) = [line for line in report.splitlines() if line.endswith("| dowhy_cina")]
        return int(line.split("|")[1]) / 1000

    # The best of a few: other processes can only slow an import down.
    assert min(milliseconds() for _ in range(5)) < 50


UNAIDED = """
import sys
from dowhy import causal_estimators
assert "dowhy_cina" not in sys.modules
causal_estimators.get_class_object("dowhy_cina", "dowhy_cina.CinaEstimator")  # as for the full name
import dowhy_cina
"""


@pytest.mark.parametrize("order", ["import dowhy, dowhy_cina", "import dowhy_cina, dowhy", UNAIDED])
def test_dowhy_finds_the_estimator_whichever_is_imported_first(order):
    lines = run_python(
        f"""
{order}
import sys
import dowhy.causal_estimators as package
print(package.cina_estimator.CinaEstimator is dowhy_cina.CinaEstimator)
from dowhy.causal_estimators import cina_estimator
import dowhy.causal_estimators.cina_estimator as module
print(cina_estimator is package.cina_estimator is module)
print(package.get_class_object("cina_estimator") is dowhy_cina.CinaEstimator)
print(package.get_class_object("dowhy_cina", "dowhy_cina.CinaEstimator") is dowhy_cina.CinaEstimator)
print(not any(type(finder).__module__ == "dowhy_cina.adapter.plugin" for finder in sys.meta_path))
"""
    ).stdout.split()
    assert lines == ["True"] * 5


def test_registering_again_changes_nothing():
    name = "dowhy.causal_estimators.cina_estimator"
    module, finders = sys.modules[name], list(sys.meta_path)
    plugin.register()
    assert sys.modules[name] is module
    assert sys.meta_path == finders


def test_the_registered_module_has_nothing_but_the_estimator():
    module = sys.modules["dowhy.causal_estimators.cina_estimator"]
    assert not hasattr(module, "__file__")
    with pytest.raises(AttributeError, match="has no attribute 'CinaEstimater'"):
        module.CinaEstimater  # noqa: B018


def test_public_names_resolve_and_others_do_not():
    for name in dowhy_cina.__all__:
        assert getattr(dowhy_cina, name) is not None
    assert set(dowhy_cina.__all__) <= set(dir(dowhy_cina))
    assert dowhy_cina.CinaEstimator.__module__ == "dowhy_cina.adapter.estimator"
    with pytest.raises(AttributeError, match="has no attribute 'estimate'"):
        dowhy_cina.estimate  # noqa: B018


def test_version_is_that_of_the_distribution():
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert declared is not None
    assert dowhy_cina.__version__ == declared[1]
