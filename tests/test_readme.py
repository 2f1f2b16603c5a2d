"""The README's and the pages' code runs, and the README prints what stands below its snippet and in ``docs/measured``.

``python tests/test_readme.py`` writes the snippet's new output and the new table.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dowhy_cina.data import load_nsw

from dowhy_cina import cli

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.rst"))
SNIPPET = re.compile(r"```python\n(?P<code>.*?)```\n+```text\n(?P<output>.*?)```", re.DOTALL)
TABLE = re.compile(r"(?<=\|---\|\n)(\|.*\n)+")
#: Row of the README's table, and its name in the measured tables.
ROWS = {
    "difference in means": "difference in means",
    "DoWhy linear regression": "DoWhy linear regression",
    "DoWhy propensity weighting": "DoWhy IPW",
    "doubly robust (AIPW), boosted trees": "AIPW, boosted trees",
    "kernel regression in each group": "kernel ridge per arm",
    "dowhy-cina": "dowhy-cina",
}
#: What a page takes for granted, by page; the others stand on their own.
GIVEN = {
    "gains": "import dowhy_cina\nfrom dowhy_cina.data import *\n"
    'result = dowhy_cina.estimate_effect(load_nsw("experiment"), "training", "re78", covariates=COVARIATES)\n',
    "index": "from dowhy import CausalModel\nfrom dowhy_cina.data import *\n"
    'model = CausalModel(load_nsw("psid"), "training", "re78", common_causes=COVARIATES)\n'
    "estimand = model.identify_effect()\n",
    "intervals": "import dowhy_cina\nfrom dowhy_cina.data import *\n"
    'survey = load_nsw("experiment")\nsurvey["site"] = range(len(survey))\n',
    "scale": "import dowhy_cina, numpy, pandas\nrng = numpy.random.default_rng(0)\n"
    "tables = [(rng.normal(size=(60, 2)), numpy.arange(60) % 2, rng.normal(size=60)) for _ in range(2)]\n"
    'frame = pandas.DataFrame({"t": numpy.arange(60) % 2, "y": rng.normal(size=60), "age": range(60), "region": "a"})\n'
    'pathlib.Path("folder").mkdir()\nframe.to_parquet("folder/part.parquet")\n',
}


def first_snippet():
    return SNIPPET.search(README.read_text(encoding="utf-8"))


def run(code, folder=ROOT):
    command = [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, timeout=300).stdout


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


def blocks(page, language):
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    found = re.findall(rf"\.\. code-block:: {language}\n(?: +:.*\n)*\n((?:   .*\n|\n)+)", text)
    return [re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in found]


def commands():
    for page in (README, ROOT / "CONTRIBUTING.md", *PAGES):
        for block in blocks(page, "console"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("$ "):
                    yield shlex.split(line[2:], comments=True)


def test_first_snippet_is_short():
    assert len(first_snippet()["code"].strip().splitlines()) <= 12


def test_first_snippet_prints_what_the_readme_says():
    assert run(first_snippet()["code"]) == first_snippet()["output"]


def test_table_is_the_measured_one():
    assert TABLE.search(README.read_text(encoding="utf-8"))[0] == measured_table()


def test_exactly_two_commands_set_up():
    section = README.read_text(encoding="utf-8").split("## Set-up")[1].split("\n## ")[0]
    assert re.findall(r"^\$ (make .+)$", section, re.MULTILINE) == ["make demo", "make test"]


@pytest.mark.slow
def test_pages_run(tmp_path):
    pages = [page for page in PAGES if blocks(page, "python") and page.stem != "pretraining"]
    assert len(pages) >= 5
    code = "import matplotlib, pathlib\nmatplotlib.use('Agg')\n"
    for page in pages:  # in one process, which imports DoWhy once; each page has names of its own
        own = "import pathlib\n" + GIVEN.get(page.stem, "") + "\n".join(blocks(page, "python"))
        code += f"exec(compile({own!r}, {page.name!r}, 'exec'), {{}})\n"
    assert "Refute" in run(code, tmp_path)


def test_commands_are_understood():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    found = list(commands())
    assert len(found) > 15
    for command in found:
        if command[0] == "make":
            assert {word for word in command[1:] if "=" not in word} <= set(targets), command
        elif command[0] == "dowhy-cina" and command[1:] != ["--version"]:
            assert cli._parser().parse_args(command[1:]).run, command


@pytest.mark.slow
def test_estimates_and_refuters_from_the_shell_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = load_nsw("experiment").rename(columns={"training": "t", "re78": "y", "re74": "income"})
    table = table.iloc[::4][["t", "y", "age", "income"]].assign(w=1.0, school=lambda rows: np.arange(len(rows)) % 40)
    table.to_parquet("survey.parquet")
    table.drop(columns=["w", "school"]).to_csv("data.csv", index=False)
    nodes = "".join(f'node [id "{name}" label "{name}"]\n' for name in ("t", "y", "age", "income"))
    edges = [("t", "y"), *((name, end) for name in ("age", "income") for end in ("t", "y"))]
    edges = "".join(f'edge [source "{start}" target "{end}"]\n' for start, end in edges)
    Path("graph.gml").write_text(f"graph [directed 1\n{nodes}{edges}]", encoding="utf-8")
    for command in commands():
        if command[:2] in (["dowhy-cina", "estimate"], ["dowhy-cina", "refute"], ["dowhy-cina", "info"]):
            if Path(command[-1]).name == "mine.safetensors":
                continue
            few = [
                word if before != "--simulations" else "5"
                for before, word in zip(["", *command], command, strict=False)
            ]
            assert cli.main(few[1:]) == 0, command


if __name__ == "__main__":
    text = TABLE.sub(measured_table().replace("\\", r"\\"), README.read_text(encoding="utf-8"), count=1)
    found = SNIPPET.search(text)
    start, end = found.span("output")
    README.write_text(text[:start] + run(found["code"]) + text[end:], encoding="utf-8")
