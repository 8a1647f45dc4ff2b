"""Tiny tokenizers for tests: one word a token, and byte-level BPE whose merges can cross a boundary."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

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
