"""Public packages by their short names: the very modules of the rooms, in fresh interpreters and in this one."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import dowhy_cina
from dowhy_cina import _aliases


@pytest.mark.parametrize(("name", "room"), _aliases.ROOM_OF.items())
def test_a_short_name_is_the_package_in_its_room(name, room):
    short, home = (importlib.import_module(f"dowhy_cina.{path}") for path in (name, f"{room}.{name}"))
    assert short is home
    assert getattr(dowhy_cina, name) is home
    assert home.__spec__.name == home.__name__ == f"dowhy_cina.{room}.{name}"


@pytest.mark.parametrize(
    "statements",
    [
        "import dowhy_cina.training.calibration as a; import dowhy_cina.learning.training.calibration as b",
        "import dowhy_cina.learning.training.calibration as b; import dowhy_cina.training.calibration as a",
        "from dowhy_cina.training import calibration as a; from dowhy_cina.learning.training import calibration as b",
        "import dowhy_cina; a = dowhy_cina.training.calibration; import dowhy_cina.learning.training.calibration as b",
    ],
)
def test_whichever_name_comes_first_there_is_one_module(statements):
    code = f"{statements}; assert a is b; assert a.__spec__.name == 'dowhy_cina.learning.training.calibration'"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["dowhy_cina.training.nothing", "dowhy_cina.nothing", "dowhy_cina.data.nsw"])
def test_what_is_not_there_is_not_found_under_a_short_name_either(name):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)


def test_registering_again_changes_nothing():
    before = list(sys.meta_path)
    _aliases.register()
    assert sys.meta_path == before
