"""Which ids are the prompt's and which the answer's, token by token; what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.text import Text

from assent.core.errors import DataError, ModelError
from assent.core.records import Answer, Group, Message, Prompt, sampled_answer_id
from assent.data.render import (
    decode_answer,
    encode,
    encode_groups,
    encode_prompts,
    highlight,
    tokenizer_fingerprint,
)
from assent.data.templates import attach_template
from data_tokenizers import bpe, words

SHARED = Path(os.environ.get("ASSENT_TEST_DATA", "../shared"))
DIALOGUE = Prompt(
    messages=(
        Message(role="system", content="be brief"),
        Message(role="user", content="where is rome"),
        Message(role="assistant", content="in italy"),
        Message(role="user", content="and paris"),
    )
)


def group(prompt: Prompt, *texts: str) -> Group:
    return Group(prompt=prompt, answers=tuple(Answer.of(prompt, text, index=i) for i, text in enumerate(texts)))


def pieces(tokenizer, ids) -> list[str]:
    return tokenizer.convert_ids_to_tokens(list(ids))


def test_lab_like_template_several_turns_and_system() -> None:
    tokenizer = words()
    row = encode(tokenizer, DIALOGUE, "in france")
    before = "<bos> <system> be brief <user> where is rome <assistant> in italy <eos> <user> and paris <assistant>"
    assert " ".join(pieces(tokenizer, row.prompt_ids)) == before
    assert pieces(tokenizer, row.answer_ids) == ["in", "france", "<eos>"]


def test_chatml_is_cut_after_eos() -> None:
    tokenizer = bpe()
    attach_template(tokenizer, "chatml")
    row = encode(tokenizer, Prompt.ask("Hello", system="Be kind."), "Hello there")
    assert tokenizer.decode(row.prompt_ids) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(row.answer_ids) == "Hello there<|im_end|>"


def test_plain_transcript_writes_one_bos_and_one_eos() -> None:
    tokenizer = bpe(bos=True)
    attach_template(tokenizer, "plain")
    row = encode(tokenizer, DIALOGUE, "in france")
    assert tokenizer.decode(row.prompt_ids) == (
        "<s>\n\nbe brief\n\nHuman: where is rome\n\nAssistant: in italy<|im_end|>\n\nHuman: and paris\n\nAssistant:"
    )
    assert tokenizer.decode(row.answer_ids) == " in france<|im_end|>"
    assert (row.prompt_ids + row.answer_ids).count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize(("bos", "start"), [(True, "<s>"), (False, "")])
def test_plain_text_is_joined_bare(bos: bool, start: str) -> None:
    tokenizer = bpe(bos=bos)  # no template at all: plain text needs none
    row = encode(tokenizer, Prompt.of("Human: Hello"), " there")
    assert tokenizer.decode(row.prompt_ids) == start + "Human: Hello"
    assert tokenizer.decode(row.answer_ids) == " there<|im_end|>"


@pytest.mark.parametrize(("bos", "start"), [(True, "<s>"), (False, "<|im_end|>")])
def test_a_whole_text_follows_one_special_token(bos: bool, start: str) -> None:
    row = encode(tokenizer := bpe(bos=bos), Prompt.of(""), "Hello there")
    assert pieces(tokenizer, row.prompt_ids) == [start]
    assert tokenizer.decode(row.answer_ids) == "Hello there<|im_end|>"


def test_bos_and_pad_that_are_eos_lose_nothing() -> None:
    tokenizer = words(bos_token="<eos>", pad_token="<eos>")
    row = encode(tokenizer, Prompt.ask("where is rome"), "in italy")
    assert pieces(tokenizer, row.prompt_ids) == ["<eos>", "<user>", "where", "is", "rome", "<assistant>"]
    assert pieces(tokenizer, row.answer_ids) == ["in", "italy", "<eos>"]


def test_the_saved_folder_renders_the_same_ids_without_us(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    for name in ("plain", "chatml"):
        tokenizer = bpe(bos=True)
        attach_template(tokenizer, name)
        row = encode(tokenizer, DIALOGUE, "in france")
        tokenizer.save_pretrained(tmp_path / name)
        loaded = AutoTokenizer.from_pretrained(tmp_path / name)
        turns = [m.model_dump() for m in DIALOGUE.messages]
        assert tokenizer_fingerprint(loaded) == tokenizer_fingerprint(tokenizer)
        asked = loaded.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        assert tuple(asked) == row.prompt_ids == encode_prompts([DIALOGUE], loaded)[0]
        turns.append({"role": "assistant", "content": "in france"})
        whole = tuple(loaded.apply_chat_template(turns, return_dict=False))
        assert whole[: len(row.prompt_ids + row.answer_ids)] == row.prompt_ids + row.answer_ids


BAD = {
    "blank": (
        "{{ messages[0].content }}: "
        "{% if not add_generation_prompt %}{{ messages[-1].content }}{{ eos_token }}{% endif %}",
        "no prefix",
    ),
    "other": (
        "{% if add_generation_prompt %}<q>{{ messages[0].content }}{% else %}"
        "<a>{{ messages[-1].content }}{{ eos_token }}{% endif %}",
        "no prefix",
    ),
    "deaf": (
        "{% if not add_generation_prompt %}{{ messages[-1].content }}{{ eos_token }}{% endif %}",
        "leaves the user message out: 'Hello'",
    ),
    "endless": ("{% for m in messages %}{{ m.content }}\n{% endfor %}", "0 times"),
    "twice": (
        "{% for m in messages %}{{ m.content }}\n{% endfor %}{{ eos_token }}{{ eos_token }}",
        "2 times|no prefix",
    ),
    "bos": (
        "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}",
        "BOS twice",
    ),
    "broken": ("{% for m in messages %}", "cannot write"),
    "raises": ("{{ raise_exception('no user turns, please') }}", "no user turns, please"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_templates_are_refused(name: str, tmp_path: Path) -> None:
    source, reason = BAD[name]
    path = tmp_path / f"{name}.jinja"
    path.write_text(source)
    with pytest.raises(ModelError, match=reason) as caught:
        attach_template(bpe(regex=False, bos=True), path)
    assert str(path) in str(caught.value)


def test_both_tails_of_a_prefix_that_merges_are_shown() -> None:
    tokenizer = bpe(regex=False)
    tokenizer.chat_template = BAD["blank"][0]  # not through attach_template: encoding refuses it as well
    with pytest.raises(ModelError) as caught:
        encode(tokenizer, Prompt.ask("Assistant"), "Hello there")
    alone, within = [line for line in str(caught.value).splitlines() if "[" in line]
    assert "'Ġ']" in alone and "'Ġ']" not in within


def test_missing_templates() -> None:
    with pytest.raises(ModelError, match=r"(?s)no chat template.*plain, chatml"):
        attach_template(bpe(), "tokenizer")
    with pytest.raises(ModelError, match="no such chat template"):
        attach_template(bpe(), "plian")
    with pytest.raises(ModelError, match=r"(?s)no chat template.*plain"):
        encode(bpe(), Prompt.ask("Hello"), "Hello")


@pytest.mark.parametrize("prompt", [Prompt.ask("Hello"), Prompt.of("user\n")])
def test_an_answer_that_merges_with_the_prompt_leaves_it_alone(prompt: Prompt) -> None:
    """The line break at the start of the answer and the one before it are one token of this tokenizer."""
    tokenizer = bpe(regex=False)
    attach_template(tokenizer, "chatml")
    (alone,) = encode_prompts([prompt], tokenizer)
    text = tokenizer.decode(alone) + "\nHello"
    assert tokenizer(text)["input_ids"][: len(alone)] != list(alone), "the test needs a merge to say anything"
    row = encode(tokenizer, prompt, "\nHello")
    assert row.prompt_ids == alone
    assert tokenizer.decode(row.answer_ids) == "\nHello<|im_end|>"


def test_empty_answer_is_eos_alone_and_no_token_is_an_error() -> None:
    tokenizer = words()
    prompt = Prompt.ask("where is rome")
    assert encode(tokenizer, prompt, "").answer_ids == (tokenizer.eos_token_id,)
    nothing = Answer(id="x", text="", token_ids=(), tokenizer=tokenizer_fingerprint(tokenizer))
    with pytest.raises(DataError, match="holds no token"):
        encode_groups([Group(prompt=prompt, answers=(nothing,))], tokenizer)


@pytest.mark.parametrize("prompt", [Prompt.ask("where is rome"), Prompt.of("where is rome")])
def test_a_written_answer_may_not_spell_out_eos(prompt: Prompt) -> None:
    with pytest.raises(DataError, match="<eos> as text"):
        encode(words(), prompt, "in italy <eos> and france")


def test_sampled_ids_are_kept_and_foreign_ones_are_not() -> None:
    tokenizer = words()
    prompt = Prompt.ask("where is rome")
    odd = (10, 3, 10)  # no text encodes to <unk> in the middle; no EOS, for it was cut off
    own, other = tokenizer_fingerprint(tokenizer), tokenizer_fingerprint(bpe())
    assert own != other
    answers = [
        Answer(
            id=sampled_answer_id(prompt, "m", 0, i),
            text="in italy",
            token_ids=odd,
            tokenizer=mark,
            finish=finish,
            index=i,
        )
        for i, (mark, finish) in enumerate([(own, "length"), (other, "stop"), (other, "length")])
    ]
    (row,), _ = encode_groups([Group(prompt=prompt, answers=tuple(answers))], tokenizer)
    assert row.answers[0] == odd
    assert [pieces(tokenizer, ids) for ids in row.answers[1:]] == [["in", "italy", "<eos>"], ["in", "italy"]]
    assert row.answer_ids == tuple(a.id for a in answers)


def test_nothing_a_policy_writes_stops_a_reward_model_of_another_tokenizer() -> None:
    tokenizer = words()
    prompt = Prompt.ask("where is rome")
    spelt = Answer(id="a", text="in <eos> italy", token_ids=(1, 2), tokenizer="another")
    empty = Answer(id="b", text="", token_ids=(1, 2), tokenizer="another", finish="length")
    (row,), _ = encode_groups([Group(prompt=prompt, answers=(spelt, empty))], tokenizer)
    assert [pieces(tokenizer, ids) for ids in row.answers] == [["in", "<eos>"], ["<eos>"]]


def test_too_long_is_an_error_or_a_counted_drop() -> None:
    tokenizer = words()
    short, long = Prompt.ask("hello"), Prompt.ask("hello hello hello hello")
    groups = [group(short, "hi", "hi and hello"), group(short, "hi"), group(long, "hi")]
    # rows: <bos> <user> hello <assistant> = 4, and 7 for the long prompt; the answers add 2 and 4
    kept, dropped = encode_groups(groups, tokenizer, 6, "drop")
    assert [row.group_id for row in kept] == [groups[1].id] and dropped == 2
    assert encode_groups(groups, tokenizer, 9, "drop")[1] == 0
    with pytest.raises(DataError, match=r"(?s)2 of 3 rows are longer than 6 tokens, up to 9.*too_long: drop"):
        encode_groups(groups, tokenizer, 6)
    assert encode_groups(groups, tokenizer, 3, "drop") == ([], 3)
    assert encode_groups([], tokenizer) == ([], 0)


def test_fingerprint_is_about_ids_only(tmp_path: Path) -> None:
    tokenizer = bpe(pad_token="<|im_end|>")
    mark = tokenizer_fingerprint(tokenizer)
    tokenizer(["Hello", "Hello there"], padding=True, truncation=True, max_length=8)  # the backend keeps these settings
    attach_template(tokenizer, "chatml")
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_fingerprint(type(tokenizer).from_pretrained(tmp_path)) == mark
    tokenizer.add_tokens(["<new>"])
    assert tokenizer_fingerprint(tokenizer) != mark
    assert tokenizer_fingerprint(bpe(regex=False)) != mark


@pytest.mark.parametrize("name", ["plain", "chatml"])
@pytest.mark.parametrize("prompt", [Prompt.ask("Hello"), Prompt.of("Human: Hello")])
def test_decoded_answers_render_to_the_same_ids(name: str, prompt: Prompt) -> None:
    tokenizer = bpe(bos=True)
    attach_template(tokenizer, name)
    for text in ["Hello there", " Hello", "  Hello", "", "The [answer] is 4.\n"]:
        row = encode(tokenizer, prompt, text)
        assert decode_answer(tokenizer, prompt, row.prompt_ids, row.answer_ids[:-1]) == text


def test_highlight_marks_exactly_the_trained_tokens() -> None:
    tokenizer = bpe(bos=True)
    attach_template(tokenizer, "plain")
    (row,), _ = encode_groups([group(Prompt.ask("Hello [bold]"), "Hello [/dim] there", "a")], tokenizer)
    shown = Text.from_markup(highlight(row, tokenizer))
    assert shown.plain == "<s>\n\nHuman: Hello [bold]\n\nAssistant: Hello [/dim] there<|im_end|>"
    trained = [shown.plain[s.start : s.end] for s in shown.spans if s.style == "black on green"]
    assert trained == [" Hello [/dim] there<|im_end|>"]


def test_real_transcripts_with_a_real_tokenizer() -> None:
    from transformers import AutoTokenizer

    from assent.formats.read import read_preferences

    data, folder = SHARED / "data/hh-rlhf", SHARED / "models/stories260K"
    if not (data.exists() and folder.exists()):
        pytest.skip(f"no {data} or {folder}; set ASSENT_TEST_DATA to the folder that holds data/ and models/")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    attach_template(tokenizer, "plain")
    groups = read_preferences(data).groups
    rows, dropped = encode_groups(groups, tokenizer, 512, "drop")
    assert (len(rows), dropped) == (1608, 704)
    by_id = {g.id: g for g in groups}
    for row in rows:
        assert row.prompt_ids[0] == 1 and 1 not in row.prompt_ids[1:]
        for answer, ids in zip(by_id[row.group_id].answers, row.answers, strict=True):
            assert ids[-1] == 2 and ids.count(2) == 1
            prompt = by_id[row.group_id].prompt
            assert decode_answer(tokenizer, prompt, row.prompt_ids, ids[:-1]) == answer.text
