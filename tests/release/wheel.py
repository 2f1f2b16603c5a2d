"""Build the source archive and the wheel, and try the wheel in an environment that has it without extras.

``python tests/release/wheel.py`` makes the environment of links to those installed packages that the wheel requires; it
sees no other. ``--python PYTHON`` tries the package that another environment has.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "dist"
LARGEST = 4 * 10**6  # bytes of the wheel
EXPERIMENT = 1794  # dollars a year, the difference in means of the bundled experiment
#: Of this process, without what would show others to an interpreter.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
#: What only extras bring; matplotlib is none of them, for DoWhy imports it.
EXTRAS_ALONE = ("dask", "pyarrow", "pytest", "sphinx")
README = re.compile(r"```python\n(?P<code>.*?)```\n+```text\n(?P<output>.*?)```", re.DOTALL)
#: The commands that the page on installation gives to see that all is well.
CHECK = re.compile(
    r"\.\. _check-installation:\n.*?\.\. code-block:: console\n\n(?P<commands>(?:   [^\n]*\n)+)", re.DOTALL
)


def build() -> Path:
    """Build both archives, the wheel from the source archive, and return the wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = DIST.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """The wheel holds every file of the package and nothing beside it, and is small."""
    assert wheel.stat().st_size < LARGEST, f"expected less than {LARGEST} bytes, {wheel} has {wheel.stat().st_size}"
    paths = (path for path in (ROOT / "dowhy_cina").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    files = {path.relative_to(ROOT).as_posix() for path in paths}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == files, f"expected the package's files, got the difference {sorted(held ^ files)}"


def required(root: Distribution) -> dict[str, Distribution]:
    """Installed distributions that one requires without its extras, and what these require in turn, by name."""
    found: dict[str, Distribution] = {}
    open_ends = [(root, "")]
    seen = set()
    while open_ends:
        owner, extra = open_ends.pop()
        for requirement in map(Requirement, owner.requires or ()):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            for wanted in ("", *requirement.extras):
                if (requirement.name, wanted) not in seen:
                    seen.add((requirement.name, wanted))
                    found[requirement.name] = distribution(requirement.name)
                    open_ends.append((found[requirement.name], wanted))
    return found


def make_environment(folder: Path, wheel: Path) -> Path:
    """Make an environment with the wheel and what it requires, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = next(path for path in (folder / "bin" / "python", folder / "Scripts" / "python.exe") if path.exists())
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, env=ENVIRONMENT)
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
    (package,) = distributions(name="dowhy-cina", path=[str(site)])
    for needed in required(package).values():
        for name in {file.parts[0] for file in needed.files or ()} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(Path(str(needed.locate_file(name))).resolve())
    return python


class Trial:
    """Runs commands in an environment, in an empty folder, where they cannot see the sources."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder, self.start = python, folder, time.perf_counter()
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = ENVIRONMENT | {"PATH": path, "PYTHONWARNINGS": "ignore", "MPLBACKEND": "Agg"}

    def run(self, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
        """What a command prints."""
        name = shutil.which(command[0], path=self.environment["PATH"])
        assert name is not None, f"{command[0]} is missing"
        given = {"env": self.environment | variables, "encoding": "utf-8", "capture_output": True, "timeout": 300}
        return subprocess.run([name, *command[1:]], cwd=self.folder, **given)

    def succeeds(self, command: list[str]) -> str:
        """What a command prints that must exit with 0."""
        done = self.run(command)
        assert done.returncode == 0, f"{command} failed: {done.stdout}{done.stderr}"
        return done.stdout

    def code(self, code: str) -> str:
        """What a piece of Python prints."""
        return self.succeeds([str(self.python), "-c", code])

    def refused(self, command: list[str], remedy: str, **variables: str) -> None:
        """A command that must be refused before it prints anything, in one line that names the remedy."""
        done = self.run(command, **variables)
        told = done.stderr.strip().splitlines()
        assert done.returncode, f"expected {command} to be refused"
        assert (done.stdout, len(told)) == ("", 1), f"{command}: {done}"
        assert remedy in told[0], told

    def say(self, what: str) -> None:
        """Print what has been seen, with the seconds so far."""
        print(f"  {time.perf_counter() - self.start:5.1f} s  {what}", flush=True)


def try_package(trial: Trial) -> None:
    """The README's snippet, the command line, and what is said where something optional is missing."""
    names = f"[name for name in {EXTRAS_ALONE} if importlib.util.find_spec(name)]"
    code = f"import dowhy_cina, importlib.util; print(dowhy_cina.__file__, *{names}, sep='\\n')"
    place, *others = trial.code(code).splitlines()
    assert not others, f"expected an environment without extras, it has {others}"
    assert not Path(place).is_relative_to(ROOT / "dowhy_cina"), place
    trial.say("imported, no extras to be seen")

    snippet = README.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert trial.code(snippet["code"]) == snippet["output"]
    trial.say("the README's snippet prints what the README says")

    page = (ROOT / "docs" / "installation.rst").read_text(encoding="utf-8")
    commands = re.findall(r"^   \$ (.+)$", CHECK.search(page)["commands"], re.MULTILINE)
    assert commands, "the page on installation has no commands to check it by"
    for command in commands:
        trial.succeeds(command.split())
        trial.say(command)

    trial.code("from dowhy_cina.data import load_nsw; load_nsw().to_csv('nsw.csv', index=False)")
    table = ["nsw.csv", "--treatment", "training", "--outcome", "re78"]
    trial.succeeds(["dowhy-cina", "estimate", *table, "--json", "effect.json"])
    low, high = json.loads((trial.folder / "effect.json").read_text(encoding="utf-8"))["confidence_interval"]
    assert low < EXPERIMENT < high, (low, high)
    trial.succeeds(["dowhy-cina", "refute", *table, "--refuters", "data_subset_refuter", "--simulations", "5"])
    trial.say("dowhy-cina estimate and refute")

    hidden = trial.folder / "without"
    hidden.mkdir()
    (hidden / "matplotlib.py").write_text("raise ModuleNotFoundError(name='matplotlib')\n", encoding="utf-8")
    plots = ["dowhy-cina", "estimate", *table, "--plots", "pictures"]
    trial.refused(plots, "pip install 'dowhy-cina[plots]'", PYTHONPATH=str(hidden))
    (trial.folder / "nsw.parquet").touch()
    parquet = ["dowhy-cina", "estimate", "nsw.parquet", *table[1:]]
    trial.refused(parquet, "pip install 'dowhy-cina[parquet]'")
    trial.refused(["dowhy-cina", "pretrain", "cina-smal"], "cina-selfsup, cina-small")
    trial.say(
        "--plots without matplotlib, Parquet without pyarrow and an unknown recipe are refused with their remedies"
    )


def main() -> None:
    """Build and try."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--python", type=Path, help="interpreter of an environment that has the package; nothing is built"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "work").mkdir()
        python = options.python and options.python.absolute()
        if python is None:
            print("Building the source archive and the wheel", flush=True)
            wheel = build()
            check_contents(wheel)
            print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB. Trying it where nothing else is:", flush=True)
            python = make_environment(folder / "environment", wheel)
        try_package(Trial(python, folder / "work"))
    print("The package works without extras.")


if __name__ == "__main__":
    main()
