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


def parse_recipe(path: Path, overrides: Sequence[str] = ()) -> tuple[TrainingConfig, ModelConfig]:
    """Read a recipe; overrides are ``training.seconds=60`` or, for the training table, ``seconds=60``.

    Raises
    ------
    InputError
        If the file or an override is not valid TOML.
    UnknownOptionError
        If a table or a key is not known.
    """
    try:
        recipe: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"recipe {path} does not exist; expected a TOML file such as recipes/cina-small.toml.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"recipe {path} is not valid TOML: {error}.") from error
    check_known(recipe, ("training", "model"), f"tables of {path}")
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise InputError(f"expected key=value, got {override!r}.")
        table, _, name = key.strip().rpartition(".")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        check_known([table or "training"], ("training", "model"), "override tables")
        recipe.setdefault(table or "training", {})[name] = value
    training = from_mapping(TrainingConfig, recipe.get("training", {}), f"training settings of {path}")
    return training, from_mapping(ModelConfig, recipe.get("model", {}), f"model settings of {path}")


def main(recipe: Path, overrides: Sequence[str] = (), resume: bool = False, output: Path | None = None) -> Path:
    """Pretrain by a recipe; ``resume`` continues from the output's weights and carries its totals on.

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
