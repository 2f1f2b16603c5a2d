"""Every code block of the README, the other Markdown pages and the documentation is run, or named here as not run.

A kind of block, a command or a page that this file does not know fails. The examples of the gallery run when the
documentation is built, docstrings' examples below.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.metadata import EntryPoint
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from dowhy import CausalModel
from dowhy_cina.data import COVARIATES, load_nsw

import dowhy_cina
from dowhy_cina import cli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.rst"))]
#: Pages whose blocks need each other in an order of their own, and the test that runs all of them.
ELSEWHERE = {"pretraining.rst": "tests/learning/training/test_pretraining_page.py"}
#: Blocks that hold nothing to run, by page and first line, and what is tested instead.
READ = {
    (
        "dowhy-plugins.rst",
        '[project.entry-points."dowhy.causal_estimators"]',
    ): "its entry point is loaded",
}
#: Files that pages show, and what is tested instead.
INCLUDED = {
    "../CHANGELOG.md": "prose",
    "../CONTRIBUTING.md": "a page of its own here",
    "dowhy-entry-points.patch": "tests/release/test_plugin_patch.py applies it",
}
#: Commands that are not run, and why. Each must stand on a page.
NOT_RUN = {
    "python -m pip install torch --index-url https://download.pytorch.org/whl/cpu": "needs a network",
    "source env/bin/activate": "changes the shell it is typed into",
}
#: Values of options that take too long for a test, by command: what stands on the pages, and what is run instead.
SMALLER = {
    ("evaluate", "--tables"): {"20": "1"},
    ("benchmark", "--rows"): {"1000,100000": "60,120", "500,2000": "60,120"},
    ("benchmark", "--tables"): {"10": "1"},
}
#: Seconds in the output, which differ from run to run.
SECONDS = re.compile(r" +\d+\.\d\d(?=  [a-z ]+$)", re.MULTILINE)
#: Options that are added where a command has a word, so that it ends in seconds or leaves the machine as it is.
ADDED = {
    "pretrain": "--set steps=1 --set max_rows=120 --set max_columns=8 --set validation_tables=2 --set workers=0 "
    "--set tables_per_batch=1 --set batches_per_step=1 --set calibration_samples=0",
    "evaluate": "--rows 200 --columns 5",
    "benchmark": "--columns 5 --repeats 1 --tables 1",
    "refute": "--simulations 3",
    "--report": "--simulations 3",
    "install": "--dry-run --ignore-installed --no-deps --no-index --no-build-isolation",
    "download": "--no-deps --no-index --no-build-isolation",
    "venv": "--without-pip",
}
#: What a page takes for granted, by page; the others stand on their own.
GIVEN = {
    "gains.rst": "import dowhy_cina\nfrom dowhy_cina.data import *\n"
    'result = dowhy_cina.estimate_effect(load_nsw("experiment"), "training", "re78", covariates=COVARIATES)\n',
    "index.rst": "from dowhy import CausalModel\nfrom dowhy_cina.data import *\n"
    'model = CausalModel(load_nsw("psid"), "training", "re78", common_causes=COVARIATES)\n'
    "estimand = model.identify_effect()\n",
    "intervals.rst": "import dowhy_cina\nfrom dowhy_cina.data import *\n"
    'survey = load_nsw("experiment")\nsurvey["site"] = range(len(survey))\n',
    "scale.rst": "import dowhy_cina, numpy, pandas, pathlib\nrng = numpy.random.default_rng(0)\n"
    "tables = [(rng.normal(size=(60, 2)), numpy.arange(60) % 2, rng.normal(size=60)) for _ in range(2)]\n"
    'frame = pandas.DataFrame({"t": numpy.arange(60) % 2, "y": rng.normal(size=60), "age": range(60), "region": "a"})\n'
    'pathlib.Path("folder").mkdir()\nframe.to_parquet("folder/part.parquet")\n',
}
#: Runs pages, each with names of its own, in one process, which imports DoWhy once; says what each block printed.
RUN_PAGES = """
import contextlib, io, json, sys
import matplotlib
matplotlib.use("Agg")
printed = {}
for page, (given, blocks) in json.load(sys.stdin).items():
    names = {}
    exec(given, names)
    printed[page] = []
    for line, code in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile("\\n" * line + code, page, "exec"), names)
        printed[page].append(output.getvalue())
