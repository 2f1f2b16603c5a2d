"""Every setting, each in one frozen field with its default and unit.

Command line, recipe and checkpoint derive from these classes.
"""

from __future__ import annotations

import dataclasses
import math
import os
import reprlib
import sys
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from dowhy_cina.errors import InputError, InputTypeError, came, check_choice, check_known

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Config = TypeVar("Config")

#: Landmarks of a table whose smaller arm has at most so many rows; they grow with its square root from there on.
LANDMARKS, FEW_ROWS = 128, 1024
#: Fewest samples of a calibration.
FEWEST_SAMPLES = 10
#: Most landmarks, which are a multiple of the last number, and rows times landmarks: beyond, time would grow with both.
MOST_LANDMARKS, MOST_ENTRIES, LANDMARK_STEP = 256, 12 * 2**20, 16


def from_mapping(cls: type[Config], values: Mapping[str, Any], what: str) -> Config:
    """Build a config from a mapping; unknown keys raise and name the nearest known one.

    Parameters
    ----------
    cls
        One of the dataclasses of this module.
    values
        As a TOML or JSON file holds them: a list stands for a tuple, a whole number may stand for a float.
    what
        What a key is, in the singular, as it reads in a message ("training setting of cina-small.toml").

    Raises
    ------
    UnknownOptionError
        If a key is not a field of ``cls``.
    InputError
        If a value has another type than the field's default, or does not pass the checks of ``cls``.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"expected {what} as a table of name = value, got {values!r}.")
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    check_known(values, defaults, what)
    return cls(**{name: _typed(value, defaults[name], f"{what} {name!r}") for name, value in values.items()})


def check_config(value: Any, cls: type[Any], what: str) -> None:
    """Refuse settings that are no config of a class.

    Raises
    ------
    InputTypeError
        If they are not.
    """
    if not isinstance(value, cls):
        raise InputTypeError(
            f"{what} must be a {cls.__name__}, got {came(value)}; {cls.__name__}() has the defaults, and takes what "
            "differs from them by name."
        )


def _typed(value: Any, default: Any, what: str) -> Any:
    """Return the value in the type of its default, which a file or an override may have written in another form."""
    kind = type(default)
    if kind is float and type(value) is int and abs(value) < 2**1000:
        return float(value)
    if kind is tuple and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if default is not None and (type(value) is not kind or kind is tuple):
        expected = "of type tuple, of texts" if kind is tuple else f"of type {kind.__name__}"
        raise InputError(f"{what} must be {expected}, such as {default!r}; got {reprlib.repr(value)}.")
    return value


def _make_plain(config: Any) -> None:
    """Turn other numbers than Python's, such as numpy's, and paths into numbers and texts, which files write alike."""
    for name, value in vars(config).items():
        if isinstance(value, os.PathLike):
            object.__setattr__(config, name, os.fspath(value))
        elif isinstance(value, Real) and not isinstance(value, bool):
            object.__setattr__(config, name, int(value) if isinstance(value, Integral) else float(value))


def _check_types(config: Any, apart: tuple[str, ...] = ()) -> None:
    """Bring every field but some into the type of its default, plain as :func:`_make_plain` makes it, or raise."""
    _make_plain(config)
    for field in dataclasses.fields(config):
        if field.name not in apart:
            object.__setattr__(config, field.name, _typed(getattr(config, field.name), field.default, field.name))


def _check_ranges(config: Any, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Raise unless every named number lies in its range, of which whole bounds ask for a whole number."""
    for name, (least, most) in ranges.items():
        value = getattr(config, name)
        whole = isinstance(least, int)
        fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not fits or not least <= value <= most:
            bounds = f"a number from {least:g} to {most:g}"
            if whole:
                bounds = f"at most {most}, a whole number" if fits and value > most else f"at least {least}"
            raise InputError(f"{name} must be {bounds}, got {reprlib.repr(value)}.")


