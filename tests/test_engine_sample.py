"""`engine.sample`: log-probs of what was drawn, independence of neighbours, repeatability, stopping."""

import math
import random
import sys
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

import tiny
from assent.core.hashing import hash_int
from assent.data.collate import TokenGroup
from assent.engine import decode, score
from assent.engine.budget import score_all
from assent.engine.draw import Rollout
from assent.engine.row import packs
from assent.engine.sample import CACHED, LEAVE, sample
from test_engine_draw import splitmix

FAMILIES = list(tiny.FAMILIES)
ALL = [*FAMILIES, *tiny.ODD_HEADS]
PROMPTS = [(6, 7, 8, 9, 10, 11), (12,), (13, 14, 15), (16, 17)]


def names(n: int, prompts=PROMPTS) -> list[list[str]]:
    return [[f"p{p}a{a}" for a in range(n)] for p in range(len(prompts))]


def drawn(model, n: int = 3, prompts=PROMPTS, **changes) -> list[list[Rollout]]:
    options = {
        "seed": 5,
        "temperature": 1.0,
        "max_tokens": 9,
        "stop": (tiny.EOS,),
        "token_budget": 10**6,
        **changes,
    }
    return sample(model, prompts, options.pop("names", None) or names(n, prompts), **options)


def as_groups(rollouts: list[list[Rollout]], prompts=PROMPTS) -> list[TokenGroup]:
    return [
        TokenGroup(f"g{i}", prompt, tuple(r.ids for r in group), tuple(f"{i}/{k}" for k in range(len(group))))
        for i, (prompt, group) in enumerate(zip(prompts, rollouts, strict=True))
    ]


