"""The how-to page "Pretrain on your own tables" runs as it stands, with a run of a few steps instead of minutes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dowhy_cina import cli
from dowhy_cina.model import checkpoint

PAGE = Path(__file__).resolve().parents[3] / "docs" / "pretraining.rst"
BLOCK = re.compile(r"\.\. code-block:: (\w+)\n(?:   :caption: (\S+)\n)?\n((?:   .*\n|\n)+)")
#: A few steps, and tables of a few rows.
SHORT = ["steps=3", "max_rows=120", "max_columns=8", "validation_tables=2", "workers=0", "tables_per_batch=1"]


def blocks():
    for kind, caption, content in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        yield kind, caption, re.sub(r"^   ", "", content, flags=re.MULTILINE)


@pytest.mark.slow
def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands, names = [], {}
    for kind, caption, content in blocks():
        if kind == "toml":
            Path(caption).write_text(content)
        elif kind == "python":
            exec(compile(content, str(PAGE), "exec"), names)
        else:
            for line in re.findall(r"^\$ dowhy-cina (.+)$", content, re.MULTILINE):
                arguments = shlex.split(line.replace("--tables 20", "--tables 1"))
                if arguments[0] == "pretrain":
                    arguments += [part for setting in SHORT for part in ("--set", setting)]
                assert cli.main(arguments) == 0, capsys.readouterr().err
                commands.append(arguments[0])
    assert commands == ["pretrain", "pretrain", "info", "evaluate", "evaluate"]
    assert len(list(Path("mine").glob("*.csv"))) == 20
    header = checkpoint.read_header("mine.safetensors")
    assert header["families"][0] == "mine"
    assert header["steps"] >= checkpoint.read_header("cina-small")["steps"]
    assert names["header"]["families"] == ["mine", "targeted", "records"]
    assert re.search("outcomes +read in training", capsys.readouterr().out)
