"""Files beside each other: each is whole, in their order, and what the dead left is cleared."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dowhy_cina.errors import CheckpointError
from dowhy_cina.model.files import clear_partials, write_together


def test_files_take_their_places_in_order_and_each_is_whole(tmp_path, monkeypatch):
    """A crash between two of them leaves the new one before it and the earlier one after."""
    paths = [tmp_path / name for name in ("state", "curve", "model")]
    write_together(dict.fromkeys(paths, b"earlier"))
    replace = os.replace

    def crashing(source, target):
        if target == paths[1]:
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr("dowhy_cina.model.files.os.replace", crashing)
    with pytest.raises(CheckpointError, match=r"curve cannot be written.*an earlier file of that name is as it was"):
        write_together(dict.fromkeys(paths, b"new"))
    assert [path.read_bytes() for path in paths] == [b"new", b"earlier", b"earlier"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_files_of_the_dead_are_cleared(tmp_path):
    """Not those that a living process writes, nor others."""
    target = tmp_path / "x.[0].safetensors"
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    living = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    names = {"dead": f"{target.name}.{dead.pid}", "old": f"{target.name}.1", "alive": f"{target.name}.{living.pid}"}
    names |= {"text": f"{target.name}.x", "other": f"x.0.safetensors.{dead.pid}"}
    files = {name: tmp_path / f"{start}.partial" for name, start in names.items()}
    for file in files.values():
        file.write_bytes(b"half")
    os.utime(files["old"], (1, 1))
    clear_partials([target])
    living.communicate()
    assert {name for name, file in files.items() if file.exists()} == {"alive", "text", "other"}
