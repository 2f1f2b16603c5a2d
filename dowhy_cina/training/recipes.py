"""Recipes: a TOML file with the tables ``[training]`` and ``[model]``, and ``key=value`` overrides."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dowhy_cina import checkpoint
from dowhy_cina.config import ModelConfig, TrainingConfig, from_mapping
from dowhy_cina.errors import InputError, check_known
from dowhy_cina.training.trainer import pretrain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Tables of a recipe and what they become.
TABLES: dict[str, Any] = {"training": TrainingConfig, "model": ModelConfig}


def parse_recipe(path: Path, overrides: Sequence[str] = ()) -> tuple[TrainingConfig, ModelConfig]:
    """Read a recipe; overrides are ``training.seconds=60`` or, for the training table, ``seconds=60``.

    Raises
    ------
    InputError
        If the file cannot be read or is not valid TOML, an override is not ``key=value``, or a value is out of range.
    UnknownOptionError
        If a table or a key is not known.
    """
    try:
        recipe: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"recipe {path} cannot be read ({error.strerror}); expected a TOML file such as recipes/cina-small.toml."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path} is not valid TOML: {error}.") from error
    check_known(recipe, TABLES, f"table of {path}")
    changed: dict[str, dict[str, Any]] = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise InputError(f"expected key=value, got {override!r}.")
        table, _, name = key.strip().rpartition(".")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        check_known([table or "training"], TABLES, "table of an override")
        changed.setdefault(table or "training", {})[name] = value
    configs = {}
    for table, cls in TABLES.items():
        values = recipe.get(table, {})
        if not isinstance(values, dict):
            raise InputError(f"expected a table [{table}] in {path}, got {table} = {values!r}.")
        configs[table] = from_mapping(cls, values | changed.get(table, {}), f"{table} setting of {path}")
    return configs["training"], configs["model"]


def main(recipe: Path, overrides: Sequence[str] = (), resume: bool = False, output: Path | None = None) -> Path:
    """Pretrain by a recipe; ``resume`` continues from the output's weights and carries its totals on.

    Raises
    ------
    InputError, UnknownOptionError
        As :func:`parse_recipe`.
    CheckpointError
        If there is no checkpoint to resume from.

    Returns
    -------
    Path
        The checkpoint, by default the recipe's name with ``.safetensors`` in the working directory.
    """
    training, model = parse_recipe(Path(recipe), overrides)
    target = output or Path(f"{Path(recipe).stem}.safetensors")
    if resume:
        checkpoint.read_header(target)
    pretrain(training, model_config=model, output=target, start=target if resume else None)
    return target
