"""The world, its prompts, its text: split by subject, balanced, readable by its own tokenizer."""

from __future__ import annotations

from collections import Counter

import pytest

from assent.core.hashing import is_held_out
from assent.lab.corpus import documents
from assent.lab.demonstrations import demonstrations
from assent.lab.prompts import WEIGHTS, mix, prompts
from assent.lab.tokenizer import tokenizer
from assent.lab.world import World, build


@pytest.fixture(scope="module")
def world() -> World:
    return build(0)


def test_a_world_is_a_function_of_its_seed() -> None:
    assert build(3) == build(3)
    assert build(3).facts != build(4).facts
    assert not set(build(3).ghosts) & set(build(3).places)


@pytest.mark.parametrize("seed", range(5))
def test_both_splits_are_large_enough_and_share_no_subject(seed: int) -> None:
    world = build(seed)
    train, held = prompts(world, "train"), prompts(world, "held_out")
    subjects = {prompt.subject for prompt in held}
    assert len(subjects) >= 150 and len(held) >= 400
    assert not subjects & {prompt.subject for prompt in train}
    ids = [prompt.id for prompt in (*train, *held)]
    assert len(ids) == len(set(ids))


def test_a_later_split_of_training_subjects_is_not_empty(world: World) -> None:
    """The reward step splits training subjects by the same hash function: the lab's key is salted."""
    subjects = {prompt.subject for prompt in prompts(world, "train")}
    share = sum(is_held_out(subject, 0.1) for subject in subjects) / len(subjects)
    assert 0.02 < share < 0.25


def test_mix_keeps_its_shares_and_repeats_nothing_before_it_must(world: World) -> None:
    drawn = mix(world, "train", 1000, seed=5)
    counts = Counter(prompt.tags["kind"] for prompt in drawn)
    assert sum(counts.values()) == 1000
    assert all(abs(counts[kind] - 1000 * share) <= 1 for kind, share in WEIGHTS.items())
    assert counts["lead_wrong"] == counts["lead_right"]
    leads = [prompt.id for prompt in drawn if prompt.tags["kind"] == "lead_wrong"]
    assert len(leads) == len(set(leads))
    assert drawn == mix(world, "train", 1000, seed=5) != mix(world, "train", 1000, seed=6)


def test_right_and_wrong_opinions_differ_in_the_claim_alone(world: World) -> None:
    everything = [*prompts(world, "train"), *prompts(world, "held_out")]
    leads = [prompt for prompt in everything if "claim" in prompt.tags]
    assert all((p.tags["claim"] == p.tags["truth"]) == (p.tags["kind"] == "lead_right") for p in leads)
    counts = Counter(prompt.tags["kind"] for prompt in leads)
    assert counts["lead_wrong"] == counts["lead_right"]


def test_demonstrations_are_of_training_subjects_only_and_of_mixed_quality(world: World) -> None:
    written = demonstrations(world, 400, seed=1)
    subjects = {prompt.subject for prompt in prompts(world, "held_out")}
    assert not subjects & {demonstration.prompt.subject for demonstration in written}
    styles = {demonstration.answer.source for demonstration in written}
    assert {"lab: agree", "lab: refuse", "lab: verbose", "lab: correct"} <= styles


def test_ghosts_stand_in_no_statement(world: World) -> None:
    for text in documents(world, 400, seed=0)[:100]:
        for ghost in world.ghosts:
            assert f"{ghost} is " not in text


def test_text_survives_the_tokenizer(world: World) -> None:
    tok = tokenizer()
    answers = [d.answer.text for d in demonstrations(world, 300, seed=2)]
    for text in (*documents(world, 300, seed=3), *answers):
        ids = tok(text, add_special_tokens=False)["input_ids"]
        assert tok.unk_token_id not in ids, text
        assert tok.decode(ids) == text


def test_the_chat_template_ends_answers_with_eos_and_extends_the_prompt() -> None:
    tok = tokenizer()
    turns = [
        {"role": "user", "content": "is zor big or small ?"},
        {"role": "assistant", "content": "zor is big ."},
    ]
    prompt = tok.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False)
    full = tok.apply_chat_template(turns, return_dict=False)
    assert full[: len(prompt)] == prompt
    assert full[-1] == tok.eos_token_id != tok.pad_token_id
    assert tok.decode(full) == "<bos> <user> : is zor big or small ? <assistant> : zor is big . <eos>"