def gap(model, rollouts: list[list[Rollout]], temperature: float) -> float:
    """Largest difference between the sampler's log-probs and those of a full pass."""
    scores = score_all(model, as_groups(rollouts), 10**6, temperature=temperature)
    flat = [r for group in rollouts for r in group]
    return max(
        float((scores.logp_NT[n, : len(r.ids)] - torch.tensor(r.logps, dtype=scores.logp_NT.dtype)).abs().max())
        for n, r in enumerate(flat)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_are_those_of_a_full_pass(family: str) -> None:
    """Cached stepping, 1e-9 in float64; the sliding window (Mistral, 5) is left behind on the way."""
    model = tiny.policy(family)
    rollouts = drawn(model, temperature=0.7)
    assert max(len(r.ids) for group in rollouts for r in group) == 9
    assert gap(model, rollouts, 0.7) < 1e-9
    assert gap(model, rollouts, 1.0) > 0.01  # a pass that forgets the temperature is seen


@pytest.mark.parametrize("family", FAMILIES)
def test_in_fp32_to_1e_4(family: str) -> None:
    model = tiny.policy(family, dtype=torch.float32)
    assert gap(model, drawn(model), 1.0) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_does_not_depend_on_its_neighbours(family: str) -> None:
    model = tiny.policy(family)
    together = drawn(model, 3)
    for i, prompt in enumerate(PROMPTS):
        (alone,) = drawn(model, prompts=[prompt], names=[[f"p{i}a1"]])
        same([alone], [[together[i][1]]])
    same(drawn(model, 3, token_budget=1), together)
    same(drawn(model, 3, token_budget=100), together)
    backwards = drawn(model, prompts=PROMPTS[::-1], names=names(3)[::-1])
    same(backwards[::-1], together)


def same(found: list[list[Rollout]], wanted: list[list[Rollout]], within: float = 1e-9) -> None:
    for left, right in zip(found, wanted, strict=True):
        assert [r.ids for r in left] == [r.ids for r in right]
        assert [r.finish for r in left] == [r.finish for r in right]
        for a, b in zip(left, right, strict=True):
            assert a.logps == pytest.approx(b.logps, abs=within)


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_answers() -> None:
    model = tiny.policy(dtype=torch.float32)
    torch.manual_seed(1)
    first = drawn(model)
    torch.manual_seed(2)  # the global generator plays no part
    assert drawn(model) == first
    assert [r.ids for r in drawn(model, seed=6)[0]] != [r.ids for r in first[0]]
    assert len({r.ids for r in first[0]}) > 1  # siblings differ


def test_stop_ids_end_an_answer_and_belong_to_it() -> None:
    model = tiny.policy()
    stop = (tiny.EOS, 30, 31, 32)
    free, cut = drawn(model, 6, stop=()), drawn(model, 6, stop=stop)
    ended = 0
    for long, short in zip([r for g in free for r in g], [r for g in cut for r in g], strict=True):
        assert long.finish == "length" and len(long.ids) == 9
        at = next((t for t, token in enumerate(long.ids) if token in stop), None)
        expected = long.ids if at is None else long.ids[: at + 1]
        assert short.ids == expected and len(short.logps) == len(short.ids)
        assert short.finish == ("length" if at is None else "stop")
        ended += at is not None
    assert 0 < ended < 24


def test_a_stop_id_on_the_last_position_counts() -> None:
    model = tiny.policy()
    (long,), *_ = drawn(model, 1, stop=(), max_tokens=4)
    at = next(t for t in range(4) if long.ids[t] not in long.ids[:t] and t == len(set(long.ids[:t])))
    (short,), *_ = drawn(model, 1, stop=(long.ids[at],), max_tokens=at + 1)
    assert short.finish == "stop" and short.ids == long.ids[: at + 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_temperature_0_is_transformers_greedy_search(family: str) -> None:
    model = tiny.policy(family)
    rollouts = drawn(model, 1, temperature=0, stop=(tiny.EOS, 20))
    for prompt, (ours,) in zip(PROMPTS, rollouts, strict=True):
        ids = model.generate(
            torch.tensor([prompt]),
            do_sample=False,
            max_new_tokens=9,
            eos_token_id=[tiny.EOS, 20],
            pad_token_id=0,
        )
        assert list(ours.ids) == ids[0, len(prompt) :].tolist()
    assert gap(model, rollouts, 1.0) < 1e-9


def naive(model, prompt: Sequence[int], name: str, temperature: float, max_tokens: int, stop: Sequence[int]) -> Rollout:
    """Oracle: one answer, a plain forward over the whole row for every token, cumulated in Python."""
    ids: list[int] = []
    logps: list[float] = []
    while len(ids) < max_tokens and not (ids and ids[-1] in stop):
        with torch.no_grad():
            logits_V = model(input_ids=torch.tensor([[*prompt, *ids]])).logits[0, -1].double() / temperature
        p = torch.softmax(logits_V, 0).tolist()
        wanted, total = splitmix(hash_int(5, name), len(ids)) * math.fsum(p), 0.0
        for token in range(len(p)):
            total += p[token]
            if total > wanted:
                break
        ids.append(token)
        logps.append(math.log(p[token]))
    return Rollout(tuple(ids), tuple(logps), "stop" if ids[-1] in stop else "length")


def ragged(seed: int, n: int = 7, longest: int = 12) -> tuple[list[tuple[int, ...]], list[list[str]]]:
    """Prompts of 1..`longest` tokens with 1..4 answers each."""
    print(f"seed {seed}")
    draw = random.Random(seed)
    prompts = [
        tuple(draw.randrange(len(tiny.SPECIALS), tiny.VOCABULARY) for _ in range(draw.randint(1, longest)))
        for _ in range(n)
    ]
    return prompts, [[f"p{p}a{a}" for a in range(draw.randint(1, 4))] for p in range(n)]


STOPS = (tiny.EOS, 9, 17, 30, 31)


@pytest.mark.parametrize("family", ALL)
def test_token_for_token_what_a_plain_loop_draws(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ragged prompts and groups, rows that end at all times, places added and closed up on the way."""
    monkeypatch.setattr(decode, "WIDER", 4)
    model = tiny.policy(family)
    prompts, answers = ragged(1)
    temperature = 4.0 if family == "gpt2" else 0.9  # at 0.9 it repeats itself
    wanted = [
        [naive(model, p, name, temperature, 14, STOPS) for name in names]
        for p, names in zip(prompts, answers, strict=True)
    ]
    assert len({len(r.ids) for group in wanted for r in group}) > 4
    for budget in (10**6, 12, 5):
        options = {"prompts": prompts, "names": answers, "max_tokens": 14, "stop": STOPS, "token_budget": budget}
        within = 1e-6 if family == "gemma2" else 1e-9  # it attends in fp32, whatever its weights
        same(drawn(model, temperature=temperature, **options), wanted, within)


def test_the_soft_cap_of_scores_and_a_window() -> None:
    """Gemma 2 takes layouts in fp32 only, where it attends as it is told."""
    model = tiny.policy("gemma2", dtype=torch.float32, attn_logit_softcapping=1.5)
    prompts, answers = ragged(2)
    assert packs(model)
    rollouts = drawn(model, prompts=prompts, names=answers, max_tokens=14)
    plain = tiny.policy("gemma2", dtype=torch.float32, attn_logit_softcapping=1.5)
    for prompt, group in zip(prompts, rollouts, strict=True):
        for r in group:
            logp_T = tiny.alone(plain, prompt, r.ids).gather(1, torch.tensor(r.ids)[:, None]).squeeze(1)
            assert logp_T.tolist() == pytest.approx(r.logps, abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
def test_without_layouts_the_same_is_drawn(family: str) -> None:
    model, other = tiny.policy(family), tiny.policy(family)
    other.assent_packs = False
    prompts, answers = ragged(3)
    options = {"prompts": prompts, "names": answers, "max_tokens": 12, "stop": STOPS}
    same(drawn(other, **options), drawn(model, **options))
    same(drawn(other, token_budget=30, **options), drawn(model, **options))
    assert packs(model) and not packs(other)


@pytest.mark.parametrize("fault", ["position", "neighbour", "own place"])
def test_a_planted_fault_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, (prompts, answers) = tiny.policy(), ragged(4)
    options = {"prompts": prompts, "names": answers, "max_tokens": 6, "stop": ()}
    clean = drawn(model, **options)

    def off_by_one(model, ids_Q: Tensor, positions_Q: Tensor, layout) -> Tensor:
        return forward(model, ids_Q, positions_Q + 1, layout)

    def next_group(self, heads: int) -> tuple[Tensor, Tensor]:
        into, out = crossing(self, heads)
        return into, out.roll(heads)

    def overwritten(self, own: Tensor, new: Tensor, heads: int) -> Tensor:
        self.position_N = self.position_N.clamp_min(1)
        return write(self, own, new, heads)

    forward, crossing, write = decode.forward, decode.Decode._crossing, decode.Decode._write
    if fault == "position":
        monkeypatch.setattr(decode, "forward", off_by_one)
    elif fault == "neighbour":
        monkeypatch.setattr(decode.Decode, "_crossing", next_group)
    else:
        monkeypatch.setattr(decode.Decode, "_write", overwritten)
    broken = drawn(model, **options)
    firsts = [[r.logps[0] for r in group] for group in clean]
    assert [[r.logps[0] for r in group] for group in broken] == firsts  # the prompts' pass was left alone
    differing = sum(
        a.ids != b.ids or max(abs(x - y) for x, y in zip(a.logps, b.logps, strict=True)) > 1e-6
        for left, right in zip(clean, broken, strict=True)
        for a, b in zip(left, right, strict=True)
    )
    assert differing > sum(map(len, answers)) / 2


def test_no_token_is_computed_that_nobody_reads() -> None:
    """Each prompt once, each drawn token but an answer's last once, and few rows that have ended."""
    model, (prompts, answers) = tiny.policy(), ragged(5, n=12)
    packs(model)
    tokens: list[int] = []
    model.model.embed_tokens.register_forward_hook(lambda module, args, out: tokens.append(args[0].numel()))
    rollouts = drawn(model, prompts=prompts, names=answers, max_tokens=14, stop=STOPS)
    prompt_tokens = sum(map(len, prompts))
    read = sum(len(r.ids) - 1 for group in rollouts for r in group)
    assert tokens[0] == prompt_tokens
    assert read <= sum(tokens[1:]) <= read * LEAVE / (LEAVE - 1)
    assert len(tokens) == max(len(r.ids) for group in rollouts for r in group)


def test_the_cache_stays_within_its_room_and_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts enter as others leave; a group larger than the room is cut."""
    model, (prompts, answers) = tiny.policy(), ragged(6, n=20)
    held: list[int] = []
    entered: list[int] = []

    class Watched(decode.Prefill):
        def __init__(self, cache: decode.Cache, lengths: Sequence[int], *rest) -> None:
            super().__init__(cache, lengths, *rest)
            entered.append(sum(lengths))
            held.append(cache.groups * cache.longest + cache.rows * 10)

    monkeypatch.setattr(sys.modules["assent.engine.sample"], "Prefill", Watched)
    options = {"prompts": prompts, "names": answers, "max_tokens": 10, "stop": STOPS}
    whole = drawn(model, **options)
    assert len(entered) == 1
    for budget in (2, 20, 50):
        held.clear(), entered.clear()
        same(drawn(model, token_budget=budget, **options), whole)
        assert len(entered) > 1
        assert max(held) <= CACHED * budget * 2 or budget == 2
        assert max(entered) <= max(budget, max(map(len, prompts)))
        if budget == 50:
            assert max(held) > CACHED * budget / 2


def test_an_answer_ends_where_the_caller_says_so() -> None:
    model = tiny.policy()
    free = drawn(model, 4, stop=(), max_tokens=9)
    asked: set[tuple[int, ...]] = set()

    def ended(answer: int, ids: Sequence[int]) -> bool:
        asked.add((answer, *ids))
        return answer // 4 != 1 and sum(ids) > 60

    for budget in (10**6, 3):
        cut = drawn(model, 4, stop=(), max_tokens=9, ended=ended, token_budget=budget)
        for i, (long, short) in enumerate(zip(free, cut, strict=True)):
            for a, b in zip(long, short, strict=True):
                at = next((t + 1 for t in range(9) if i != 1 and sum(a.ids[: t + 1]) > 60), None)
                assert b.ids == a.ids[:at] and b.finish == ("length" if at is None else "stop")
        assert {r.finish for group in cut for r in group} == {"stop", "length"}
    answers = [r.ids for group in cut for r in group]
    assert asked == {(answer, *ids[: t + 1]) for answer, ids in enumerate(answers) for t in range(len(ids))}


def test_after_sampling_the_model_trains_as_before() -> None:
    """What the sampler leaves in the model (buffers, traces of inference) must not stop a backward pass."""
    for changes in ({}, {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}}):
        model = tiny.policy(**changes)
        groups = as_groups(drawn(model, 2))
        score(model, groups).logp_NT.sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        same(drawn(model, 2), drawn(model, 2))


def test_nothing_asked_nothing_drawn() -> None:
    assert drawn(tiny.policy(), prompts=[], names=[]) == []
