"""The errors: what they are and what they say."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from dowhy_cina import errors


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.InputError, ValueError),
        (errors.InputTypeError, TypeError),
        (errors.CheckpointError, ValueError),
        (errors.UnknownOptionError, TypeError),
    ],
)
def test_errors_are_also_the_builtin_ones(error, builtin):
    assert issubclass(error, builtin)
    assert issubclass(error, errors.CinaError)


def test_known_names_pass():
    assert errors.check_known(["device", "refine"], ["refine", "device", "checkpoint"], "option") is None
    assert errors.check_known([], [], "option") is None


@pytest.mark.parametrize(
    ("given", "nearest"), [("devise", "device"), ("Checkpoint", "checkpoint"), ("refin", "refine")]
)
def test_unknown_name_is_answered_with_the_nearest(given, nearest):
    with pytest.raises(errors.UnknownOptionError) as caught:
        errors.check_known(["refine", given], ["refine", "device", "checkpoint"], "option of CinaEstimator")
    message = str(caught.value)
    assert f"unknown option of CinaEstimator: {given!r} (did you mean {nearest!r}?)" in message
    assert "'checkpoint', 'device', 'refine'" in message


def test_no_near_name_no_guess():
    with pytest.raises(errors.UnknownOptionError) as caught:
        errors.check_known(["zzzzzzz", 3], ["device"], "option")
    assert "did you mean" not in str(caught.value)
    assert "'zzzzzzz'" in str(caught.value)


def test_errors_needs_the_standard_library_only():
    code = (
        "import sys, runpy; runpy.run_path(sys.argv[1]); "
        "print([name for name in ('numpy', 'torch', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, errors.__file__], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("value", ["kernel", None])
def test_a_choice_passes(value):
    assert errors.check_choice(value, ("kernel", "none", None), "augmentation") is None


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        ("kernl", errors.InputError, "augmentation must be 'kernel' or 'none', got 'kernl' (did you mean 'kernel'?)."),
        (None, errors.InputTypeError, "got None; pass one of these words."),
        (np.array(["kernel", "none"]), errors.InputTypeError, "got an object of type ndarray"),
        (pd.Series([1.0, 2.0]), errors.InputTypeError, "got an object of type Series"),
        (["kernel"], errors.InputTypeError, "got an object of type list"),
    ],
)
def test_what_is_none_of_the_choices(value, error, text):
    with pytest.raises(error) as caught:
        errors.check_choice(value, ("kernel", "none"), "augmentation")
    assert text in str(caught.value)
