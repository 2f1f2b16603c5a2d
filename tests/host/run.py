"""Run the tests of a release of DoWhy, byte-unchanged, with ``CinaEstimator`` in place of its estimators.

``python tests/host/run.py`` takes the release that is installed; ``--dowhy 0.13`` puts another one before it, with the
other packages as they are. Further arguments go to pytest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = (ROOT / ".cache" / "host").resolve()
FILES = (
    "causal_estimators/test_doubly_robust_estimator.py",
    "causal_estimators/test_estimator_consistency.py",
    "causal_estimators/test_linear_regression_estimator.py",
    "causal_estimators/test_propensity_score_matching_estimator.py",
    "causal_estimators/test_propensity_score_stratification_estimator.py",
    "causal_estimators/test_propensity_score_weighting_estimator.py",
    "causal_refuters/test_add_unobserved_common_cause.py",
    "causal_refuters/test_assess_overlap.py",
    "causal_refuters/test_bootstrap_refuter.py",
    "causal_refuters/test_data_subset_refuter.py",
    "causal_refuters/test_dummy_outcome_refuter.py",
    "causal_refuters/test_placebo_refuter.py",
    "test_causal_model.py",
)
#: What a release requires beside the packages that are installed, which are those of the newest release.
ALSO = {"0.13": ("ecos",)}  # the solver of its assess_overlap; cvxpy brought it before 1.5


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"], check=True)


def fetch_tests(release: str) -> Path:
    """Unpack the tests of a release from its source distribution, which is fetched once.

    They are unpacked anew each time, so that what runs is what was published; nothing else is, so that ``import dowhy``
    finds the installed package.
    """
    archive = CACHE / f"dowhy-{release}.tar.gz"
    if not archive.exists():
        options = ("--no-deps", "--no-binary", "dowhy", "--dest", str(CACHE))
        pip("download", *options, f"dowhy=={release}")
    folder = CACHE / f"dowhy-{release}"
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(archive) as source:
        members = [member for member in source if member.name.startswith(f"dowhy-{release}/tests/")]
        source.extractall(CACHE, members=members, filter="data")
    return folder


def overlay(release: str) -> Path | None:
    """Install another release into a folder of its own, to be put before the installed one."""
    if release == version("dowhy"):
        return None
    packages = [f"dowhy=={release}", *ALSO.get(release, ())]
    folder = CACHE / "-".join(["with", *packages]).replace("==", "-")
    if not folder.exists():
        pip("install", "--no-deps", "--target", str(folder), *packages)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dowhy", default=version("dowhy"), metavar="RELEASE", help="%(default)s")
    options, rest = parser.parse_known_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    folder, other = fetch_tests(options.dowhy), overlay(options.dowhy)
    path = [str(other)] if other else []
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": os.pathsep.join([*path, str(HERE), str(ROOT)])}
    files = [f"tests/{name}" for name in FILES if (folder / "tests" / name).exists()]  # 0.13 has one fewer
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(folder), "-p", "cina_in_place"]
    return subprocess.run([*command, "-q", "-W", "ignore", *rest, *files], cwd=folder, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
