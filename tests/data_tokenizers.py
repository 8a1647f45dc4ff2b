"""Tiny tokenizers for tests: one word a token, and byte-level BPE whose merges can cross a boundary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).parent / "templates"

TEXT = "be brief where is rome paris in italy france thanks and hello hi the answer"
LAB_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<' + m['role'] + '> ' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ ' ' + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def words(**special: str) -> PreTrainedTokenizerFast:
    """Word-level, with BOS, EOS and role tokens, and a template like the lab's; adds nothing by itself."""
    names = ["<pad>", "<bos>", "<eos>", "<unk>", "<system>", "<user>", "<assistant>"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*names, *TEXT.split()])}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    given = {
        "pad_token": "<pad>",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
        **special,
    }
    roles = ["<system>", "<user>", "<assistant>"]
    made = PreTrainedTokenizerFast(tokenizer_object=core, additional_special_tokens=roles, **given)
    made.chat_template = LAB_TEMPLATE
    return made


def bpe(*, regex: bool = True, bos: bool = False, **special: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE like GPT-2's; `regex=False` lets merges cross words, `bos` puts <s> in front of text."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    core.decoder = decoders.ByteLevel()
    names = ["<s>", "<|im_start|>", "<|im_end|>"]
    text = ["\n\n", " Hello", " there", "Human", "Assistant"]
    core.train_from_iterator(
        text * 5,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=names,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    given = {"eos_token": "<|im_end|>", **({"bos_token": "<s>"} if bos else {}), **special}
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        additional_special_tokens=["<|im_start|>"],
        clean_up_tokenization_spaces=False,
        **given,
    )


CHATML = {"specials": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "eos_token": "<|im_end|>"}
MISTRAL = {"specials": ("<unk>", "<s>", "</s>"), "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
PHI3 = {
    "specials": ("<unk>", "<s>", "<|endoftext|>"),
    "stripping": ("<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
    "bos_token": "<s>",
    "eos_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
    "unk_token": "<unk>",
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "qwen2.5-instruct": {**CHATML, "pad_token": "<|endoftext|>"},
    "smollm2-instruct": {
        **CHATML,
        "bos_token": "<|im_start|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
    },
    "mistral-7b-instruct-v0.2": {**MISTRAL, "pad_token": "<unk>", "writes_bos": True},
    "mistral-system-last": {
        **MISTRAL,
        "specials": (*MISTRAL["specials"], "[INST]", "[/INST]"),
        "pad_token": "<unk>",
        "writes_bos": True,
    },
    "phi-3-mini-4k-instruct": PHI3,
    "phi-3-mini-4k-instruct-first": PHI3,
}
"""Special tokens of the models whose templates lie in `templates/`: the same names, the same roles, the same
swallowing of blanks behind them (`stripping`)."""


def published(name: str, **changed: Any) -> PreTrainedTokenizerFast:
    """A byte-level BPE of a few hundred tokens with a published model's special tokens and chat template."""
    given = {**PUBLISHED[name], **changed}
    plain, stripping = given.pop("specials"), given.pop("stripping", ())
    specials = [AddedToken(token, special=True, normalized=False) for token in plain]
    specials += [AddedToken(token, special=True, normalized=False, rstrip=True) for token in stripping]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    texts = ["system user assistant", "Where is Rome? In Italy. In France. And Paris?", "Be brief.", "\n\n"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        texts * 5,
        trainers.BpeTrainer(vocab_size=320, special_tokens=specials, initial_alphabet=alphabet, show_progress=False),
    )
    if given.pop("writes_bos", False):
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
        )
    made = PreTrainedTokenizerFast(tokenizer_object=core, clean_up_tokenization_spaces=False, **given)
    made.chat_template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return made
