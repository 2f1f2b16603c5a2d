"""The README's and the how-to's code runs, and the README's first snippet prints what stands below it.

``python tests/test_readme.py`` writes the new output below the snippet.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
SNIPPET = re.compile(r"```python\n(?P<code>.*?)```\n+```text\n(?P<output>.*?)```", re.DOTALL)


def first_snippet():
    return SNIPPET.search(README.read_text(encoding="utf-8"))


def run(code):
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=300).stdout


def test_first_snippet_is_short():
    assert len(first_snippet()["code"].strip().splitlines()) <= 12


def test_first_snippet_prints_what_the_readme_says():
    assert run(first_snippet()["code"]) == first_snippet()["output"]


def test_exactly_two_commands_set_up():
    section = README.read_text(encoding="utf-8").split("## Set-up")[1].split("\n## ")[0]
    assert re.findall(r"^\$ (.+)$", section, re.MULTILINE) == ["make demo", "make test"]


@pytest.mark.slow
def test_how_to_runs():
    text = (ROOT / "docs" / "howto.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", text)
    assert len(blocks) >= 8
    code = "".join(re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in blocks)
    assert "Refute" in run("import matplotlib; matplotlib.use('Agg')\n" + code)


if __name__ == "__main__":
    found = first_snippet()
    text = README.read_text(encoding="utf-8")
    start, end = found.span("output")
    README.write_text(text[:start] + run(found["code"]) + text[end:], encoding="utf-8")
