"""The KL term of the reward and its controllers."""

import json
import math

import pytest
import torch

from assent.advantages.kl_penalty import AdaptiveKL, FixedKL, KLController, answer_rewards, token_rewards
from ragged import normal, poison, ragged_mask, random_mask, widen


def test_by_hand() -> None:
    """kl_coef 0.1; the score joins the last real token's own KL, there is no slot after it."""
    logp_NT = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, 9.0, 9.0]])
    ref_NT = torch.tensor([[-2.0, -2.0, -1.0], [-1.5, 7.0, 7.0]])
    reward_NT = token_rewards(torch.tensor([5.0, -1.0]), logp_NT, ref_NT, ragged_mask([3, 1]), kl_coef=0.1)
    expected = torch.tensor([[-0.1, 0.0, 5.2], [-1.05, 0.0, 0.0]])
    torch.testing.assert_close(reward_NT, expected)


@pytest.mark.parametrize("seed", [1, 2])
def test_against_slow_loop(seed: int) -> None:
    score_N, logp_NT, ref_NT = normal(5, seed=seed), normal(5, 6, seed=seed + 1), normal(5, 6, seed=seed + 2)
    mask_NT = random_mask(5, 6, seed=seed + 3)
    reward_NT = token_rewards(score_N, logp_NT, ref_NT, mask_NT, 0.3)
    for n in range(5):
        length = int(mask_NT[n].sum())
        for t in range(6):
            expected = -0.3 * (logp_NT[n, t] - ref_NT[n, t]).item() if t < length else 0.0
            expected += score_N[n].item() if t == length - 1 else 0.0
            assert reward_NT[n, t].item() == pytest.approx(expected, abs=1e-10)


def test_padding_and_dropped_rows() -> None:
    score_N, logp_NT, ref_NT = normal(3, seed=5), normal(3, 4, seed=6), normal(3, 4, seed=7)
    mask_NT = ragged_mask([2, 0, 4])
    score_N[1] = math.nan  # an answer that could not be scored, dropped by its mask
    plain = token_rewards(score_N, logp_NT, ref_NT, mask_NT, 0.3)
    dirty = [widen(poison(x, mask_NT), 2, math.nan) for x in (logp_NT, ref_NT)]
    wide = token_rewards(score_N, *dirty, widen(mask_NT, 2).bool(), 0.3)
    assert torch.equal(wide[:, :4], plain) and not wide[:, 4:].any()
    assert not plain[1].any() and plain.isfinite().all()


def test_an_answers_reward_by_hand() -> None:
    """KL of 1 + 0 - 2 nats over three tokens, and of 0.5 over one: the padding's is not charged."""
    logp_NT = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, math.nan, 9.0]])
    ref_NT = torch.tensor([[-2.0, -2.0, -1.0], [-1.5, 7.0, 7.0]])
    reward_N = answer_rewards(torch.tensor([5.0, -1.0]), logp_NT, ref_NT, ragged_mask([3, 1]), kl_coef=0.1)
    torch.testing.assert_close(reward_N, torch.tensor([5.1, -1.05]))
    with pytest.raises(ValueError, match="score_N has shape"):
        answer_rewards(torch.zeros(3), logp_NT, ref_NT, ragged_mask([3, 1]), kl_coef=0.1)


def test_a_missing_score_on_a_kept_row_is_not_hidden() -> None:
    logp_NT = torch.zeros(1, 2)
    reward_NT = token_rewards(torch.tensor([math.nan]), logp_NT, logp_NT, ragged_mask([2]), 0.1)
    assert reward_NT.isnan().tolist() == [[False, True]]


def test_the_last_token_after_a_gap() -> None:
    mask_NT = torch.tensor([[True, False, True, False]])
    zeros_NT = torch.zeros(1, 4)
    assert token_rewards(torch.tensor([2.0]), zeros_NT, zeros_NT, mask_NT, 0.1).tolist() == [[0, 0, 2, 0]]


def test_no_gradient_passes_through_the_reward() -> None:
    logp_NT = normal(2, 3, seed=8).requires_grad_()
    assert not token_rewards(normal(2, seed=9), logp_NT, logp_NT, ragged_mask([3, 2]), 0.1).requires_grad


def test_refuses_scores_per_token() -> None:
    logp_NT = torch.zeros(2, 2)
    with pytest.raises(ValueError, match=r"score_N has shape \(2, 2\) for 2 answers"):
        token_rewards(torch.zeros(2, 2), logp_NT, logp_NT, ragged_mask([2, 2]), 0.1)


def test_adaptive_by_hand() -> None:
    """target 6 nats an answer, horizon 1000, 100 answers: a step is err / 10."""
    controller = AdaptiveKL(0.2, target=6.0, horizon=1000)
    controller.update(6.6, 100)  # err = 0.1
    assert controller.coef == pytest.approx(0.2 * 1.01)
    controller.update(60.0, 100)  # err = 9, cut to 0.2
    assert controller.coef == pytest.approx(0.2 * 1.01 * 1.02)
    controller.update(-3.0, 100)  # a sampled KL may be negative: err = -1.5, cut to -0.2
    assert controller.coef == pytest.approx(0.2 * 1.01 * 1.02 * 0.98)
    controller.update(6.0, 100)  # on target: unchanged
    assert controller.coef == pytest.approx(0.2 * 1.01 * 1.02 * 0.98)


def test_adaptive_steers_a_policy_to_its_target() -> None:
    """On a toy where the KL falls as 3 / coef, the target of 6 is met at coef 0.5, from either side."""
    for start in (0.05, 5.0):
        controller = AdaptiveKL(start, target=6.0, horizon=1000)
        for _ in range(2000):
            controller.update(3.0 / controller.coef, 64)
        assert controller.coef == pytest.approx(0.5, rel=1e-3)


def test_state_survives_json_and_continues_exactly() -> None:
    controller = AdaptiveKL(0.15, target=6.0, horizon=10_000)
    for kl in (1.7, 9.3, 5.9):
        controller.update(kl, 33)
    copy = AdaptiveKL(0.99, target=6.0, horizon=10_000)
    copy.load_state_dict(json.loads(json.dumps(controller.state_dict())))
    for each in (controller, copy):
        each.update(7.1, 33)
    assert copy.coef == controller.coef != 0.15


def test_fixed_stays() -> None:
    controller: KLController = FixedKL(0.05)
    controller.update(1e9, 64)
    assert controller.coef == 0.05
    other = FixedKL(0.1)
    other.load_state_dict(json.loads(json.dumps(controller.state_dict())))
    assert other.coef == 0.05


def test_controllers_refuse() -> None:
    with pytest.raises(ValueError, match="kl_coef must be a number of at least 0"):
        FixedKL(-0.1)
    with pytest.raises(ValueError, match="kl_coef must be a number"):
        FixedKL(math.nan)
    with pytest.raises(ValueError, match="must be above 0"):
        AdaptiveKL(0.1, target=0, horizon=100)
    with pytest.raises(ValueError, match="finite"):
        AdaptiveKL(0.1, target=6, horizon=100).update(math.nan, 64)