def read_toml(path: Path, expected: str, what: str = "") -> dict[str, Any]:
    """Content of a TOML file; ``what`` and ``expected`` say what it is and should be.

    Raises
    ------
    InputError
        If it cannot be read or is not valid TOML.
    """
    try:
        return parse_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{what}{path} cannot be read ({error.strerror}); expected {expected}.") from error
    except ValueError as error:
        raise InputError(f"{what}{path} is not valid TOML: {error}.") from error


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises
    ------
    ValueError
        If the text is none; tables in tables without end, which Python's parser cannot leave otherwise, are none.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network and the fixed rule that it starts from and corrects."""

    width: int = 48  #: embedding size of a column token
    layers: int = 2  #: transformer layers over column tokens
    heads: int = 4  #: attention heads over column tokens
    key_width: float = 2.0  #: kernel width in root-mean-square distances of the scaled columns
    isotropic_share: float = 0.5  #: share of the columns' squared scales that ignores the pilot's gradients
    small_arm: float = 200.0  #: rows at which an arm's own gradients weigh as much as the pooled ones
    short_amplitude: float = 0.05  #: amplitude of the short head relative to the unit head
    wide_amplitude: float = 10.0  #: amplitude of the wide head relative to the unit head
    propensity_scale: float = 2.0  #: scale of the propensity score as a key coordinate, in 1 / key_width
    prognostic_scale: float = 0.5  #: scale of the prognostic scores as keys of the balancing layer, in 1 / key_width
    propensity_floor: float = 0.2  #: smallest divisor of the propensity score, in sd of the treatment
    balance_ridge: float = 9.0  #: ridge of target balancing, in multiples of the treatment fit's penalty
    regularisation: float = 0.1  #: lambda of the CInA dual, in multiples of the kernel's diagonal (box = 1 / this)
    dual_layers: int = 24  #: iterations of the CInA layer in one forward pass

    def __post_init__(self) -> None:
        _make_plain(self)
        # Far beyond what was ever trained; a file that asks for more must not cost its reader memory or hours.
        ranges: dict[str, tuple[float, float]] = {"width": (1, 1024), "layers": (1, 64), "heads": (1, 64)}
        ranges |= {"dual_layers": (1, 10_000), "isotropic_share": (1e-6, 1 - 1e-6), "small_arm": (1e-3, 1e9)}
        ranges |= dict.fromkeys(("key_width", "propensity_floor"), (1e-3, 1e3))
        ranges |= dict.fromkeys(("short_amplitude", "wide_amplitude"), (0.0, 1e3))
        ranges |= dict.fromkeys(("propensity_scale", "prognostic_scale"), (0.0, 1e3))
        ranges |= dict.fromkeys(("balance_ridge", "regularisation"), (1e-9, 1e6))
        _check_ranges(self, ranges)
        if self.width % self.heads:
            raise InputError(f"width must be a multiple of heads, got {self.width} and {self.heads}.")