print(json.dumps(printed))
"""


class Block(NamedTuple):
    """A block of code, and where it begins."""

    page: str
    line: int
    language: str
    text: str


def blocks(path):
    """Every block of a page, in order."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        found = re.finditer(r"^ *```(\S*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    else:
        found = re.finditer(
            r"^ *\.\. (?:code-block|code|sourcecode)::(.*)\n(?: +:.*\n)*\n((?: +.*\n|\n)+)", text, re.MULTILINE
        )
    for match in found:
        body = match[2].rstrip().splitlines()
        margin = min(len(line) - len(line.lstrip()) for line in body if line.strip())
        code = "\n".join(line[margin:] for line in body) + "\n"
        yield Block(path.name, text[: match.start(2)].count("\n"), match[1].strip(), code)


BLOCKS = [block for path in PAGES for block in blocks(path)]


class Command(NamedTuple):
    """A command that a page gives, in words, and the lines that the page shows below it."""

    page: str
    words: list[str]
    shown: list[str]

    def __str__(self):
        return " ".join(self.words)


def commands():
    """Every command of the pages, in order; those of :data:`ELSEWHERE` too."""
    for block in BLOCKS:
        if block.language == "console":
            for text in re.split(r"^\$ ", block.text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
                line, *shown = text.splitlines()
                yield Command(block.page, shlex.split(line, comments=True), shown)


COMMANDS = list(commands())
#: Commands of this package, which run in one process in the pages' order.
OURS = [one for one in COMMANDS if one.words[0] == "dowhy-cina" and one.page not in ELSEWHERE]


def smaller(words):
    """The command with the values of :data:`SMALLER`, then with the options of :data:`ADDED`."""
    small = [SMALLER.get((words[1], before), {}).get(word, word) for before, word in pairwise(["", *words])]
    return small + [option for word, options in ADDED.items() if word in words for option in shlex.split(options)]


def compare(command, output):
    """What a page shows stands in the output, in this order; where it has ``...``, other lines may lie between."""
    rest = re.sub(SECONDS, "", output)
    shown = re.sub(SECONDS, "", "\n".join(command.shown))
    for piece in filter(None, (piece.strip("\n") for piece in re.split(r"^\.\.\.$", shown, flags=re.MULTILINE))):
        assert piece in rest, f"{command} on {command.page}: expected\n{piece}\ngot\n{output}"
        rest = rest.partition(piece)[2]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run the blocks of Python, page by page, and return their folder and what each printed."""
    pages = {}
    for block in BLOCKS:
        if block.language == "python" and block.page not in ELSEWHERE:
            pages.setdefault(block.page, (GIVEN.get(block.page, ""), []))[1].append((block.line, block.text))
    assert len(pages) >= 7
    folder = tmp_path_factory.mktemp("pages")
    make_files(folder)
    command = [sys.executable, "-W", "ignore", "-c", RUN_PAGES]
    given = {"input": json.dumps(pages), "env": os.environ | {"PYTHONPATH": str(ROOT)}}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300, **given)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def make_files(folder):
    """Write what commands on the pages name, small."""
    table = load_nsw("experiment").rename(columns={"training": "t", "re78": "y", "re74": "income"})
    table = table.iloc[::4][["t", "y", "age", "income"]].assign(w=1.0, school=lambda rows: np.arange(len(rows)) % 40)
    table.to_parquet(folder / "survey.parquet")
    table.drop(columns=["w", "school"]).to_csv(folder / "data.csv", index=False)
    nodes = "".join(f'node [id "{name}" label "{name}"]\n' for name in ("t", "y", "age", "income"))
    edges = [("t", "y"), *((name, end) for name in ("age", "income") for end in ("t", "y"))]
    edges = "".join(f'edge [source "{start}" target "{end}"]\n' for start, end in edges)
    (folder / "graph.gml").write_text(f"graph [directed 1\n{nodes}{edges}]", encoding="utf-8")
    (folder / "mine.toml").write_text('[[collections]]\nsimulators = ["linear"]\n', encoding="utf-8")
    (folder / "mine").mkdir()
    table.drop(columns=["w", "school"]).to_csv(folder / "mine" / "one.csv", index=False)
    (folder / "mine" / "collection.toml").write_text('treatment = "t"\noutcome = "y"\n', encoding="utf-8")


def test_every_block_is_known():
    assert len(BLOCKS) > 40
    for block in BLOCKS:
        known = block.page in ELSEWHERE or block.language in ("python", "console", "text")
        assert known or (block.page, block.text.partition("\n")[0]) in READ, block
        assert block.language != "console" or block.text.startswith("$ "), block
    assert set(ELSEWHERE) <= {block.page for block in BLOCKS}
    for path in ELSEWHERE.values():
        assert (ROOT / path).exists()


def test_nothing_else_on_the_pages_looks_like_code():
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            assert len(re.findall("```|~~~", text)) == 2 * len(list(blocks(path))), path
            assert not re.search(r"(?<=\n\n)(?:    |\t)(?! *(?:[-*]|\d+\.) )\S", text), path  # indented code
        else:
            assert not re.search(r"^(?!\s*\.\. ).*::$", text, re.MULTILINE), path  # a block without a language
            assert not re.search(r"^ *(?:>>> |\.\. (?:parsed-literal|doctest|prompt))", text, re.MULTILINE), path
            assert set(re.findall(r"\.\. (?:literalinclude|include|markdown):: (\S+)", text)) <= set(INCLUDED), path


