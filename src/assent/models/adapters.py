"""LoRA adapters (Hu et al. 2021, arXiv 2106.09685): train a low-rank change of linear layers, and nothing else.

    h = W x + (alpha / rank) B A x        B is zero at the start, so a fresh adapter changes nothing

Several models may stand on the same weights: each is an object with modules of its own, and a weight that nobody
trains is held once (`twin`). So the policy with its adapter off is another object, its base (`off`), and a critic or
a reward model is one more with an adapter of its own. Nothing is switched on or off between passes, which activation
checkpointing, computing a layer again in the backward pass, would not notice.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D

from assent.config.blocks import Adapter
from assent.core.console import log
from assent.core.errors import ConfigError
from assent.core.hashing import content_id, file_hash
from assent.models import heads
from assent.models.load import load_policy, load_reward_model

FOLDER = "adapter"
"""Beside the merged model's files: the adapter alone, in peft's format."""
BASE = "base.json"
"""In it: which weights the adapter sits on."""
NAME = "default"
"""What peft calls an adapter that has no name."""


def adapt(model: Any, adapter: Adapter | None, seed: int) -> Any:
    """Put a fresh adapter into `model`; from then on it and a reward or value head are all that is trained.

    None: the model as it is. The change is made in place; `twin` first where others stand on the same weights.
    Raises ConfigError where a target names no linear layer below the head.
    """
    if adapter is None:
        return model
    _inject(model, adapter.rank, adapter.alpha, _targets(model, adapter.targets))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, layer in _layers(model):
            down_RI = layer.lora_A[NAME].weight
            bound = 1 / math.sqrt(down_RI.shape[1])  # Kaiming's rule as peft has it, from a seed of our own
            down_RI.copy_(torch.empty(down_RI.shape).uniform_(-bound, bound, generator=draw))
    return model


def adapted(model: Any) -> bool:
    """Whether the model has an adapter."""
    return hasattr(model, "peft_config")


def twin(model: Any, own: Iterable[nn.Parameter] = ()) -> Any:
    """A second model over the same weights; only the parameters `own` are copied."""
    copied = {id(parameter) for parameter in own}
    return copy.deepcopy(model, {id(p): p for p in model.parameters() if id(p) not in copied})


def off(model: Any) -> Any:
    """The model without its adapter, over the same weights."""
    return _plain(model, lambda layer: layer.base_layer.weight)


@torch.no_grad()
def merged(model: Any) -> Any:
    """A plain model that computes what the adapted one does: W + (alpha / rank) B A; the adapted one stays."""
    return _plain(model, lambda layer: nn.Parameter(_sum(layer), requires_grad=False)) if adapted(model) else model


def _sum(layer: Any) -> Tensor:
    total: Tensor = layer.base_layer.weight + layer.get_delta_weight(NAME)
    return total


def _plain(model: Any, weight_of: Any) -> Any:
    bare = twin(model)
    for name, layer in _layers(bare):
        plain = layer.base_layer
        plain.weight = weight_of(layer)
        bare.set_submodule(name, plain)
    del bare.peft_config
    return bare


# Several models on one trunk


def reference_of(policy: Any, folder: str | Path) -> Any:
    """The frozen start of a policy that nothing has trained yet: its adapter off, or its folder loaded again."""
    return off(policy) if adapted(policy) else load_policy(folder).requires_grad_(False)


def value_model_on(policy: Any, tokenizer: Any, adapter: Adapter, seed: int) -> Any:
    """A value model over the policy's base weights: a fresh adapter of its own, and a head that is zero."""
    base = off(policy)
    return adapt(heads.on_trunk(base, heads.classifier_config(base, tokenizer)), adapter, seed)


def value_model_from(reward_model: Any, adapter: Adapter, seed: int) -> Any:
    """A value model that starts as the reward model and stands on its weights.

    The reward model's own adapter is copied where it has one (its rank stays); else a fresh one is put in.
    """
    own = [p for name, p in reward_model.named_parameters() if _trained(name)]
    value = twin(reward_model, own)
    return _freeze(value) if adapted(value) else adapt(value, adapter, seed)


