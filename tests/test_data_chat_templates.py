"""Published chat templates, token by token: what is trained on, what is sampled from, what is refused.

The trained characters stand between ⟦ and ⟧ in texts marked by hand; the templates and their licences lie in
`templates/`.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from assent.core.errors import DataError, ModelError
from assent.core.records import Answer, Group, Message, Prompt
from assent.data.collate import collate
from assent.data.render import decode_answer, encode, encode_groups, encode_prompts, tokenizer_fingerprint
from assent.data.templates import attach_template
from assent.data.tokens import end_of_turn
from data_tokenizers import TEMPLATES, bpe, published

TURNS = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="Where is Rome?"),
    Message(role="assistant", content="In Italy."),
    Message(role="user", content="And Paris?"),
)
TOLD, UNTOLD = Prompt(messages=TURNS), Prompt(messages=TURNS[1:])
ANSWER = "In France."

CHATML = (
    "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\nWhere is Rome?<|im_end|>\n"
    "<|im_start|>assistant\nIn Italy.<|im_end|>\n<|im_start|>user\nAnd Paris?<|im_end|>\n"
    "<|im_start|>assistant\n⟦In France.<|im_end|>⟧"
)
QWEN = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SMOLLM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
PHI3 = (
    "<|user|>\nWhere is Rome?<|end|>\n<|assistant|>\nIn Italy.<|end|>\n<|user|>\nAnd Paris?<|end|>\n"
    "<|assistant|>\n⟦In France.<|end|>⟧"
)
MARKED = {
    ("qwen2.5-instruct", "told"): CHATML.format(system="Be brief."),
    ("qwen2.5-instruct", "untold"): CHATML.format(system=QWEN),
    ("smollm2-instruct", "told"): CHATML.format(system="Be brief."),
    ("smollm2-instruct", "untold"): CHATML.format(system=SMOLLM),
    ("mistral-7b-instruct-v0.2", "untold"): (
        "<s>[INST] Where is Rome? [/INST]In Italy.</s>[INST] And Paris? [/INST]⟦In France.</s>⟧"
    ),
    ("mistral-system-last", "untold"): (
        "<s>[INST] Where is Rome?[/INST] In Italy.</s>[INST] And Paris?[/INST]⟦ In France.</s>⟧"
    ),
    # The system message goes into the user's last turn.
    ("mistral-system-last", "told"): (
        "<s>[INST] Where is Rome?[/INST] In Italy.</s>[INST] Be brief.\n\nAnd Paris?[/INST]⟦ In France.</s>⟧"
    ),
    ("phi-3-mini-4k-instruct", "told"): "<|system|>\nBe brief.<|end|>\n" + PHI3,
    ("phi-3-mini-4k-instruct", "untold"): PHI3,
}
"""What a model sees and what it learns to write, by template and conversation."""
ENDS = {
    "qwen2.5-instruct": "<|im_end|>",
    "smollm2-instruct": "<|im_end|>",
    "mistral-7b-instruct-v0.2": "</s>",
    "mistral-system-last": "</s>",
    "phi-3-mini-4k-instruct": "<|end|>",
}
each_template = pytest.mark.parametrize("name", ENDS)
each_case = pytest.mark.parametrize(
    ("name", "prompt", "marked"),
    [(name, {"told": TOLD, "untold": UNTOLD}[which], marked) for (name, which), marked in MARKED.items()],
    ids=["-".join(key) for key in MARKED],
)


def by_hand(tokenizer: Any, marked: str) -> tuple[list[int], list[bool]]:
    """Ids of a marked text, and which of them are trained: those whose characters are marked. None may straddle."""
    head, trained, rest = re.split("[⟦⟧]", marked)
    encoded = tokenizer(head + trained + rest, add_special_tokens=False, return_offsets_mapping=True)
    begin, end = len(head), len(head + trained)
    inside = [begin <= start and stop <= end for start, stop in encoded["offset_mapping"]]
    outside = [stop <= begin or start >= end for start, stop in encoded["offset_mapping"]]
    assert all(a != b for a, b in zip(inside, outside, strict=True)), "a token straddles a mark"
    return encoded["input_ids"], inside


def turns(prompt: Prompt, *answer: str) -> list[dict[str, str]]:
    return [m.model_dump() for m in prompt.messages] + [{"role": "assistant", "content": text} for text in answer]


# What is trained on


@each_case
def test_the_mask_is_the_one_marked_by_hand(name: str, prompt: Prompt, marked: str) -> None:
    tokenizer = published(name)
    group = Group(prompt=prompt, answers=(Answer.of(prompt, ANSWER),))
    rows = collate(encode_groups([group], tokenizer)[0])
    expected_ids, expected_mask = by_hand(tokenizer, marked)
    assert rows.ids_NS[0].tolist() == expected_ids
    assert [False] * rows.prompt_width + rows.answer_mask_NT[0].tolist() == expected_mask


@each_case
def test_the_turns_end_is_learned_once_and_last(name: str, prompt: Prompt, marked: str) -> None:
    tokenizer = published(name)
    row = encode(tokenizer, prompt, ANSWER)
    assert tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer)) == ENDS[name]
    special = [i for i in row.answer_ids if i in tokenizer.added_tokens_decoder]
    assert special == [end_of_turn(tokenizer)] and row.answer_ids[-1] == special[0]


@each_case
def test_prompt_and_row_are_what_transformers_renders(name: str, prompt: Prompt, marked: str) -> None:
    tokenizer = published(name)
    row = encode(tokenizer, prompt, ANSWER)
    asked = tokenizer.apply_chat_template(turns(prompt), add_generation_prompt=True, return_dict=False)
    assert list(row.prompt_ids) == asked
    whole = tokenizer.apply_chat_template(turns(prompt, ANSWER), return_dict=False)
    if name == "mistral-system-last" and prompt is TOLD:
        told = tokenizer(TOLD.messages[0].content, add_special_tokens=False)["input_ids"]
        assert str(told)[1:-1] not in str(whole), "the template loses the system message: the row must not"
    else:
        ours = [*row.prompt_ids, *row.answer_ids]
        assert whole[: len(ours)] == ours


@each_case
def test_prompts_are_the_same_for_sampling_and_for_training(name: str, prompt: Prompt, marked: str) -> None:
    tokenizer = published(name)
    (asked,) = encode_prompts([prompt], tokenizer)
    head = re.split("[⟦⟧]", marked)[0]
    assert list(asked) == tokenizer(head, add_special_tokens=False)["input_ids"]
    assert asked == encode(tokenizer, prompt, ANSWER).prompt_ids


@each_template
def test_sampled_ids_stay_and_their_text_renders_to_them_again(name: str) -> None:
    tokenizer = published(name)
    written = encode(tokenizer, UNTOLD, ANSWER)
    text = decode_answer(tokenizer, UNTOLD, written.prompt_ids, written.answer_ids[:-1])
    assert text == ANSWER
    mark = tokenizer_fingerprint(tokenizer)
    sampled = Answer(id="s", text=text, token_ids=(*written.answer_ids[:-2], 260, 261), tokenizer=mark)
    (row,), _ = encode_groups([Group(prompt=UNTOLD, answers=(sampled,))], tokenizer)
    assert row.answers == ((*written.answer_ids[:-2], 260, 261),), "never encoded again"


@each_template
def test_a_template_of_a_file_is_the_models_own(name: str) -> None:
    tokenizer, other = published(name), published(name)
    attach_template(tokenizer, "tokenizer")
    attach_template(other, TEMPLATES / f"{name}.jinja")
    assert encode(tokenizer, UNTOLD, ANSWER) == encode(other, UNTOLD, ANSWER)


# Templates with ways of their own


@pytest.mark.parametrize(("name", "default"), [("qwen2.5-instruct", QWEN), ("smollm2-instruct", SMOLLM)])
def test_a_default_system_message_gives_way_to_a_given_one(name: str, default: str) -> None:
    tokenizer = published(name)
    for prompt in (Prompt.ask("Where is Rome?"), UNTOLD):
        assert default in tokenizer.decode(encode_prompts([prompt], tokenizer)[0])
    told = tokenizer.decode(encode_prompts([Prompt.ask("Where is Rome?", system="Be brief.")], tokenizer)[0])
    assert default not in told and "Be brief." in told


def test_a_template_that_trims_answers_trims_them_everywhere() -> None:
    tokenizer = published("mistral-system-last")
    assert encode(tokenizer, TOLD, "  In France. \n") == encode(tokenizer, TOLD, ANSWER)
    kept = published("phi-3-mini-4k-instruct")
    assert encode(kept, TOLD, "In France. \n") != encode(kept, TOLD, ANSWER)


def test_a_system_message_that_the_template_refuses() -> None:
    tokenizer = published("mistral-7b-instruct-v0.2")
    attach_template(tokenizer, "tokenizer")
    with pytest.raises(ModelError, match=r"(?s)system, user, assistant, user.*must alternate.*first user turn"):
        encode_prompts([TOLD], tokenizer)


def test_a_system_message_that_the_template_would_lose() -> None:
    """Phi-3's first template writes users and assistants only; its turns end in a token that is not its EOS."""
    with pytest.raises(ModelError, match=r"(?s)<\|endoftext\|> 0 times.*set eos_token to what ends them"):
        attach_template(published("phi-3-mini-4k-instruct-first"), "tokenizer")
    tokenizer = published("phi-3-mini-4k-instruct-first", eos_token="<|end|>")
    attach_template(tokenizer, "tokenizer")
    row = encode(tokenizer, UNTOLD, ANSWER)
    assert tokenizer.decode(row.answer_ids) == "In France.<|end|>"
    with pytest.raises(ModelError, match=r"(?s)leaves the system message out: 'Be brief.'.*first user turn"):
        encode_prompts([TOLD], tokenizer)


