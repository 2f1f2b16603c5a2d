"""Fields of results as strict JSON has them."""

from __future__ import annotations

import math
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import pandas as pd


def plain(value: Any) -> Any:
    """A field as strict JSON has it: mappings, lists, and None where there is no finite number."""
    if is_dataclass(value):
        return plain(vars(value))
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, pd.DataFrame):
        return plain(value.reset_index().to_dict("records"))
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, tuple | list):
        return plain(value._asdict()) if hasattr(value, "_asdict") else [plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
