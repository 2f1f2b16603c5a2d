"""What the adapter leans on in DoWhy is in the installed release; a part that has moved fails by its name."""

from __future__ import annotations

import re
from pathlib import Path

import dowhy
import numpy as np
import pandas as pd
import pytest
from dowhy.causal_estimator import CausalEstimate, CausalEstimator

import dowhy_cina
from dowhy_cina.adapter import host

PARTS = re.findall(r"^``([\w.]+)`` ", host.__doc__ or "", re.MULTILINE)
ADAPTER = Path(dowhy_cina.__file__).parent / "adapter"
#: What DoWhy reads from an estimator, or writes into the data, is found in its text alone.
READ = [name for name in PARTS if name.startswith("estimator.") or name == "w_random"]


@pytest.fixture(scope="module")
def holders():
    """What the names in the table begin with; instances, since most parts are set by a constructor."""
    frame = pd.DataFrame({"t": [0, 1], "y": np.arange(2.0)})
    estimator = CausalEstimator(None)
    estimator._set_effect_modifiers(frame)
    return {
        "CausalModel": dowhy.CausalModel(frame, "t", "y", common_causes=[]),
        "CausalEstimator": estimator,
        "CausalEstimate": CausalEstimate(frame, "t", "y", 1.0, None, None, 0, 1),
        "causal_estimators": dowhy.causal_estimators,
        "utils": dowhy.utils,
    }


@pytest.fixture(scope="module")
def text_of_readers():
    folder = Path(dowhy.__file__).parent
    files = [path for path in folder.rglob("*.py") if path.parent.name != "causal_estimators"]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@pytest.mark.parametrize("name", [name for name in PARTS if name not in READ])
def test_part_exists(name, holders):
    first, *rest = name.split(".")
    found = holders[first]
    for part in rest:
        assert hasattr(found, part), f"DoWhy has no {name}"
        found = getattr(found, part)


@pytest.mark.parametrize("name", READ)
def test_dowhy_reads_or_writes(name, text_of_readers):
    assert re.search(rf"\b{re.escape(name)}\b", text_of_readers), f"nothing in DoWhy uses {name}"


def test_the_constructor_takes_its_settings_by_name():
    assert {"test_significance", "evaluate_effect_strength", "confidence_intervals"} <= set(host.HOST_SETTINGS)


def test_the_table_names_every_part_with_an_underscore():
    """A name of ours that DoWhy's estimator has too is DoWhy's."""
    used = set()
    for path in ADAPTER.rglob("*.py"):
        code = path.read_text(encoding="utf-8").replace(host.__doc__, "")
        used |= set(re.findall(r"(?:\.|def |\")(_[a-z]\w*)", code))
    of_dowhy = {name for name in used if hasattr(CausalEstimator(None), name)}
    assert of_dowhy <= {name.split(".")[-1] for name in PARTS}
    assert len(of_dowhy) > 10