@dataclasses.dataclass(frozen=True)
class EstimatorOptions:
    """Options of an estimate, shared by the direct call, DoWhy's ``init_params`` and the command line."""

    checkpoint: str = "cina-small"  #: bundled name, path, or "exact"
    device: str = "auto"  #: "auto", "cpu", "cuda" or "cuda:1"
    augmentation: str = "kernel"  #: "kernel" or "none"
    landmarks: int | None = None  #: rows that span the kernels; None: as many as :meth:`landmarks_for` says
    refine: float | None = None  #: relative duality gap to refine the weights to, in (0, 1)
    memory_limit: str | None = None  #: for example "4GB"

    def __post_init__(self) -> None:
        _make_plain(self)
        texts = {"checkpoint": "the name of a checkpoint or a path", "device": "'auto', 'cpu' or 'cuda'"}
        texts |= {} if self.memory_limit is None else {"memory_limit": "a size such as '4GB' or '500MB'"}
        for name, expected in texts.items():
            value = getattr(self, name)
            if not isinstance(value, str):
                raise InputTypeError(f"{name} must be {expected} as text, got {value!r}.")
        check_choice(self.augmentation, ("kernel", "none"), "augmentation")
        if self.landmarks is not None and not (isinstance(self.landmarks, int) and self.landmarks >= 2):
            raise InputError(f"landmarks must be a whole number of at least 2, got {self.landmarks!r}.")
        if self.refine is not None and not (isinstance(self.refine, float) and 0 < self.refine < 1):
            raise InputError(f"refine must be a relative duality gap in (0, 1) such as 1e-3, got {self.refine!r}.")

    def landmarks_for(self, control: int, treated: int) -> int:
        """Landmarks of a table whose arms have so many rows, or clusters.

        What can be learned of a table grows with its smaller arm, and so do its landmarks; on long tables they are
        fewer again, or these would be slow.
        """
        if self.landmarks is not None:
            return self.landmarks
        grown = min(LANDMARKS * math.sqrt(min(control, treated) / FEW_ROWS), MOST_ENTRIES / (control + treated))
        return max(LANDMARKS, int(min(grown, MOST_LANDMARKS)) // LANDMARK_STEP * LANDMARK_STEP)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """A pretraining run."""

    seed: int = 0  #: seed of the tables and of the initial weights
    steps: int = 0  #: length of the run, over which the learning rate is annealed; 0: by seconds
    seconds: float = 1800.0  #: length of a run without a number of steps
    patience: int = 0  #: validations without improvement after which a run ends early; 0: never
    start: str = ""  #: bundled name or path of a checkpoint to start from, with a fresh optimiser; "": untrained
    tables_per_batch: int = 4  #: tables of one shape in a batch
    batches_per_step: int = 4  #: batches of different shapes in a step
    average_decay: float = 0.98  #: decay per step of the weights' moving average, which is what is validated and kept
    landmarks: int = LANDMARKS  #: landmarks of a training table
    min_rows: int = 100  #: fewest rows
    max_rows: int = 4000  #: most rows
    max_columns: int = 80  #: most columns
    learning_rate: float = 1e-3  #: peak of AdamW
    weight_decay: float = 1e-2  #: of AdamW
    warmup_steps: int = 50  #: linear warm-up
    clip: float = 1.0  #: largest gradient norm
    augmented_weight: float = 1.0  #: weight of the augmented estimate's error
    weights_only_weight: float = 0.3  #: weight of the error of the balancing weights alone
    regression_weight: float = 0.2  #: weight of the error of the outcome regression alone
    paper_weight: float = 0.2  #: weight of the error of the arm-against-arm weights
    gap_weight: float = 0.1  #: weight of the relative duality gap (self-supervised)
    hinge_weight: float = 0.0  #: weight of the balancing loss per row (self-supervised)
    outcomes: bool = True  #: read outcomes where effects are known; false: never
    random_outcomes: bool = True  #: random functions as outcomes where none is read; false: the gap alone (Algorithm 2)
    validation_every: int = 100  #: steps between validations
    validation_tables: int = 96  #: tables of a validation
    validation_families: tuple[str, ...] = (
        "kang_schafer",
        "simulation_a",
        "quadratic_forms",
    )  #: families left out of training
    calibration_samples: int = 0  #: simulated samples that the variance heads are fitted on after the run; 0: they stay
    workers: int = 1  #: processes that draw tables; the order of tables does not depend on it
    device: str = "cpu"  #: "auto", "cpu", "cuda" or "cuda:1"
    bfloat16: bool = False  #: the transformer in bfloat16, on a CUDA device
    compile: bool = False  #: compile the transformer
    tensorboard: bool = False  #: write TensorBoard's files beside the checkpoint too

    def __post_init__(self) -> None:
        _check_types(self)
        weights = [field.name for field in dataclasses.fields(self) if field.name.endswith("_weight")]
        ranges: dict[str, tuple[float, float]] = {
            "seed": (0, 2**62),
            "average_decay": (0.0, 1 - 1e-9),
            "learning_rate": (1e-12, 10.0),
            "weight_decay": (0.0, 10.0),
            "clip": (1e-12, math.inf),
            "min_rows": (0, 10**7),
            "max_rows": (0, 10**7),
            "max_columns": (2, 10**5),
            "landmarks": (2, 10**5),
            # Two validation tables are the fewest of which half, one, can come from the families left out of training.
            "validation_tables": (2, 10**6),
            "workers": (0, 1000),
        }
        ranges |= dict.fromkeys(("steps", "patience", "calibration_samples"), (0, 10**9))
        counts = ("tables_per_batch", "batches_per_step", "warmup_steps", "validation_every")
        ranges |= dict.fromkeys(counts, (1, 10**9))
        ranges |= dict.fromkeys(weights, (0.0, 1e9))
        _check_ranges(self, ranges)
        if not 0 < self.seconds < math.inf:
            raise InputError(f"seconds must be positive and finite, got {self.seconds}.")
        if self.calibration_samples:
            check_samples(self.calibration_samples)
        if not 20 <= self.min_rows <= self.max_rows:
            raise InputError(f"expected 20 <= min_rows <= max_rows, got {self.min_rows} and {self.max_rows}.")


def check_samples(samples: int) -> None:
    """Refuse a calibration on so few samples that there is nothing to fit, or nothing held out.

    Raises
    ------
    InputError
        If there are too few.
    """
    if samples < FEWEST_SAMPLES:
        raise InputError(
            f"calibration_samples must be at least {FEWEST_SAMPLES}, got {samples}: a fifth is held out and the "
            "others fit the variances. Intervals to rely on take thousands."
        )


@dataclasses.dataclass(frozen=True)
class CollectionConfig:
    """A collection of tables that a recipe names: simulators, or a folder."""

    simulators: tuple[str, ...] = ()  #: names of simulators; ["all"]: all that validation does not keep
    path: str = ""  #: folder of tables with a collection.toml, from the recipe's folder
    weight: float = 1.0  #: chance of a batch from this collection, relative to the others

    def __post_init__(self) -> None:
        _check_types(self)
        if bool(self.simulators) == bool(self.path):
            raise InputError(
                f"a collection must name either simulators or the path of a folder, got simulators = "
                f"{list(self.simulators)} and path = {self.path!r}."
            )
        if not 0 < self.weight < math.inf:
            raise InputError(f"the weight of a collection must be positive and finite, got {self.weight}.")


@dataclasses.dataclass(frozen=True)
class FolderConfig:
    """What the tables of a folder have in common, written in its collection.toml."""

    treatment: str = ""  #: column of the treatment
    covariates: tuple[str, ...] = ()  #: columns to adjust for; none: all others
    treated: str = ""  #: value of the treatment column that means treated, as text; "": the larger of two
    control: str = ""  #: value that means control
    outcome: str = ""  #: column of the outcome; "": there is none, and the tables need none
    effects: tuple[tuple[str, float], ...] = ()  #: known average effects, file name and value in the outcome's unit

    def __post_init__(self) -> None:
        _check_types(self, apart=("effects",))
        if not isinstance(self.effects, tuple) or not all(map(_is_known_effect, self.effects)):
            raise InputError(
                f'effects must be pairs of a file name and a number, such as (("a.csv", 1.5),); got '
                f"{reprlib.repr(self.effects)}."
            )
        if not self.treatment:
            raise InputError('a collection must name its treatment column, such as treatment = "treated".')
        if self.effects and not self.outcome:
            raise InputError("known effects need the outcome that they are effects on: name the outcome's column.")
        broken = [f"{name} = {effect}" for name, effect in self.effects if not math.isfinite(effect)]
        if broken:
            raise InputError(f"known effects must be finite numbers, got {', '.join(broken)}.")
        roles = [name for name in (self.treatment, self.outcome, *self.covariates) if name]
        twice = [name for name in dict.fromkeys(roles) if roles.count(name) > 1]
        if twice or "" in self.covariates:
            raise InputError(
                "expected a column for the treatment, another for the outcome and others as covariates; got "
                f"{', '.join(map(repr, twice)) + ' more than once' if twice else 'a covariate without a name'}."
            )
        if self.treated and self.treated == self.control:
            raise InputError(f"expected two values of the treatment, got {self.treated!r} for treated and control.")


def _is_known_effect(pair: Any) -> bool:
    """Whether it is the name of a file and a number."""
    return (
        isinstance(pair, tuple)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and isinstance(pair[1], Real)
        and not isinstance(pair[1], bool)
    )
