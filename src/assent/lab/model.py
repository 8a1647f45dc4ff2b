"""The architecture that the lab pretrains: a real Llama, only small."""

from __future__ import annotations

from typing import Any

from assent.lab.tokenizer import SPECIALS
from assent.lab.words import vocabulary


def architecture() -> dict[str, Any]:
    """Keyword arguments of `transformers.LlamaConfig`, about 180,000 parameters.

    Three layers are the least with which a claim can be checked: find the place and the attribute,
    recall the value, compare it with the one that was said. Tied embeddings let a recalled value be
    matched with a said one by a dot product; untied, or with the usual initial deviation of 0.02, the
    facts were learned clearly later.
    """
    return {
        "model_type": "llama",
        "vocab_size": len(SPECIALS) + len(vocabulary()),
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "initializer_range": 0.1,
        "pad_token_id": SPECIALS.index("<pad>"),
        "bos_token_id": SPECIALS.index("<bos>"),
        "eos_token_id": SPECIALS.index("<eos>"),
    }
