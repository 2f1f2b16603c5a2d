"""What holds for the whole package: layers, sizes, import time, and what is inside the wheel."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "dowhy_cina").rglob("*.py"))


def python(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=600, **options)


def test_imports_point_downward():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 kept, 0 broken" in run.stdout


def test_every_module_has_its_layer():
    """A module that no layer names would be free to import anything."""
    layers = re.search(r"^layers = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    named = set(re.findall(r"\w+", layers[1]))
    parts = {path.relative_to(ROOT / "dowhy_cina").parts[0].removesuffix(".py") for path in MODULES}
    assert parts - {"__init__"} == named


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # A docstring is for reading in full, code for reading at a glance.
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            assert node.end_lineno - first.lineno < 50, node.name


def test_import_is_light():
    code = "import dowhy_cina, sys; assert not {'torch', 'dowhy', 'pandas', 'numpy'} & set(sys.modules)"
    assert python("-c", code, cwd=ROOT).returncode == 0


def test_import_takes_under_50_ms():
    times = []
    for _ in range(5):  # the quickest of five: the machine may be busy
        log = python("-X", "importtime", "-c", "import dowhy_cina", cwd=ROOT).stderr
        times.append(int(re.search(r"\|\s+(\d+) \| dowhy_cina$", log, re.MULTILINE)[1]))
    assert min(times) < 50_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "dowhy_cina", source / "dowhy_cina", ignore=shutil.ignore_patterns("__pycache__"))
    run = python("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source))
    assert run.returncode == 0, run.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_wheel_holds_what_it_needs(wheel):
    assert wheel.stat().st_size <= 10 * 2**20
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "model/checkpoints/cina-small.safetensors",
        "tables/data/nsw.npz",
        "tables/data/README.md",
        "py.typed",
    ):
        assert f"dowhy_cina/{name}" in names
    for path in [*MODULES, ROOT / "dowhy_cina" / "py.typed"]:
        assert str(path.relative_to(ROOT)) in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"dowhy_cina"}


@pytest.mark.slow
def test_wheel_works_elsewhere(wheel, tmp_path):
    """Unpacked in another folder, away from the sources: the model and the data are found."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = f"""
import sys
sys.path = [{str(tmp_path / "site")!r}] + [entry for entry in sys.path if entry not in ("", {str(ROOT)!r})]
import dowhy_cina
assert dowhy_cina.__file__.startswith({str(tmp_path)!r}), dowhy_cina.__file__
from dowhy_cina.cli import main
from dowhy_cina.tables.data import load_nsw
load_nsw().to_csv("nsw.csv", index=False)
assert main(["info"]) == 0
sys.exit(main(["estimate", "nsw.csv", "--treatment", "training", "--outcome", "re78"]))
"""
    run = python("-c", code, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "cina-small" in run.stdout
