"""Score given answers: log-probabilities, entropies, values, rewards, with gradients.

N answers (all groups' answers, in order), T answer positions (right-padded), M answer tokens of all answers,
Q tokens of the row, H hidden, V vocabulary. Dividing the logits by the temperature happens here and in
`sample`, so every pass agrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from assent.core.errors import ModelError
from assent.data.collate import TokenGroup
from assent.engine.row import row_of
from assent.models import heads
from assent.ops.head import Head, head_logp

REWARD, VALUE = "reward", "value"


class Scores(NamedTuple):
    """What a pass over N answers gives. `mask_NT` is True on real answer tokens, EOS included."""

    mask_NT: Tensor
    logp_NT: Tensor | None = None
    entropy_NT: Tensor | None = None
    value_NT: Tensor | None = None
    reward_N: Tensor | None = None


def score(
    model: Any,
    groups: Sequence[TokenGroup],
    *,
    temperature: float = 1.0,
    logp: bool = True,
    entropy: bool = False,
    value_head: nn.Linear | None = None,
    read: str = REWARD,
) -> Scores:
    """One differentiable pass over all answers of `groups`; a prompt is computed once, whatever its answers.

    A causal language model gives `logp_NT` unless told not to (and `entropy_NT` when asked, `value_NT` with a head).
    A sequence classifier gives `reward_N`, or `value_NT` with `read="value"`: the value *before* token t
    is emitted. A row scores the same alone, in a batch, and however it is packed (1e-5 in fp32).
    """
    row = row_of(model, groups)
    # Heads work in the precision of the weights, whatever the layers under them were computed in.
    hidden_QH = row.hidden(model)
    hidden_QH = hidden_QH.to(torch.promote_types(hidden_QH.dtype, next(iter(model.parameters())).dtype))
    if getattr(model.config, "num_labels", None) == 1 and hasattr(model, "score"):
        # The head reads at the last answer token (reward), or before each answer token (value).
        at = row.before_M if read == VALUE else row.last_N
        out = heads.head(model)(hidden_QH.index_select(0, at)).squeeze(-1) + heads.shift(model)
        return Scores(row.mask_NT, value_NT=row.spread(out)) if read == VALUE else Scores(row.mask_NT, reward_N=out)
    before_MH = hidden_QH.index_select(0, row.before_M)
    value_NT = row.spread(value_head(before_MH).squeeze(-1)) if value_head is not None else None
    if not logp:
        return Scores(row.mask_NT, value_NT=value_NT)
    logp_M, entropy_M = head_logp(lm_head(model, temperature), before_MH, row.answer_ids_M, entropy)
    entropy_NT = None if entropy_M is None else row.spread(entropy_M)
    return Scores(row.mask_NT, row.spread(logp_M), entropy_NT, value_NT)


def lm_head(model: Any, temperature: float = 1.0) -> Head:
    """The model's output head, with the few extra steps some families take after it.

    Raises ModelError where it is no plain linear layer: an adapter on it would be passed over in silence.
    """
    layer = model.get_output_embeddings()
    if not isinstance(layer, nn.Linear):
        raise ModelError(
            f"its output head is a {type(layer).__name__}, not a plain linear layer",
            fix="put adapters on the layers below the head only",
        )
    config = model.config.get_text_config()
    scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return Head(layer.weight, getattr(layer, "bias", None), scale, cap, temperature)
