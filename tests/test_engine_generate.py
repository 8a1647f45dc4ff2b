"""A local policy as a generator: records that hold exactly what was sampled."""

import pytest
import torch

import tiny
from assent.config.blocks import Sampling
from assent.core.errors import DataError
from assent.core.records import Prompt
from assent.data.render import encode_groups
from assent.engine import score_all
from assent.engine.generate import LocalGenerator


def generator(max_tokens: int = 8, **changes) -> LocalGenerator:
    return LocalGenerator(tiny.policy(**changes), tiny.tokenizer(), "tiny", Sampling(max_tokens=max_tokens))


def test_answers_keep_their_ids_and_texts_render_back_to_them() -> None:
    made, prompts = generator(), tiny.prompts(6)
    sampled = made.draw(prompts, 4, seed=3)
    assert [g.prompt for g in sampled.groups] == prompts
    tokens = [a for group in sampled.tokens for a in group.answers]
    answers = [a for group in sampled.groups for a in group.answers]
    assert [a.token_ids for a in answers] == tokens
    assert {a.finish for a in answers} == {"stop", "length"}
    for answer in answers:
        assert answer.finish == ("stop" if answer.token_ids[-1] == tiny.EOS else "length")
        assert tiny.EOS not in answer.token_ids[:-1]
        assert len(answer.token_ids) == 8 or answer.finish == "stop"
        assert "<eos>" not in answer.text
    again, dropped = encode_groups(sampled.groups, made.tokenizer)
    assert again == sampled.tokens and dropped == 0


def test_log_probs_come_with_the_tokens() -> None:
    made = generator()
    sampled = made.draw(tiny.prompts(5), 2, seed=3)
    scores = score_all(made.model, sampled.tokens, 10**6)
    flat = [logps for group in sampled.logps for logps in group]
    for n, logps in enumerate(flat):
        torch.testing.assert_close(
            scores.logp_NT[n, : len(logps)], torch.tensor(logps, dtype=torch.float64), rtol=0, atol=1e-9
        )


def test_the_answers_of_a_prompt_depend_on_it_and_the_seed_alone() -> None:
    made, prompts = generator(), tiny.prompts(5)
    together = {g.prompt.id: g for g in made.generate(prompts, 3, seed=3)}
    (alone,) = made.generate([prompts[2]], 3, seed=3)
    assert alone == together[prompts[2].id]
    assert made.generate(prompts[::-1], 3, seed=3)[::-1] == list(together.values())
    (fewer,) = made.generate([prompts[2]], 2, seed=3)
    assert fewer.answers == alone.answers[:2]
    (other,) = made.generate([prompts[2]], 3, seed=4)
    assert {a.id for a in other.answers}.isdisjoint({a.id for a in alone.answers})


def test_a_prompt_asked_twice_gets_further_answers() -> None:
    made, (prompt, other) = generator(), tiny.prompts(2)
    first, _, second = made.generate([prompt, other, prompt], 3, seed=3)
    assert first.id != second.id
    assert len({a.id for a in (*first.answers, *second.answers)}) == 6
    (six,) = made.generate([prompt], 6, seed=3)
    assert six.answers == (*first.answers, *second.answers)


def test_a_prompt_without_room_is_named() -> None:
    long = Prompt.ask(" ".join(["w1"] * 60))
    with pytest.raises(DataError, match="leaves no room") as caught:
        generator().generate([*tiny.prompts(1), long], 2, seed=0)
    assert long.id in str(caught.value)


def test_the_text_ends_before_the_stop_id_whichever_it_is() -> None:
    """A model may stop at other ids than <eos> (generation_config.json): they are trained on, not read."""
    policy = tiny.policy()
    policy.generation_config.eos_token_id = [tiny.EOS, 10, 20, 30]
    made = LocalGenerator(policy, tiny.tokenizer(), "tiny", Sampling(max_tokens=8))
    answers = [a for g in made.generate(tiny.prompts(6), 4, seed=3) for a in g.answers]
    stopped = [a for a in answers if a.token_ids[-1] in (10, 20, 30)]
    assert stopped and all(a.finish == "stop" for a in stopped)
    for answer in stopped:
        assert answer.text == made.tokenizer.decode(answer.token_ids[:-1], skip_special_tokens=True)


def stopping(*stop: str) -> LocalGenerator:
    return LocalGenerator(tiny.policy(), tiny.tokenizer(), "tiny", Sampling(max_tokens=20, stop=stop))


def test_stop_strings_end_an_answer_and_cut_its_text() -> None:
    """Ids are kept as sampled up to the token that completes the string; the text ends before it."""
    prompts, strings = tiny.prompts(6), ("w1", "w2 w", "w30")
    free = [a for g in stopping().generate(prompts, 4, seed=3) for a in g.answers]
    cut = [a for g in stopping(*strings).generate(prompts, 4, seed=3) for a in g.answers]
    stopped = 0
    for long, short in zip(free, cut, strict=True):
        places = [at for s in strings if (at := long.text.find(s)) >= 0]
        assert short.id == long.id and short.token_ids == long.token_ids[: len(short.token_ids)]
        if not places:
            assert short == long
            continue
        stopped += 1
        assert short.text == long.text[: min(places)] and short.finish == "stop"
        spelt = tiny.tokenizer().decode(short.token_ids, skip_special_tokens=True)
        before = tiny.tokenizer().decode(short.token_ids[:-1], skip_special_tokens=True)
        assert any(s in spelt for s in strings) and not any(s in before for s in strings)
    assert stopped > 5


def test_a_stop_string_far_into_an_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an answer's end is decoded."""
    import assent.engine.generate as generate

    monkeypatch.setattr(generate, "SPARE", 2)
    (free,) = stopping().generate(tiny.prompts(1), 8, seed=3)
    long = max(free.answers, key=lambda a: len(a.token_ids))
    words = long.text.split()
    assert len(words) > 12
    at = next(i for i in range(10, len(words) - 1) if f"{words[i]} {words[i + 1]}" not in " ".join(words[: i + 1]))
    (cut,) = stopping(f"{words[at]} {words[at + 1]}").generate(tiny.prompts(1), 8, seed=3)
    (short,) = [a for a in cut.answers if a.id == long.id]
    assert short.text.split() == words[:at] and short.finish == "stop"
    assert short.token_ids == long.token_ids[: len(short.token_ids)] and len(short.token_ids) < len(long.token_ids)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        Sampling(stop=("w1", ""))
    with pytest.raises(ValueError, match="must be a list"):
        Sampling(stop="w1")
