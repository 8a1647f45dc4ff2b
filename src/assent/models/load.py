"""Models and tokenizers in and out, as plain Hugging Face folders with safetensors only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from assent.core.errors import ModelError

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def load_policy(name: str | Path, dtype: torch.dtype = torch.float32) -> Any:
    """A causal language model from a folder or hub id, dropout off, in eval mode."""
    return _prepare(_load(AutoModelForCausalLM, name, dtype))


def load_reward_model(name: str | Path, dtype: torch.dtype = torch.float32) -> Any:
    """A sequence classifier with one label from a folder or hub id, dropout off, in eval mode."""
    model = _load(AutoModelForSequenceClassification, name, dtype)
    if model.config.num_labels != 1:
        raise ModelError(f"has {model.config.num_labels} labels, but a reward model has one", where=str(name))
    return _prepare(model)


def load_tokenizer(name: str | Path) -> Any:
    """The tokenizer of a model folder or hub id; it must know how an answer ends."""
    _check_source(name, "tokenizer")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(name))
    except Exception as error:
        raise _unavailable(name, error) from None
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "its tokenizer has no end-of-sequence token", where=str(name), fix="set eos_token in tokenizer_config.json"
        )
    return tokenizer


def stop_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Token ids that end an answer: the tokenizer's EOS and those of generation_config.json."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [] if configured is None else [configured]
    return tuple(dict.fromkeys([tokenizer.eos_token_id, *listed]))


def context_length(model: Any) -> int:
    """Longest row the model can hold, in tokens."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 2**20)


def save(folder: Path, model: Any, tokenizer: Any, card: str) -> None:
    """Write a folder that plain `transformers` loads: weights, tokenizer, chat template, model card."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(folder), safe_serialization=True)
    tokenizer.save_pretrained(str(folder))
    (folder / "README.md").write_text(card, encoding="utf-8")


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout probability to zero: otherwise ratio != 1 on the first step and KL is noise."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def checkpoint_activations(model: Any) -> None:
    """Trade time for memory: backward computes a layer's activations again instead of keeping them.

    The prompt's keys and values are part of the packed row, so they are computed again with the rest.
    Transformers checks for training mode; without dropout that changes nothing else.
    """
    if not model.supports_gradient_checkpointing:
        raise ModelError(
            f"{type(model).__name__} cannot compute activations again", fix="leave limits.activation_checkpointing out"
        )
    _checkpointing(model, "enable")({"use_reentrant": False})
    model.train()


@contextmanager
def checkpointed(modules: Iterable[Any]) -> Iterator[None]:
    """Around an update: whatever transformers can checkpoint keeps no activations.

    Outside it models are in evaluation mode, where checkpointing is asleep: in training mode transformers' layers
    also drop the cache that a sampler keeps, without an error.
    """
    models = [module for module in modules if hasattr(module, "gradient_checkpointing_enable")]
    try:
        for model in models:
            checkpoint_activations(model)
        yield
    finally:
        for model in models:
            _checkpointing(model, "disable")()
            model.eval()


def _checkpointing(model: Any, verb: str) -> Callable[..., None]:
    """Transformers has renamed it, and warns of the old name."""
    method: Callable[..., None] = getattr(model, f"activation_checkpointing_{verb}", None) or getattr(
        model, f"gradient_checkpointing_{verb}"
    )
    return method


def device() -> torch.device:
    """Where models run: the current CUDA device (each rank of a job has its own), else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _prepare(model: Any) -> Any:
    disable_dropout(model)
    model.config.use_cache = False
    return model.to(device()).eval()


def _load(kind: Any, name: str | Path, dtype: torch.dtype) -> Any:
    _check_source(name, "model")
    try:
        model, found = kind.from_pretrained(str(name), dtype=dtype, use_safetensors=True, output_loading_info=True)
    except Exception as error:
        raise _unavailable(name, error) from None
    if missing := sorted(found["missing_keys"]):
        # transformers would make them up at random: a reward model's trunk taken for a policy, or the reverse.
        raise ModelError(
            f"its weights lack {missing[0]}{f' and {len(missing) - 1} more' if missing[1:] else ''}, "
            f"so it is no {type(model).__name__}",
            where=str(name),
            fix="give the folder of a model of that kind",
        )
    return model


def _check_source(name: str | Path, what: str) -> None:
    """Refuse early what would otherwise be a long traceback: a file, an empty folder, pickled weights."""
    path = Path(name)
    if path.is_file():
        raise ModelError(
            "is a file, but a model is a folder", where=str(name), fix="give the folder that holds config.json"
        )
    if path.is_dir():
        if members := member_folders(path):
            raise ModelError(
                f"holds an ensemble of {len(members)} reward models, but one model is needed",
                where=str(name),
                fix=f"give {members[0]}, or the step that made it under `from: {{reward: STEP}}`",
            )
        if not (path / "config.json").exists():
            raise ModelError("holds no config.json, so it is no model folder", where=str(name))
        if what == "model" and not list(path.glob("*.safetensors")):
            raise ModelError(
                "holds no *.safetensors weights; pickled weights are never loaded",
                where=str(name),
                fix="convert it once: AutoModel.from_pretrained(...).save_pretrained(FOLDER)",
            )
        try:
            json.loads((path / "config.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"config.json is not JSON ({error})", where=str(name)) from None
    elif str(name).startswith((".", "/", "~")) or str(name).count("/") != 1:
        raise ModelError("no such model folder", where=str(name), fix="give a folder, or a hub id like `owner/name`")


def _unavailable(name: str | Path, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(name).exists():
        return ModelError(f"cannot be loaded: {reason}", where=str(name))
    return ModelError(
        f"is no local folder, and the hub did not give it: {reason}",
        where=str(name),
        fix="check the id and the network, or download it and give the folder",
    )


def architecture(name: str | Path) -> str:
    """Model type named in a folder's config.json (`llama`, `gpt2`, ...)."""
    return str(AutoConfig.from_pretrained(str(name)).model_type)


def member_folders(name: str | Path) -> list[Path]:
    """Folders of an ensemble's members, in their order; none where `name` is a single model."""
    found = [path for path in Path(name).glob("member-*") if (path / "config.json").exists()]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def load_reward_models(name: str | Path, dtype: torch.dtype = torch.float32) -> list[tuple[Any, Any]]:
    """The one reward model of a folder or hub id, or the members of an ensemble, each with its tokenizer."""
    return [(load_reward_model(each, dtype), load_tokenizer(each)) for each in member_folders(name) or [name]]
