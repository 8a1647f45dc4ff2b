"""Reward and value models: a trunk with a linear head that gives one number.

Both are Hugging Face sequence classifiers with one label, so they load with plain `transformers`.
A reward model reads the head at the last answer token; a value model reads it at every position.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from assent.core.errors import ModelError
from assent.models.load import disable_dropout


def reward_model_from(policy: Any, tokenizer: Any, seed: int) -> Any:
    """A reward model on a copy of `policy`'s trunk; head drawn from Normal(0, 1/sqrt(hidden + 1)).

    Source: "The N Implementation Details of RLHF with PPO" (arXiv 2403.17031), reward head.
    """
    config = classifier_config(policy, tokenizer)
    weight = next(policy.parameters())
    model = AutoModelForSequenceClassification.from_config(config).to(weight.device, weight.dtype)
    model.base_model.load_state_dict(policy.base_model.state_dict())
    hidden = head(model).in_features
    with torch.no_grad():
        draw = torch.Generator().manual_seed(seed)
        head(model).weight.copy_(torch.randn(1, hidden, generator=draw) / math.sqrt(hidden + 1))
    disable_dropout(model)
    return model.eval()


def on_trunk(policy: Any, config: Any) -> Any:
    """A classifier over the very weights of `policy`'s trunk, nothing copied; its head is zero."""
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    trunk, weight = policy.base_model, next(policy.parameters())
    # A trunk's layers read its config, and so must the classifier's: one object, as transformers would have it.
    shared = {id(parameter): parameter for parameter in trunk.parameters()} | {id(trunk.config): model.config}
    setattr(model, model.base_model_prefix, copy.deepcopy(trunk, shared))
    layer = head(model)
    model.score = nn.Linear(layer.in_features, 1, layer.bias is not None, weight.device, weight.dtype)
    for parameter in model.score.parameters():
        nn.init.zeros_(parameter)
    disable_dropout(model)
    return model.eval()


def classifier_config(policy: Any, tokenizer: Any) -> Any:
    """The policy's configuration, for a classifier with one label."""
    config = copy.deepcopy(policy.config)
    config.num_labels = 1
    config.id2label, config.label2id = {0: "REWARD"}, {"REWARD": 0}
    config.pad_token_id = padding_id(tokenizer)
    config.tie_word_embeddings = False
    return config


def padding_id(tokenizer: Any) -> int:
    """A pad id that differs from EOS: with pad == EOS, Hugging Face would pool the token before EOS."""
    for token in (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id):
        if token is not None and token != tokenizer.eos_token_id:
            return int(token)
    raise ModelError(
        "its tokenizer has no pad token that differs from EOS, which a reward model needs",
        fix="add a pad token: tokenizer.add_special_tokens({'pad_token': '<pad>'})",
    )


def head(model: Any) -> nn.Linear:
    """The linear head of a sequence classifier."""
    found = getattr(model, "score", None)
    if not isinstance(found, nn.Linear):
        raise ModelError(f"{type(model).__name__} has no linear `score` head", fix="use a decoder-only architecture")
    return found


def shift(model: Any) -> float:
    """Number added to the head's output, kept in config.json (the scale is folded into the head)."""
    return float(getattr(model.config, "reward_shift", 0.0))


def normalise(model: Any, mean: float, std: float) -> None:
    """Make scores (score - mean) / std: folds the scale into the head, keeps the shift in the config."""
    with torch.no_grad():
        head(model).weight.div_(std)
    model.config.reward_shift = (shift(model) - mean) / std


def value_model_from(reward_model: Any) -> Any:
    """A value model that starts as a copy of the reward model (Stiennon et al. 2020; N+ details)."""
    return copy.deepcopy(reward_model)


def value_head(policy: Any) -> nn.Linear:
    """A value head for the policy's own trunk, zero at the start so that it disturbs nothing."""
    weight = next(policy.parameters())
    layer = nn.Linear(
        policy.config.get_text_config().hidden_size, 1, bias=True, dtype=weight.dtype, device=weight.device
    )
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
