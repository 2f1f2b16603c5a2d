"""``dowhy-cina info``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import dowhy_cina
from dowhy_cina.cli.arguments import DEFAULTS
from dowhy_cina.config import LANDMARKS

_PACKAGES = ("dowhy", "torch", "numpy", "pandas", "scipy", "scikit-learn", "networkx", "matplotlib", "dask")


def add_parser(commands: Any) -> None:
    """Add the arguments of ``info``."""
    info = commands.add_parser(
        "info",
        help="show a checkpoint's model card, devices and versions",
        description="Show a checkpoint's model card, the devices and the versions.",
    )
    info.add_argument(
        "checkpoint", nargs="?", default=DEFAULTS["checkpoint"], help="bundled name or path (default: %(default)s)"
    )
    info.add_argument("--header", action="store_true", help="print the checkpoint's whole header as JSON instead")
    info.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print a checkpoint's model card, the devices and the versions."""
    from dowhy_cina.model.checkpoint import read_header, resolve

    header = read_header(arguments.checkpoint)
    if arguments.header:
        print(json.dumps(header, indent=2, sort_keys=True))
        return
    print(f"checkpoint {arguments.checkpoint}")
    size = resolve(arguments.checkpoint).stat().st_size
    lines = list(_card(header, size))
    width = max(len(name) for name, _ in lines) + 2
    for name, text in lines:
        print(f"  {name:{width}s}{text}")
    print("\ndevices")
    for name in _devices():
        print(f"  {name}")
    print("\nplan of an estimate")
    for line in _plan():
        print(f"  {line}")
    print("\nversions")
    print(f"  {'dowhy-cina':14s}{dowhy_cina.__version__}")
    print(f"  {'python':14s}{'.'.join(map(str, sys.version_info[:3]))}")
    for package in _PACKAGES:
        print(f"  {package:14s}{_version(package)}")


def _card(header: dict[str, Any], size: int) -> Iterator[tuple[str, str]]:
    """Lines of the model card: what the header has, in words."""
    yield "format", f"{header['format']} {header['format_version']}, {size / 1e3:.0f} kB, licence {header['licence']}"
    yield "content", f"sha256 {header.get('sha256', 'unknown')}"
    model = header.get("model", {})
    yield "network", ", ".join(f"{name} {model[name]}" for name in ("width", "layers", "heads") if name in model)
    recipe = header.get("recipe", {})
    if "tables" in header and "seconds" in header:
        hours, rate = header["seconds"] / 3600, header["tables"] / max(header["seconds"], 1e-9)
        yield "trained on", f"{header['tables']:,} tables in {header.get('steps', 0):,} steps"
        yield "time", f"{hours:.2f} hours, {rate:.1f} tables a second"
    if "waiting_share" in header:
        yield "waiting for data", f"{100 * header['waiting_share']:.1f} % of the time"
    if "families" in header:
        yield "collections", ", ".join(header["families"])
    if {"min_rows", "max_rows", "max_columns"} <= recipe.keys():
        yield "rows and columns", f"{recipe['min_rows']} to {recipe['max_rows']}, up to {recipe['max_columns']}"
        instead = ", random functions in their place" if recipe.get("random_outcomes", False) else ""
        yield "outcomes", "read in training" if recipe.get("outcomes", True) else f"never read in training{instead}"
        yield "kept for validation", ", ".join(recipe.get("validation_families", ()))
    for part, figures in header.get("validation", {}).items():
        shown = {"augmented": "error", "weights_only": "weights alone", "gap": "duality gap"}
        texts = [f"{word} {figures[name]:.4f}" for name, word in shown.items() if name in figures]
        yield f"validation, {part}", ", ".join(texts)
    for name, figure in header.get("figures", {}).items():
        yield name, f"{figure:.4g}" if isinstance(figure, float) else str(figure)


def _devices() -> list[str]:
    import torch

    from dowhy_cina.mathematics.devices import available_devices

    details = {"cpu": f"{torch.get_num_threads()} threads"}
    return [f"{name} ({details.get(name) or torch.cuda.get_device_name(name)})" for name in available_devices()]


def _plan() -> list[str]:
    """Say what is computed exactly, what is planned with, and what long tables keep."""
    import torch

    from dowhy_cina.mathematics.devices import resolve_device
    from dowhy_cina.mathematics.memory import DEFAULT_SHARE, format_memory, free_memory, longest_kept

    device = resolve_device(str(DEFAULTS["device"]))
    limit = int(DEFAULT_SHARE * free_memory(device))
    rows = longest_kept(20, LANDMARKS, limit, device)
    return [
        f"exact up to {LANDMARKS} rows, that many landmarks beyond, and more for some thousand rows",
        f"memory_limit: {format_memory(limit)} on {device} ({100 * DEFAULT_SHARE:.0f} % of what is free)",
        f"{torch.float64}; features of up to about {rows:,} rows of 20 columns are kept, "
        "those of longer tables computed again in blocks",
    ]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
