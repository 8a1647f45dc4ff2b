"""Everything that must survive a kill, in one safetensors file that is replaced atomically.

Tensors: trained parameters, Adam's moments, torch's random state. Header: the step, the method's state,
Python's and NumPy's random states, all as JSON; nothing is pickled.
"""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from assent.core.errors import ArtifactError
from assent.core.jsonl import write_atomic

FILE = "checkpoint.safetensors"


def save(
    folder: Path,
    step: int,
    modules: dict[str, nn.Module],
    optimisers: dict[str, torch.optim.Optimizer],
    method_state: dict[str, Any],
    extra: dict[str, Any],
) -> None:
    """Write the checkpoint after `step` finished steps."""
    tensors: dict[str, Tensor] = {"rng/torch": torch.get_rng_state()}
    for name, module in modules.items():
        for key, parameter in module.named_parameters():
            if parameter.requires_grad:
                tensors[f"module/{name}/{key}"] = parameter.detach()
                for moment, value in optimisers[name].state.get(parameter, {}).items():
                    tensors[f"moment/{name}/{key}/{moment}"] = torch.as_tensor(value)
    header = {"format": 1, "step": step, "method": method_state, "extra": extra, "rng": _random_states()}
    held = {k: v.contiguous().cpu() for k, v in tensors.items()}
    # From where they are into the file: a copy in memory would be half as large again as all that training holds.
    write_atomic(folder / FILE, partial(save_file, held, metadata={"assent": json.dumps(header)}))


def load(
    folder: Path, modules: dict[str, nn.Module], optimisers: dict[str, torch.optim.Optimizer]
) -> dict[str, Any] | None:
    """Take back a checkpoint: fills modules and optimisers, sets the random states; returns its header."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, Any] = json.loads(file.metadata()["assent"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        _check(tensors, modules)
        _fill(tensors, modules, optimisers)
        torch.set_rng_state(tensors["rng/torch"])
        _set_random_states(header["rng"])
        if not {"step", "method"} <= header.keys():
            raise ValueError("its header is incomplete")
    except Exception as error:
        raise ArtifactError(
            f"damaged checkpoint ({error})", where=str(path), fix="delete it to start the step afresh"
        ) from None
    return header


def _check(tensors: dict[str, Tensor], modules: dict[str, nn.Module]) -> None:
    """Refuse a checkpoint of another model: `copy_` would broadcast and cast without a word."""
    wanted = {
        f"module/{name}/{key}": parameter
        for name, module in modules.items()
        for key, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    if differing := sorted(wanted.keys() ^ {key for key in tensors if key.startswith("module/")}):
        raise ValueError(f"it is another model's: {differing[0]} stands on one side only")
    for key, parameter in wanted.items():
        if (tensors[key].shape, tensors[key].dtype) != (parameter.shape, parameter.dtype):
            raise ValueError(f"it is another model's: {key} is {tensors[key].dtype} {list(tensors[key].shape)}")


def _fill(
    tensors: dict[str, Tensor], modules: dict[str, nn.Module], optimisers: dict[str, torch.optim.Optimizer]
) -> None:
    for name, module in modules.items():
        for key, parameter in module.named_parameters():
            if parameter.requires_grad:
                with torch.no_grad():
                    parameter.copy_(tensors[f"module/{name}/{key}"])
                prefix = f"moment/{name}/{key}/"
                moments = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                if moments:
                    # The fused optimiser keeps its step count where the parameter is.
                    optimisers[name].state[parameter] = {k: v.to(parameter.device) for k, v in moments.items()}


def remove(folder: Path) -> None:
    """A finished step needs no checkpoint, nor do the members of one."""
    for path in folder.rglob(FILE):
        path.unlink(missing_ok=True)


def _random_states() -> dict[str, Any]:
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # type: ignore[misc]
    version, internal, gauss_next = random.getstate()
    return {
        "python": [version, list(internal), gauss_next],
        "numpy": [kind, [int(k) for k in keys], position, has_gauss, gauss],
    }


def _set_random_states(states: dict[str, Any]) -> None:
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
