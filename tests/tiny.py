"""Models of a few thousand parameters, token groups, a word-level tokenizer: for the tensor rooms' tests.

Weights are drawn wide (deviation 0.3): with Hugging Face's usual 0.02 a tiny model answers almost
uniformly, and most faults would not show.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from assent.core.records import Answer, Group, Prompt
from assent.data.collate import TokenGroup
from assent.engine.norm import swap_norms
from assent.models import heads
from assent.models.load import disable_dropout

torch.set_num_threads(1)  # on tensors this small, threads do little but wait for each other

VOCABULARY, EOS, PAD = 40, 2, 0
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>", "<user>", "<assistant>")
WORDS = tuple(f"w{i}" for i in range(VOCABULARY - len(SPECIALS)))
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<' + m['role'] + '> ' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ ' ' + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)

COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
}
GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "initializer_range": 0.3,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", **COMMON},
    "llama-tied-gqa": {
        "model_type": "llama",
        **COMMON,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "qwen2": {"model_type": "qwen2", **COMMON, "num_key_value_heads": 2},
    "mistral": {"model_type": "mistral", **COMMON, "num_key_value_heads": 2, "sliding_window": 5},
    "gpt2": {"model_type": "gpt2", **GPT2, "bos_token_id": 1, "eos_token_id": EOS, "pad_token_id": PAD},
}
ODD_HEADS: dict[str, dict[str, Any]] = {
    "gemma2": {
        "model_type": "gemma2",
        **COMMON,
        "head_dim": 4,
        "final_logit_softcapping": 2.0,
        "sliding_window": 5,
    },
    "granite": {"model_type": "granite", **COMMON, "logits_scaling": 3.0},
    "cohere": {"model_type": "cohere", **COMMON, "logit_scale": 0.25},
}
"""Families that do something to the logits after the head. Gemma 2 attends in fp32, whatever its weights."""


def policy(family: str = "llama", seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    """A causal language model with random weights, dropout off."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(**{**(FAMILIES | ODD_HEADS)[family], **changes})
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:  # norms and biases start at 1 and 0, where a forgotten one would not show
            torch.nn.init.normal_(parameter, mean=float("norm" in name or "ln_" in name), std=0.1)
    disable_dropout(model)
    swap_norms(model)  # transformers' own compute in fp32, whatever the weights: no oracle in float64
    return model.eval()


def reward_model(family: str = "llama", seed: int = 0, dtype: torch.dtype = torch.float64, shift: float = 0.0) -> Any:
    """A sequence classifier on the trunk of `policy(family, seed)`, its head drawn wide."""
    model = heads.reward_model_from(policy(family, seed, dtype), tokenizer(), seed)
    model.config.reward_shift = shift
    swap_norms(model)
    return model


def perturbed(model: Any, seed: int, size: float = 0.05) -> Any:
    """A copy that differs a little: another policy of the same kind."""
    changed, draw = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype))
    return changed


def groups(n: int, seed: int, answers: int = 3, longest: int = 7, prompt: int = 6) -> list[TokenGroup]:
    """Ragged random groups: prompts of 1..`prompt` tokens, answers of 1..`longest`, most ending in EOS."""
    print(f"seed {seed}")
    draw = random.Random(seed)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw.randrange(len(SPECIALS), VOCABULARY) for _ in range(draw.randint(low, high)))

    def answer() -> tuple[int, ...]:
        return (*ids(0, longest - 1), EOS) if draw.random() < 0.7 else ids(1, longest)

    return [
        TokenGroup(
            f"g{g}",
            ids(1, prompt),
            tuple(answer() for _ in range(draw.randint(1, answers))),
            tuple(f"g{g}a{a}" for a in range(answers)),
        )
        for g in range(n)
    ]


def singles(given: Sequence[TokenGroup]) -> list[TokenGroup]:
    """The same answers, each in a group of its own."""
    return [
        TokenGroup(f"{g.group_id}/{i}", g.prompt_ids, (answer,), (g.answer_ids[i],))
        for g in given
        for i, answer in enumerate(g.answers)
    ]


def rows(given: Sequence[TokenGroup]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(prompt, answer) of every answer, in order."""
    return [(g.prompt_ids, answer) for g in given for answer in g.answers]


def alone(model: Any, prompt: Sequence[int], answer: Sequence[int], temperature: float = 1.0) -> Tensor:
    """Oracle: logp_TV of one unpadded row by plain transformers, at the positions that predict the answer."""
    logits_SV = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0]
    return torch.log_softmax(logits_SV[len(prompt) - 1 : -1] / temperature, dim=-1)


def tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """One word, one token; `w0` .. `w33`, with a chat template whose assistant turns end in <eos>."""
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate((*SPECIALS, *WORDS))}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {
        "pad_token": "<pad>",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        **special,
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        additional_special_tokens=["<user>", "<assistant>"],
        chat_template=TEMPLATE,
        **names,
    )


def prompts(n: int, seed: int = 0, longest: int = 4, **tags: Any) -> list[Prompt]:
    """Different conversational prompts of 1..`longest` words."""
    draw, found = random.Random(seed), {}
    while len(found) < n:
        prompt = Prompt.ask(" ".join(draw.choices(WORDS, k=draw.randint(1, longest))), **tags)
        found[prompt.id] = prompt
    return list(found.values())


def group(prompt: Prompt, *texts: str) -> Group:
    """A prompt with written answers."""
    return Group(prompt=prompt, answers=tuple(Answer.of(prompt, text, index=i) for i, text in enumerate(texts)))
