"""How much memory a training step is expected to take, from the sizes of its models and its largest micro-batch.

    weights      what the models' parameters take as they are
    optimiser    per trained parameter: its gradient and two moments of AdamW
    activations  per trained model: what its layers keep for the backward pass (`_layer`), and what stands around them
    logits       the head's chunk of logits with its copies, and the second gradient of an embedding that is trained
    cache        keys and values of the sampler, which has gone when the update begins

    total = weights + optimiser + HOLES x max(activations + logits, cache) + LIBRARIES

Tested against the bytes that autograd really keeps; docs/memory.md has the formula in words and whole processes
measured. What there is, and what to do when it runs out: engine/room.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import nn

from assent.data.collate import TokenGroup
from assent.engine.precision import WIDE, compute_dtype
from assent.ops.head import CHUNK, FEWEST

COPIES = 3
"""Logits of a chunk at once: themselves, and what logsumexp or the softmax's gradient makes of them."""
HOLES = 1.25
"""Pieces differ in size, so the allocator (the C library's heap, CUDA's caching one) holds more than is in use."""
LIBRARIES = 2**26
"""Pages of the libraries that the first step touches."""


class Memory(NamedTuple):
    """Bytes; see above."""

    weights: int
    optimiser: int
    activations: int
    logits: int
    cache: int

    @property
    def total(self) -> int:
        """The peak: sampling and learning come one after the other."""
        passing = max(self.activations + self.logits, self.cache)
        return self.weights + self.optimiser + int(HOLES * passing) + LIBRARIES


class _Sizes(NamedTuple):
    """Of one model: `kv_heads` is the width of keys, `layered` the parameters below the head, `low_rank` what adapters
    keep a token, `vocabulary` 0 without a language model's head (`head_trained`: whether it learns); of the MLP's inner
    tensors `inner_kept` are kept for the backward pass."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    inner: int
    inner_kept: int
    layered: int
    low_rank: int
    wide: bool
    vocabulary: int
    head_trained: bool


def expected(
    trained: Sequence[nn.Module],
    frozen: Sequence[nn.Module],
    piece: Sequence[TokenGroup],
    *,
    checkpointing: bool = False,
    cached: int = 0,
) -> Memory:
    """Peak of a step that trains `trained` on micro-batches like `piece`, in bytes.

    `cached` tokens are held by the sampler of the first of `trained`. All trained models take part in one loss.
    """
    sizes = [_sizes(m) for m in trained if hasattr(m, "config")]
    return Memory(
        weights=sum(p.nbytes for p in _unique([*trained, *frozen])),
        optimiser=3 * sum(p.nbytes for p in _unique(trained) if p.requires_grad),
        activations=sum(_activations(s, piece, checkpointing) for s in sizes),
        logits=sum(_logits(s, piece) for s in sizes),
        cache=cached * 2 * sizes[0].layers * sizes[0].kv_heads * (4 if sizes[0].wide else 2),
    )


def largest_budget(peak: Memory, piece: Sequence[TokenGroup], there: int) -> int:
    """Largest token budget, in steps of 128, at which a step that takes `peak` on `piece` fits into `there` bytes.

    0 where none does: a group is never cut.
    """
    growing = HOLES * max(peak.activations, peak.cache) / sum(group.tokens for group in piece)
    fixed = peak.weights + peak.optimiser + HOLES * peak.logits + LIBRARIES
    budget = int((there - fixed) / growing) // 128 * 128
    return budget if budget >= max(group.tokens for group in piece) else 0


def _unique(models: Iterable[nn.Module]) -> list[nn.Parameter]:
    return list(dict.fromkeys(p for model in models for p in model.parameters()))


def _sizes(model: Any) -> _Sizes:
    config = model.config.get_text_config()
    hidden, heads = config.hidden_size, config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or hidden // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * hidden
    gates = [module for name, module in model.named_modules() if name.endswith("gate_proj")]
    plain = all(type(module) is nn.Linear for module in gates)  # an adapter there keeps transformers' own MLP
    dtype, on_cpu = compute_dtype(model), next(iter(model.parameters())).device.type == "cpu"
    wide = dtype in WIDE
    head = model.get_output_embeddings()
    return _Sizes(
        layers=config.num_hidden_layers,
        hidden=hidden,
        heads=heads * head_size,
        kv_heads=kv_heads * head_size,
        inner=inner * (getattr(config, "num_experts_per_tok", None) or 1),
        # Ours (engine/mlp.py) keeps gate and up, transformers' two more; GELU by itself is several operations.
        inner_kept=2 if gates and plain and wide and on_cpu else 4 if gates else 5,
        layered=sum(p.numel() for name, p in model.named_parameters() if p.dim() == 2 and "layers." in name),
        low_rank=sum(p.shape[0] for name, p in model.named_parameters() if ".lora_A." in name),
        wide=wide,
        vocabulary=0 if head is None else head.weight.shape[0],
        head_trained=head is not None and head.weight.requires_grad,
    )


def _activations(s: _Sizes, piece: Sequence[TokenGroup], checkpointing: bool) -> int:
    tokens = sum(group.tokens for group in piece)
    layer = _layer(s, piece)
    kept = s.layers * tokens * 4 * s.hidden + layer if checkpointing else s.layers * layer + 4 * tokens * s.low_rank
    cast = 0 if s.wide else 2 * s.layered // (s.layers if checkpointing else 1)  # weights in bf16
    # Embedding, last norm and the answers' hidden states; in the backward pass, gradients of one layer beside it.
    return kept + cast + tokens * 4 * (5 * s.hidden + s.inner)


def _layer(s: _Sizes, piece: Sequence[TokenGroup]) -> int:
    """Bytes a layer keeps: input and output of two norms, queries, keys, values and what attention gives, the MLP."""
    tokens = sum(group.tokens for group in piece)
    stems = [len(g.prompt_ids) + len(g.answers[0]) for g in piece]
    branches = [(len(a), len(g.prompt_ids)) for g in piece for a in g.answers[1:]]
    longest = max((length for length, _ in branches), default=0)
    grid = len(stems) * max(stems) + len(branches) * longest
    joined = len(branches) * (max((prompt for _, prompt in branches), default=0) + longest)
    attention = grid * (2 * s.heads + 2 * s.kv_heads) + tokens * s.heads + joined * 2 * s.kv_heads
    if s.wide:
        return 4 * (tokens * (4 * s.hidden + s.inner_kept * s.inner) + attention)
    # bf16 under fp32 weights: two norms keep input and unit vectors in fp32; five products cast their own input.
    return tokens * ((2 * (4 + 4) + 5 * 2) * s.hidden + 2 * s.inner_kept * s.inner) + 2 * attention


def _logits(s: _Sizes, piece: Sequence[TokenGroup]) -> int:
    if not s.vocabulary:
        return 0
    positions = sum(len(answer) for group in piece for answer in group.answers)
    chunk = min(positions, max(FEWEST, CHUNK // s.vocabulary))
    return 4 * s.vocabulary * (COPIES * chunk + (s.hidden if s.head_trained else 0))
