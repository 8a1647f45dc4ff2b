"""A rollout: sampler against trainer, missing rewards, the figures logged."""

import math

import pytest
import torch

import tiny
import tiny_methods as made
from assent.config.blocks import Sampling
from assent.core.errors import RewardError, TrainingError
from assent.engine.generate import LocalGenerator, Sampled
from assent.methods.figures import reward_figures, rollout_figures, rollout_samples
from assent.methods.rollout import Rollout, agreement, check_start, roll

PREFIX = "sampling/"


def rolled(rule=made.even_words, reference=None, temperature: float = 0.9, n: int = 2, policy=None) -> Rollout:
    policy = policy or tiny.policy()
    generator = LocalGenerator(policy, tiny.tokenizer(), "tiny", Sampling(max_tokens=6, temperature=temperature))
    return roll(generator, reference or tiny.policy(), made.ByRule(rule), tiny.prompts(6), n, 3, "tiny:0", 10**6)


def flat(rollout: Rollout) -> list:
    return [answer for group in rollout.groups for answer in group.answers]


def test_what_a_rollout_holds() -> None:
    """Log-probs of policy and reference row by row, tempered, against plain transformers."""
    other = tiny.perturbed(tiny.policy(), seed=1)
    rollout = rolled(reference=other)
    rows = tiny.rows(rollout.tokens)
    assert rollout.mask_NT.sum(1).tolist() == [len(answer) for _, answer in rows]
    with torch.no_grad():
        for n, (prompt, answer) in enumerate(rows):
            for model, table_NT in ((tiny.policy(), rollout.logp_NT), (other, rollout.ref_logp_NT)):
                logp_TV = tiny.alone(model, prompt, answer, 0.9)
                expected = torch.stack([logp_TV[t, token] for t, token in enumerate(answer)])
                torch.testing.assert_close(table_NT[n, : len(answer)], expected, rtol=0, atol=1e-9)
    assert rollout.score_N.tolist() == [made.even_words(answer) for answer in flat(rollout)]
    assert rollout.stopped_N.tolist() == [answer.finish == "stop" for answer in flat(rollout)]
    assert len(set(rollout.stopped_N.tolist())) == 2


def test_a_reward_that_cannot_be_computed_is_missing_not_0() -> None:
    rollout = rolled(lambda answer: None if answer.index == 1 else 2.0)
    assert rollout.known_N.tolist() == [True, False] * 6
    assert not rollout.mask_NT[1::2].any() and rollout.mask_NT[::2].any(1).all()
    figures = rollout_figures(rollout)
    assert figures["objective/scores"] == 2.0 and figures["rewards/missing"] == 0.5
    lengths = [len(a.token_ids) for a in flat(rollout) if a.index == 0]
    assert figures["completions/mean_length"] == pytest.approx(sum(lengths) / 6)


def test_no_reward_at_all_is_refused() -> None:
    with pytest.raises(RewardError, match="None for every answer"):
        rolled(lambda answer: None)


def test_the_same_model_agrees_with_itself() -> None:
    rollout = rolled()
    assert rollout.importance_NT.eq(1).all()
    assert rollout.figures[PREFIX + "sampling_logp_difference/max"] < 1e-9
    assert rollout.figures[PREFIX + "importance_sampling_ratio/mean"] == 1
    assert rollout.figures[PREFIX + "effective_sample_size"] == 1


