"""Recipes: a TOML file with ``[training]``, ``[model]`` and ``[[collections]]``, and ``key=value`` overrides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from dowhy_cina.config import CollectionConfig, ModelConfig, TrainingConfig, from_mapping, parse_toml, read_toml
from dowhy_cina.errors import InputError, InputTypeError, as_path, came, check_known
from dowhy_cina.learning.training.collections import Collection, Mixture, Simulators, training_families
from dowhy_cina.learning.training.folders import Folder
from dowhy_cina.learning.training.trainer import pretrain

#: Tables of a recipe and what they become.
TABLES: dict[str, Any] = {"training": TrainingConfig, "model": ModelConfig}
_SHIPPED = resources.files("dowhy_cina.learning") / "recipes"


@dataclass(frozen=True)
class Recipe:
    """What a recipe asks for; ``model`` and ``collections`` are None or empty where it says nothing of them."""

    training: TrainingConfig
    model: ModelConfig | None
    collections: tuple[CollectionConfig, ...]
    folder: Path


def bundled() -> list[str]:
    """Names of the recipes that ship with the package: those of the bundled models."""
    return sorted(Path(item.name).stem for item in _SHIPPED.iterdir() if item.name.endswith(".toml"))


def parse_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; overrides are ``training.seconds=60`` or, for the training table, ``seconds=60``.

    Parameters
    ----------
    name_or_path : str or pathlib.Path
        A bundled name or a TOML file.
    overrides : sequence of str
        Settings that replace those of the recipe.

    Raises
    ------
    InputError
        If the file cannot be read or is not valid TOML, an override is not ``key=value``, or a value is out of range.
    UnknownOptionError
        If a table or a key is not known.
    """
    shipped = Path(str(_SHIPPED / f"{name_or_path}.toml"))
    path = shipped if shipped.is_file() else as_path(name_or_path, "the recipe")
    recipe = read_toml(path, f"a TOML file, or one of {', '.join(bundled())}", "recipe ")
    check_known(recipe, [*TABLES, "collections"], f"table of {path}")
    changed = parse_overrides(overrides)
    configs: dict[str, Any] = {}
    for table, cls in TABLES.items():
        values = recipe.get(table, {})
        if not isinstance(values, dict):
            raise InputError(f"expected a table [{table}] in {path}, got {table} = {values!r}.")
        given = values | changed.get(table, {})
        configs[table] = (
            from_mapping(cls, given, f"{table} setting of {path}") if given or table == "training" else None
        )
    entries = recipe.get("collections", [])
    if not isinstance(entries, list):
        raise InputError(f"expected tables [[collections]] in {path}, got collections = {entries!r}.")
    collections = [from_mapping(CollectionConfig, entry, f"collection setting of {path}") for entry in entries]
    return Recipe(configs["training"], configs["model"], tuple(collections), path.parent)


def parse_overrides(overrides: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings of each table that ``table.key=value`` replaces.

    Raises
    ------
    InputError, InputTypeError
        If an override is not ``key=value``.
    UnknownOptionError
        If a table is not known.
    """
    if isinstance(overrides, str):
        overrides = (overrides,)
    if not isinstance(overrides, Sequence) or not all(isinstance(override, str) for override in overrides):
        raise InputTypeError(f"overrides must be texts such as 'steps=100' in a list, got {came(overrides)}.")
    changed: dict[str, dict[str, Any]] = {}
    for override in overrides:
        table, name, value = _parse_override(override)
        changed.setdefault(table, {})[name] = value
    return changed


def _parse_override(override: str) -> tuple[str, str, Any]:
    """Table, key and value of ``table.key=value``."""
    key, separator, text = override.partition("=")
    if not separator:
        raise InputError(f"expected key=value, got {override!r}.")
    table, _, name = key.strip().rpartition(".")
    check_known([table or "training"], TABLES, "table of an override")
    try:
        return table or "training", name, parse_toml(f"value = {text}")["value"]
    except ValueError:
        return table or "training", name, text


def build_collection(recipe: Recipe, strict: bool = False) -> Collection:
    """Build what the recipe trains on; without collections all simulators but those kept for validation.

    Folders are found from the recipe's own folder.

    Raises
    ------
    InputError
        If a collection cannot be used; with ``strict`` also if a single table cannot.
    """
    if not recipe.collections:
        return Simulators(tuple(training_families(recipe.training)))
    parts: list[Collection] = []
    for entry in recipe.collections:
        if entry.path:
            parts.append(Folder(recipe.folder / entry.path, strict=strict))
        else:
            named = entry.simulators if entry.simulators != ("all",) else None
            parts.append(Simulators(tuple(training_families(recipe.training, named))))
    return parts[0] if len(parts) == 1 else Mixture(tuple(parts), tuple(entry.weight for entry in recipe.collections))


def main(
    recipe: str | Path,
    overrides: Sequence[str] = (),
    resume: bool = False,
    output: str | Path | None = None,
    strict: bool = False,
) -> Path:
    """Pretrain by a recipe; ``resume`` goes on from the last saved state of the run.

    Of several processes under torchrun the first alone calibrates and writes.

    Raises
    ------
    InputError, UnknownOptionError
        As :func:`parse_recipe`, :func:`build_collection` and :func:`~dowhy_cina.training.pretrain`.
    CheckpointError
        If there is no state to resume from, or a checkpoint to start from cannot be read.
    RunStoppedError
        If the run was asked to stop.

    Returns
    -------
    Path
        The checkpoint, by default the recipe's name with ``.safetensors`` in the working directory.
    """
    parsed = parse_recipe(recipe, overrides)
    target = as_path(output or f"{Path(recipe).stem}.safetensors", "output")
    start = parsed.training.start
    pretrain(
        parsed.training,
        build_collection(parsed, strict),
        model_config=parsed.model,
        output=target,
        start=Path(start) if start else None,
        resume=resume,
    )
    return target
