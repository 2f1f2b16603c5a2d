"""What holds for the whole package: layers, sizes, import time."""

import ast
import re
import subprocess
import sys
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