def load_reward(name: str | Path, policy: Any = None) -> Any:
    """A reward model from its folder; where its adapter and the policy's sit on the same base, on that base.

    Without such an adapter it is the merged model, whole.
    """
    folder, step = Path(name) / FOLDER, " ".join(part for part in Path(name).parts[-2:] if part != "weights")
    if policy is None or not adapted(policy):
        return load_reward_model(name)
    saved = folder / BASE
    base = json.loads(saved.read_text(encoding="utf-8"))["content"] if saved.is_file() else None
    if base is None or base != fingerprint(policy.name_or_path):
        log.print(f"  {step}: no adapter over the policy's base, so its model is held whole", style="dim")
        return load_reward_model(name)
    log.print(f"  {step}: an adapter on the policy's base, which is held once", style="dim")
    model = heads.on_trunk(off(policy), AutoConfig.from_pretrained(str(name)))
    _read(folder, model)
    return model.requires_grad_(False).eval()


def shares(model: Any, other: Any) -> bool:
    """Whether two models stand on the same weights."""
    return bool({id(p) for p in model.parameters()} & {id(p) for p in other.parameters()})


# Files


def save(folder: Path, model: Any) -> None:
    """Write the adapter (and a reward head) alone, in peft's format, with the content hash of its base."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {_saved(n): p.detach().contiguous().cpu() for n, p in model.named_parameters() if _trained(n)}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    kind = ("SEQ_CLS", ["score"]) if _has_score(model) else ("CAUSAL_LM", None)
    settings = model.peft_config[NAME].to_dict() | {"inference_mode": True}
    settings |= {"task_type": kind[0], "modules_to_save": kind[1]}
    _write(folder / "adapter_config.json", settings)
    _write(folder / BASE, {"content": fingerprint(model.name_or_path)})


def fingerprint(name: str | Path) -> str | None:
    """What tells one base from another: the hash of a folder's weights; None where there is no such folder."""
    files = sorted(Path(name).glob("*.safetensors")) if name else []
    return content_id({path.name: file_hash(path) for path in files}, length=32) if files else None


def _write(path: Path, value: dict[str, Any]) -> None:
    # Sorted, sets too: what a step writes must not differ from run to run.
    text = json.dumps(value, indent=2, sort_keys=True, default=lambda x: sorted(x) if isinstance(x, set) else str(x))
    path.write_text(text + "\n", encoding="utf-8")


def _read(folder: Path, model: Any) -> None:
    """Put a saved adapter into a model of its kind."""
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "adapter_model.safetensors")
    names = sorted({key.split(".lora_")[0].removeprefix(PREFIX) for key in tensors if ".lora_" in key})
    _inject(model, settings["r"], settings["lora_alpha"], names)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if _trained(name):
                parameter.copy_(tensors[_saved(name)])


PREFIX = "base_model.model."


def _saved(name: str) -> str:
    """A parameter's name in peft's files."""
    return PREFIX + name.replace(f".{NAME}.", ".")


# Layers


def _targets(model: Any, wanted: Sequence[str]) -> list[str]:
    """Full names of the layers that are changed."""
    prefix = model.base_model_prefix
    linear = [f"{prefix}.{n}" for n, m in model.base_model.named_modules() if isinstance(m, nn.Linear | Conv1D)]
    known = sorted({_last(name) for name in linear})
    for target in wanted:
        if target not in known:
            raise ConfigError(
                f"`{target}` is no linear layer of {type(model).__name__} below its head",
                where="adapter.targets",
                fix=f"take of {', '.join(known)}, or name none: all of them",
            )
    return [name for name in linear if not wanted or _last(name) in wanted]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _inject(model: Any, rank: int, alpha: float, names: Sequence[str]) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    transposed = isinstance(model.get_submodule(names[0]), Conv1D)  # GPT-2 keeps its weights the other way round
    # peft says that alpha is an int, and only ever divides it by the rank.
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(names), fan_in_fan_out=transposed)  # type: ignore[arg-type]
    inject_adapter_in_model(config, model)
    _freeze(model)


def _freeze(model: Any) -> Any:
    """Train the adapter and a reward or value head, and nothing else."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_trained(name))
    return model


def _trained(name: str) -> bool:
    return ".lora_" in name or name.startswith("score.")


def _has_score(model: Any) -> bool:
    return any(name.startswith("score.") for name, _ in model.named_parameters())


def _layers(model: Any) -> Iterator[tuple[str, Any]]:
    """Adapted layers with their names."""
    return ((name, module) for name, module in list(model.named_modules()) if hasattr(module, "lora_A"))
