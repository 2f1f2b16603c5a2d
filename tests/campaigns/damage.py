"""Ways to damage a file of safetensors with a header: by accident, and with the right hash by intent."""

from __future__ import annotations

import json
import pickle

import numpy as np
import torch
from safetensors.torch import load, save

from dowhy_cina.model.files import content_hash


def nested(depth):
    """Lists in lists."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


#: What no entry of a header expects.
VALUES = (None, True, -1, 0, 0.5, 10**6, 10**12, 10**400, float("nan"), float("inf"), -1e300, 1e300, "", "x" * 10**5)
VALUES += ("\0", "\ud800", [], {}, [[]], {"a": {}}, [1, 2], nested(15), nested(40), nested(900))


def setting_bits(content):
    """Places of the bits of the model's settings in a checkpoint."""
    start = content.index(b'\\"model\\": {')
    return np.arange(8 * start, 8 * (content.index(b"}", start) + 1))


def opened(content):
    """Header and tensors."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["header"]), load(content)


def sealed(header, tensors):
    """A file with a header and tensors, and their hash."""
    text = json.dumps({name: value for name, value in header.items() if name != "sha256"})
    digest = content_hash({name: tensor for name, tensor in tensors.items() if tensor.dtype in _HASHED}, text)
    return save(tensors, metadata={"header": f'{{"sha256": "{digest}", {text[1:]}'})


_HASHED = (torch.float32, torch.float64, torch.int64)


def _entry(content, rng):
    header, tensors = opened(content)
    parent, place = header, rng.choice(list(header))
    while isinstance(parent[place], dict) and parent[place] and rng.random() < 0.8:
        parent = parent[place]
        place = rng.choice(list(parent))
    if rng.random() < 0.1:
        parent.pop(place)
    else:
        parent[place] = VALUES[rng.integers(len(VALUES))]
    return sealed(header, tensors)


def _setting(content, rng):
    header, tensors = opened(content)
    settings = header.get("model") or header["model_config"]
    settings[rng.choice(list(settings))] = VALUES[rng.integers(len(VALUES))]
    return sealed(header, tensors)


def _tensor(content, rng):
    header, tensors = opened(content)
    name = rng.choice(list(tensors))
    tensor = tensors[name]
    changes = (
        lambda: tensor * float(rng.choice([np.nan, np.inf, 1e30])),
        lambda: tensor.to([torch.float64, torch.int64, torch.bool, torch.bfloat16, torch.int8][rng.integers(5)]),
        lambda: tensor.reshape(-1)[: rng.integers(tensor.numel() + 1)].clone(),
        lambda: tensor.expand(3, *tensor.shape).clone(),
        lambda: torch.zeros(0, 5),
    )
    change = rng.integers(len(changes) + 2)
    if change < len(changes):
        tensors[name] = changes[change]()
    else:
        tensors.pop(name)
        if change == len(changes):
            tensors[f"{name}.other"] = tensor.clone()
    return sealed(header, tensors)


def _bytes(content, rng):
    changed = bytearray(content)
    start = int(rng.integers(len(content)))
    changed[start : start + int(rng.integers(1, 64))] = rng.bytes(int(rng.integers(0, 64)))
    return bytes(changed)


def _outer(content, rng):
    """Another description of the tensors, in the file's own JSON."""
    length = int.from_bytes(content[:8], "little")
    outer = json.loads(content[8 : 8 + length])
    entry = outer[rng.choice(list(outer)[1:])]
    field = rng.choice(["dtype", "shape", "data_offsets"])
    choices = {
        "dtype": ["F64", "BOOL", "F8_E4M3", "I128", 3],
        "shape": [[], [-1], [2**62, 4], [0], "x", [1.5], [10**400]],
        "data_offsets": [[0, 0], [8, 4], [0, 2**63], [], "x", [0, 10**12]],
    }[field]
    entry[field] = choices[rng.integers(len(choices))]
    text = json.dumps(outer).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _length(content, rng):
    return int(rng.choice([0, 1, 2**31, 2**62, 99_999_999])).to_bytes(8, "little") + content[8:]


def _text(content, rng):
    text = "[" * int(rng.integers(1, 10**5)) if rng.random() < 0.5 else '{"format": ' * int(rng.integers(1, 10**4))
    return save({"weight": torch.zeros(3)}, metadata={"header": text})


def _other(content, rng):
    return [b"", pickle.dumps({"weight": 3}), b"\x80\x04cos\nsystem\n.", rng.bytes(1000), b"a,b\n1,2\n"][
        rng.integers(5)
    ]


#: Ways, by name.
WAYS = {
    "a flipped bit": lambda content, rng: _flipped(content, int(rng.integers(8 * len(content)))),
    "other bytes": _bytes,
    "cut": lambda content, rng: content[: rng.integers(len(content))],
    "longer": lambda content, rng: content + rng.bytes(int(rng.integers(1, 100))),
    "its halves the other way round": lambda content, rng: content[len(content) // 2 :] + content[: len(content) // 2],
    "a length": _length,
    "another description of tensors": _outer,
    "a header without end": _text,
    "something else": _other,
    "a setting, with the right hash": _setting,
    "an entry, with the right hash": _entry,
    "a tensor, with the right hash": _tensor,
}


def _flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damaged(content, rng):
    """A way and what it makes of a file."""
    kind = list(WAYS)[rng.integers(len(WAYS))]
    return kind, WAYS[kind](content, rng)