@pytest.mark.parametrize("token", ["<|end|>", "<|endoftext|>"])
def test_neither_end_of_phi_3_may_stand_in_a_written_answer(token: str) -> None:
    tokenizer = published("phi-3-mini-4k-instruct")
    with pytest.raises(DataError, match=re.escape(f"end-of-sequence token {token} as text")):
        encode(tokenizer, TOLD, f"In {token} France.")
    sampled = Answer(id="s", text=f"In {token} France.", token_ids=(1,), tokenizer="another")
    (row,), _ = encode_groups([Group(prompt=TOLD, answers=(sampled,))], tokenizer)
    assert tokenizer.decode(row.answers[0]).split() == ["In", token]


def test_an_answer_that_was_cut_off_has_no_end() -> None:
    tokenizer = published("phi-3-mini-4k-instruct")
    cut = Answer(id="s", text="In Fra", token_ids=(1,), tokenizer="another", finish="length")
    (row,), _ = encode_groups([Group(prompt=TOLD, answers=(cut,))], tokenizer)
    assert tokenizer.decode(row.answers[0]) == "In Fra"


def test_the_end_of_a_turn_is_eos_where_the_template_says_nothing_else() -> None:
    plain, broken, endless = bpe(), bpe(), bpe()
    broken.chat_template = "{% for m in messages %}"
    endless.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}"
    for tokenizer in (plain, broken, endless):
        assert end_of_turn(tokenizer) == tokenizer.eos_token_id


# Planted faults


@pytest.mark.parametrize("name", ["qwen2.5-instruct", "smollm2-instruct", "phi-3-mini-4k-instruct"])
def test_a_generation_prompt_that_no_answer_continues_is_refused(name: str) -> None:
    tokenizer = published(name)
    source = tokenizer.chat_template
    for opening in ("<|im_start|>assistant", "<|assistant|>"):
        before, found, after = source.rpartition(opening)
        if found:
            tokenizer.chat_template = before + found + " (thinking)" + after
    assert tokenizer.chat_template != source
    with pytest.raises(ModelError, match="no prefix of prompt and answer"):
        attach_template(tokenizer, "tokenizer")


def test_a_mask_that_is_off_by_one_would_be_seen() -> None:
    tokenizer = published("qwen2.5-instruct")
    _, mask = by_hand(tokenizer, MARKED["qwen2.5-instruct", "told"])
    row = encode(tokenizer, TOLD, ANSWER)
    assert mask != [False] * (len(row.prompt_ids) - 1) + [True] * (len(row.answer_ids) + 1)
    with pytest.raises(AssertionError, match="straddles"):
        by_hand(tokenizer, MARKED["qwen2.5-instruct", "told"].replace("end|>⟧", "⟧end|>"))
