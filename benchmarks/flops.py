"""Useful arithmetic of a row, counted exactly: what has to be computed, not what a program happens to compute.

Each prompt once for its group; every layer on every token that predicts another or is read by a head; the LM
head once on each distinct position that predicts an answer token; attention to earlier tokens only; no padding.
The last token of an answer predicts nothing, so only reward and value heads need it. One multiply-add is two
FLOPs; normalisation, activation, softmax, embedding and optimiser are not counted. Backward is twice forward.

A `Mix` tells FLOPs by kind of product: (in, out) of a weight matrix, or ATTENTION.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workload import Ids

ATTENTION = (0, 0)
LM, REWARD, VALUE = "lm", "reward", "value"
Mix = dict[tuple[int, int], float]


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer with a gated MLP; `query` and `key` are heads x head size."""

    hidden: int
    layers: int
    query: int
    key: int
    mlp: int
    vocabulary: int

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(in, out) of the matrices of one layer: query, key, value, output; gate, up, down."""
        h, q, k, m = self.hidden, self.query, self.key, self.mlp
        return [(h, q), (h, k), (h, k), (q, h), (h, m), (h, m), (m, h)]


def shape_of(folder: str | Path) -> Shape:
    """Sizes from a model folder's config.json."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return Shape(
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        query=size * config["num_attention_heads"],
        key=size * config.get("num_key_value_heads", config["num_attention_heads"]),
        mlp=config["intermediate_size"],
        vocabulary=config["vocab_size"],
    )


def forward(shape: Shape, groups: Sequence[Ids], head: str = LM) -> Mix:
    """FLOPs of one forward pass over all answers, by kind of product."""
    tokens = keys = read = 0
    for prompt, answers in groups:
        p = len(prompt)
        lengths = [len(answer) - (head == LM) for answer in answers]
        tokens += p + sum(lengths)
        keys += p * (p + 1) // 2 + sum(n * p + n * (n + 1) // 2 for n in lengths)
        if head == REWARD:
            read += len(answers)
        else:  # the prompt's last position is the same for all answers; a value is read before each token, too
            read += 1 + sum(len(answer) - 1 for answer in answers)
    mix: Mix = {ATTENTION: 4.0 * shape.layers * shape.query * keys}
    for fan_in, fan_out in shape.matrices:
        mix[fan_in, fan_out] = mix.get((fan_in, fan_out), 0.0) + 2.0 * shape.layers * fan_in * fan_out * tokens
    out = (shape.hidden, shape.vocabulary if head == LM else 1)
    mix[out] = mix.get(out, 0.0) + 2.0 * out[0] * out[1] * read
    return mix


def useful(shape: Shape, groups: Sequence[Ids], passes: Mapping[str, float]) -> Mix:
    """FLOPs of a step whose `passes` are forward passes by head, a backward pass counting as two.

    Training alone is {"lm": 3}; DPO with its reference {"lm": 4}.
    """
    total: Mix = {}
    for head, times in passes.items():
        for kind, flops in forward(shape, groups, head).items():
            total[kind] = total.get(kind, 0.0) + times * flops
    return total