def shifted(rollout: Rollout, by: dict[tuple[int, int], float]) -> Sampled:
    """The sampler's log-probs moved by some nats, by (answer, token)."""
    rows = [list(logps) for group in rollout.sampled.logps for logps in group]
    for (n, t), nats in by.items():
        rows[n][t] += nats
    grouped = [[tuple(rows[2 * g]), tuple(rows[2 * g + 1])] for g in range(len(rows) // 2)]
    return rollout.sampled._replace(logps=grouped)


def test_a_sampler_a_little_off_is_weighted_and_counted() -> None:
    """exp(trainer - sampler), at most 2: 0.25 nats too likely gives e^-0.25, 3 nats too unlikely gives 2."""
    rollout = rolled()
    weight_NT, figures = agreement(rollout.logp_NT, rollout.mask_NT, shifted(rollout, {(0, 0): 0.25, (1, 0): -3.0}))
    assert weight_NT[0, 0].item() == pytest.approx(math.exp(-0.25))
    assert weight_NT[1, 0].item() == 2
    others = weight_NT[rollout.mask_NT].sort().values[1:-1]
    torch.testing.assert_close(others, torch.ones_like(others), rtol=0, atol=1e-8)
    n, total = int(rollout.mask_NT.sum()), math.exp(-0.25) + 2
    mean, squares = (total + n - 2) / n, math.exp(-0.5) + 4 + n - 2
    assert figures[PREFIX + "sampling_logp_difference/max"] == pytest.approx(3)
    assert figures[PREFIX + "sampling_logp_difference/mean"] == pytest.approx(3.25 / n)
    assert figures[PREFIX + "importance_sampling_ratio/mean"] == pytest.approx(mean)
    assert figures[PREFIX + "effective_sample_size"] == pytest.approx((n * mean) ** 2 / squares / n)


def test_a_sampler_far_off_is_refused() -> None:
    rollout = rolled()
    every = {(n, 0): 1.5 for n in range(12)}
    with pytest.raises(TrainingError, match="sampler and trainer"):
        agreement(rollout.logp_NT, rollout.mask_NT, shifted(rollout, every))
    with pytest.raises(TrainingError, match="sampler and trainer"):
        agreement(rollout.logp_NT, rollout.mask_NT, shifted(rollout, {(0, 0): math.nan}))


@pytest.mark.parametrize("which", ["sample", "score_all"])
def test_a_temperature_that_one_pass_forgets_is_refused(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import assent.engine.generate as generate
    import assent.methods.rollout as rollouts

    module = generate if which == "sample" else rollouts
    real = getattr(module, which)
    monkeypatch.setattr(module, which, lambda *args, **options: real(*args, **{**options, "temperature": 1.0}))
    with pytest.raises(TrainingError, match="temperature"):
        rolled(temperature=0.6)


def test_answers_are_scored_again_by_sample_or_where_that_finds_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 6 groups one is scored again; a gap of 0.002 nats there makes it all six, weighted; at the start all."""
    import assent.methods.rollout as rollouts

    scored: list[int] = []
    real, off = rollouts.score_all, 0.0

    def counted(model, groups, *args, **options):
        scored.append(len(groups))
        scores = real(model, groups, *args, **options)
        return scores._replace(logp_NT=scores.logp_NT + off * scores.mask_NT)

    monkeypatch.setattr(rollouts, "score_all", counted)
    alone = {"reference": None, "prompts": tiny.prompts(6), "n": 2, "seed": 3, "source": "tiny:0", "token_budget": 999}
    generator = LocalGenerator(tiny.policy(), tiny.tokenizer(), "tiny", Sampling(max_tokens=6, temperature=0.9))

    def again(**options):
        scored.clear()
        return roll(generator, reward=made.ByRule(made.even_words), **alone, **options), list(scored)

    (spot, passes), (whole, all_passes) = again(), again(whole=True)
    assert passes == [1] and all_passes == [6]
    assert spot.mask_NT.equal(whole.mask_NT)
    torch.testing.assert_close(spot.logp_NT, whole.logp_NT, rtol=0, atol=1e-9)
    assert spot.importance_NT.eq(1).all()
    off = 2e-3
    found, passes = again()
    assert passes == [1, 6]
    torch.testing.assert_close(found.logp_NT, whole.logp_NT + off * whole.mask_NT, rtol=0, atol=1e-9)
    weight = found.importance_NT[found.mask_NT]
    torch.testing.assert_close(weight, torch.full_like(weight, math.exp(off)), rtol=0, atol=1e-8)


def test_at_the_start_policy_and_reference_are_one() -> None:
    rollout = rolled()
    check_start(rollout, torch.float64)
    figures = rollout_figures(rollout)
    assert all(abs(figures[f"objective/kl{k}"]) < 1e-9 for k in ("", "_k2", "_k3"))
    for reference in (tiny.perturbed(tiny.policy(), seed=1, size=1e-3), tiny.policy(seed=1)):
        with pytest.raises(TrainingError, match="policy and reference differ"):
            check_start(rolled(reference=reference), torch.float64)


def test_at_the_start_the_sampler_is_the_trainer_up_to_rounding() -> None:
    """0.02 nats on one token: too little for the mean to be refused, a thousand times what rounding does."""
    rollout = rolled()
    _, rollout.figures = agreement(rollout.logp_NT, rollout.mask_NT, shifted(rollout, {(0, 0): 0.02}))
    with pytest.raises(TrainingError, match="sampler and trainer differ by up to"):
        check_start(rollout, torch.float32)
    check_start(rollout, torch.bfloat16)  # where kernels differ by as much


def test_kl_is_a_sum_over_the_answer_and_a_mean_over_answers() -> None:
    """k1, k2 and k3 by slow loops; what cannot be scored is left out."""
    rollout = rolled(lambda a: None if a.index else 1.0, reference=tiny.perturbed(tiny.policy(), seed=1, size=0.02))
    figures = rollout_figures(rollout)
    sums = {"": 0.0, "_k2": 0.0, "_k3": 0.0}
    entropy, tokens = 0.0, 0
    for n in range(0, 12, 2):
        for t in range(int(rollout.mask_NT[n].sum())):
            d = float(rollout.logp_NT[n, t] - rollout.ref_logp_NT[n, t])
            sums[""] += d / 6
            sums["_k2"] += d * d / 2 / 6
            sums["_k3"] += (math.exp(-d) - 1 + d) / 6
            entropy, tokens = entropy - float(rollout.logp_NT[n, t]), tokens + 1
    for name, expected in sums.items():
        assert figures[f"objective/kl{name}"] == pytest.approx(expected, abs=1e-12)
    assert sums[""] != 0 and sums["_k3"] > 0
    assert figures["objective/entropy"] == pytest.approx(entropy / tokens)
    charged = reward_figures(rollout, torch.ones_like(rollout.logp_NT).masked_fill(~rollout.mask_NT, 0.0), 0.05)
    assert charged["objective/non_score_reward"] == pytest.approx(-0.05 * sums[""])
    assert charged["objective/rlhf_reward"] == pytest.approx(tokens / 6) and charged["objective/kl_coef"] == 0.05
    ended = [a.finish == "stop" for a in flat(rollout) if a.index == 0]
    assert figures["completions/clipped_ratio"] == pytest.approx(1 - sum(ended) / 6)
    assert figures["val/num_eos_tokens"] == sum(ended)


def test_samples_are_readable() -> None:
    rollout = rolled()
    rows = rollout_samples(rollout, at_most=3)
    assert [row["answer_id"] for row in rows] == [a.id for a in flat(rollout)[:3]]
    assert [row["score"] for row in rows] == [round(made.even_words(a), 4) for a in flat(rollout)[:3]]
    assert rows[0]["prompt"] == rollout.groups[0].prompt.text and rows[0]["finish"] in ("stop", "length")