def test_every_command_is_known():
    known = re.compile(r"make [a-z]|dowhy-cina (--version|[a-z])|python -m (venv|pip install|pip download) ")
    for command in COMMANDS:
        assert str(command) in NOT_RUN or known.match(str(command)), command
        assert command.page not in ELSEWHERE or command.words[0] == "dowhy-cina", command
    assert set(NOT_RUN) <= set(map(str, COMMANDS))
    for (name, option), values in SMALLER.items():
        given = {
            word for one in COMMANDS if one.words[1] == name for before, word in pairwise(one.words) if before == option
        }
        assert set(values) <= given, (name, option)


@pytest.mark.slow
def test_python_runs_and_prints_what_stands_below(ran):
    _, printed = ran
    found = 0
    for path in PAGES:
        before = iter(printed.get(path.name, []))
        output = ""
        for block in blocks(path):
            if block.language == "python" and path.name not in ELSEWHERE:
                output = next(before)
            elif block.language == "text":
                assert block.text.split() == output.split(), block
                found += 1
    assert found >= 2


@pytest.mark.slow
def test_commands_of_this_package_run(ran, monkeypatch, capsys):
    monkeypatch.chdir(ran[0])
    for command in OURS:
        words = smaller(command.words)
        assert run_ours(words) == 0, command
        if words == command.words:
            compare(command, capsys.readouterr().out)


@pytest.mark.weekly
def test_commands_that_show_their_output_print_it(ran, monkeypatch, capsys):
    monkeypatch.chdir(ran[0])
    shown = [command for command in OURS if command.shown]
    assert shown
    for command in shown:
        assert run_ours(command.words) == 0, command
        compare(command, capsys.readouterr().out)


def run_ours(words):
    """Exit code of a command of ours."""
    try:
        return cli.main(words[1:])
    except SystemExit as stopped:  # --version
        return stopped.code or 0


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_knows_every_target():
    targets = {tuple(command.words) for command in COMMANDS if command.words[0] == "make"}
    for path in PAGES:  # in the text too
        quoted = re.findall(r"`(make [^`]+)`", path.read_text(encoding="utf-8"))
        targets |= {tuple(shlex.split(text)) for text in quoted}
    assert len(targets) > 20
    for words in sorted(targets):
        done = subprocess.run([words[0], "-n", *words[1:]], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, (words, done.stderr)


@pytest.mark.slow
def test_every_installation_is_accepted(tmp_path):
    source = tmp_path / "path" / "to" / "clone"
    source.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "dowhy_cina", source / "dowhy_cina", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip"]
    build = [
        *pip,
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--wheel-dir",
        ".",
        str(source),
    ]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    size = f"The wheel itself has {wheel.stat().st_size / 1e6:.1f} MB.".replace("0.", ".")
    assert size in (ROOT / "docs" / "installation.rst").read_text(encoding="utf-8"), size
    found = [command.words for command in COMMANDS if command.words[0] == "python" and str(command) not in NOT_RUN]
    assert len(found) >= 6
    for words in found:
        done = subprocess.run([sys.executable, *smaller(words)[1:]], cwd=tmp_path, capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert done.returncode == 0, (words, said)
        assert "does not provide the extra" not in said, words
        assert words[2] == "venv" or re.search("dowhy.cina", done.stdout), words


def test_the_entry_point_names_the_estimator():
    (block,) = [block for block in BLOCKS if (block.page, block.text.partition("\n")[0]) in READ]
    points = tomllib.loads(block.text)["project"]["entry-points"]
    assert EntryPoint("cina", points["dowhy.causal_estimators"]["cina"], "").load() is dowhy_cina.CinaEstimator
    assert "dowhy.causal_estimators" in (ROOT / "docs" / "dowhy-entry-points.patch").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["calls.per_dataset", "adapter.refutation.battery"])
def test_examples_of_docstrings_run(name):
    names = {"dowhy_cina": dowhy_cina}
    if name == "adapter.refutation.battery":
        model = CausalModel(load_nsw("experiment"), "training", "re78", common_causes=COVARIATES)
        estimand = model.identify_effect()
        estimate = model.estimate_effect(estimand, method_name="backdoor.dowhy_cina.CinaEstimator")
        names |= {"model": model, "estimand": estimand, "estimate": estimate}
    module = import_module(f"dowhy_cina.{name}")
    found = doctest.testmod(module, extraglobs=names)
    assert found.attempted
    assert not found.failed


def test_no_other_docstring_has_an_example():
    shown = {path.stem for path in (ROOT / "dowhy_cina").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")}
    assert shown == {"per_dataset", "battery"}
