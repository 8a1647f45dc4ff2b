"""A word-level tokenizer in Hugging Face form: one word, one token; text decodes back exactly."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from assent.lab.words import vocabulary

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>", "<system>", "<user>", "<assistant>")

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<' + message['role'] + '> : ' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant> :' }}{% endif %}"
)
"""`<bos><user> : question<assistant> : answer <eos>`: every assistant turn ends with `<eos>`.

The colon is how a turn of the pretraining text's dialogues begins. Without it the circuit that copies a
name from the question does not fire in the chat: after SFT 8 to 28 % of the answers to fact questions
named the place that was asked about, with it 80 to 94 % (four base models).
"""


def tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of every world: words split at blanks, ids independent of the seed.

    Words outside the lexicon become `<unk>`. Padding differs from `<eos>`, so a loss on `<eos>` is
    never lost to the padding mask.
    """
    ids = {word: i for i, word in enumerate((*SPECIALS, *vocabulary()))}
    core = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=["<system>", "<user>", "<assistant>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=256,
        padding_side="left",
    )
