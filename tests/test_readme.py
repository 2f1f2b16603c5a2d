"""The README's snippet prints what stands below it, and its table is that of ``docs/measured``.

``python tests/test_readme.py`` writes the snippet's new output and the new table. ``test_blocks.py`` runs the rest.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
SNIPPET = re.compile(r"```python\n(?P<code>.*?)```\n+```text\n(?P<output>.*?)```", re.DOTALL)
TABLE = re.compile(r"(?<=\|---\|\n)(\|.*\n)+")
#: Row of the README's table, and its name in the measured tables.
ROWS = {
    "difference in means": "difference in means",
    "DoWhy linear regression": "DoWhy linear regression",
    "DoWhy propensity weighting": "DoWhy IPW",
    "doubly robust (AIPW), boosted trees": "AIPW, boosted trees",
    "kernel regression in each group": "kernel ridge per arm",
    "dowhy-cina, untrained (`rule`)": "rule",
    "dowhy-cina, trained without outcomes (`cina-selfsup`)": "cina-selfsup",
    "dowhy-cina as it comes (`cina-small`)": "dowhy-cina",
}


def first_snippet():
    return SNIPPET.search(README.read_text(encoding="utf-8"))


def run(code):
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=300).stdout


def measured_table():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from picture import errors

    shown = errors(ROOT / "docs" / "measured").loc[list(ROWS.values())]
    shown = shown.map(lambda error: f"{error:.3f}".removeprefix("0"))
    best = shown.min()
    lines = [
        f"| {label} | " + " | ".join(f"**{x}**" if x == best[c] else x for c, x in shown.loc[name].items()) + " |\n"
        for label, name in ROWS.items()
    ]
    return "".join(lines)


def test_first_snippet_is_short():
    assert len(first_snippet()["code"].strip().splitlines()) <= 12


def test_first_snippet_prints_what_the_readme_says():
    assert run(first_snippet()["code"]) == first_snippet()["output"]


def test_table_is_the_measured_one():
    assert TABLE.search(README.read_text(encoding="utf-8"))[0] == measured_table()


def test_exactly_two_commands_set_up():
    section = README.read_text(encoding="utf-8").split("## Set-up")[1].split("\n## ")[0]
    assert re.findall(r"^\$ (make .+)$", section, re.MULTILINE) == ["make demo", "make test"]


if __name__ == "__main__":
    text = TABLE.sub(measured_table().replace("\\", r"\\"), README.read_text(encoding="utf-8"), count=1)
    found = SNIPPET.search(text)
    start, end = found.span("output")
    README.write_text(text[:start] + run(found["code"]) + text[end:], encoding="utf-8")
