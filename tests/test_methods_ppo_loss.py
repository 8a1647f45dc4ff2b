"""The whole of PPO's loss, from sampled ids to the gradient, against slow loops over single tokens.

Nothing of `engine`, `ops`, `losses` or `advantages` is used on the slow side: unpadded rows, plain
transformers, sums written out from the papers.
"""

import copy
import math

import pytest
import torch
from torch import Tensor

import tiny
import tiny_methods as made
from assent.train.loop import accumulate

BASE = {
    "answers": 2,
    "gamma": 0.97,
    "lam": 0.9,
    "reward_clip": 0.3,
    "no_eos_penalty": 0.4,
    "clip_high": 0.3,
    "kl": {"coef": 0.2},
    "minibatches": 2,
}
CASES = {
    "token": {},
    "sequence": {"aggregation": "sequence", "whiten": False},
    "constant": {"aggregation": "constant", "value": {"clip": None}},
    "shared trunk": {"value": {"trunk": "shared", "coef": 0.7}, "aggregation": "sequence"},
    "entropy and dual clip": {"entropy_coef": 0.05, "dual_clip": 1.5},
    "kl in the loss, k2": {"kl": {"coef": 0.2, "place": "loss", "estimator": "k2"}},
    "kl in the loss, k3": {
        "kl": {"coef": 0.2, "place": "loss", "estimator": "k3"},
        "aggregation": "sequence",
    },
    "missing rewards": {"reward_scale": "running"},
}


def picky(answer) -> float | None:
    """A rule of which some answers have no score, and others one beyond the clip."""
    return None if answer.token_ids[0] % 4 == 0 else 2 * made.even_words(answer)


class Slow:
    """Everything known before the update, as Python numbers per answer (n) and token (t)."""

    def __init__(self, method, old) -> None:
        self.method, self.config = method, method.config
        self.rows = tiny.rows(method.last_rollout.tokens)
        self.answers = [a for g in method.last_rollout.groups for a in g.answers]
        self.scores = [method.reward.parts[0][1].rule(a) for a in self.answers]
        self.known = [n for n, score in enumerate(self.scores) if score is not None]
        with torch.no_grad():
            self.logp = [pick(logps(old["policy"], row, self.config), row) for row in self.rows]
            self.ref = [pick(logps(method.reference, row, self.config), row) for row in self.rows]
            self.value = [values(old, row) for row in self.rows]
        self.advantage, self.returns = self._credit()

    def shaped(self, n: int) -> float:
        c, known = self.config, [self.scores[i] for i in self.known]
        mean = sum(known) / len(known)
        scale = 1.0
        if c.reward_scale == "running":
            scale = math.sqrt(sum((s - mean) ** 2 for s in known) / len(known))
        clipped = min(max(self.scores[n] / scale, -c.reward_clip), c.reward_clip)
        return clipped - (c.no_eos_penalty if self.answers[n].finish == "length" else 0.0)

    def _credit(self) -> tuple[dict, dict]:
        c, advantage, returns = self.config, {}, {}
        coef = c.kl.coef if c.kl.place == "reward" else 0.0
        for n in self.known:
            length, value = len(self.rows[n][1]), self.value[n]
            reward = [-coef * float(self.logp[n][t] - self.ref[n][t]) for t in range(length)]
            reward[-1] += self.shaped(n)
            after = [*value[1:], 0.0]
            delta = [reward[t] + c.gamma * float(after[t]) - float(value[t]) for t in range(length)]
            for t in range(length):  # eq. 16 as the sum it stands for, not as a recursion
                a = sum((c.gamma * c.lam) ** (k - t) * delta[k] for k in range(t, length))
                advantage[n, t], returns[n, t] = a, a + float(value[t])
        if c.whiten:
            mean = sum(advantage.values()) / len(advantage)
            var = sum((a - mean) ** 2 for a in advantage.values()) / len(advantage)
            advantage = {key: (a - mean) / math.sqrt(var + 1e-8) for key, a in advantage.items()}
        return advantage, returns

    def loss(self, modules, which: list[int]) -> Tensor:
        """Policy part over its denominator, value part over the tokens, of the answers `which`."""
        c, policy, value, tokens, rows = self.config, [], [], 0, 0
        for n in which:
            if n not in self.known:
                continue
            length = len(self.rows[n][1])
            all_logps = logps(modules["policy"], self.rows[n], c)
            new, now = pick(all_logps, self.rows[n]), values(modules, self.rows[n])
            per = {"token": 1.0, "sequence": 1.0 / length, "constant": 1.0}[c.aggregation]
            for t in range(length):
                term = self.policy_term(n, t, new[t])
                if c.entropy_coef:
                    term = term + c.entropy_coef * (all_logps[t].exp() * all_logps[t]).sum()
                policy.append(per * term)
                value.append(self.value_term(n, t, now[t]))
            tokens, rows = tokens + length, rows + 1
        below = {"token": tokens, "sequence": rows, "constant": rows * c.sampling.max_tokens}[c.aggregation]
        factor = c.value.coef if self.method.critic is None else 1.0
        return torch.stack(policy).sum() / below + factor * torch.stack(value).sum() / tokens

    def policy_term(self, n: int, t: int, new: Tensor) -> Tensor:
        c, a = self.config, self.advantage[n, t]
        ratio = torch.exp(new - self.logp[n][t])
        inside = min(max(float(ratio.detach()), 1 - c.clip_low), 1 + c.clip_high)
        gain = ratio * a if float(ratio.detach()) * a <= inside * a else torch.tensor(inside * a, dtype=torch.float64)
        if c.dual_clip and a < 0 and float(gain.detach()) < c.dual_clip * a:
            gain = torch.tensor(c.dual_clip * a, dtype=torch.float64)
        d = new - self.ref[n][t]
        kl = {"k2": d**2 / 2, "k3": torch.exp(-d) - 1 + d}[c.kl.estimator]
        return -gain + (c.kl.coef * kl if c.kl.place == "loss" else 0.0)

    def value_term(self, n: int, t: int, now: Tensor) -> Tensor:
        clip, old, target = self.config.value.clip, float(self.value[n][t]), self.returns[n, t]
        far = (now - target) ** 2
        if clip is None:
            return far / 2
        near = (torch.clamp(now, old - clip, old + clip) - target) ** 2
        return (far if float(far.detach()) >= float(near.detach()) else near) / 2


def logps(policy, row, config) -> Tensor:
    return tiny.alone(policy, *row, config.sampling.temperature)


def pick(logp_TV: Tensor, row) -> list[Tensor]:
    return [logp_TV[t, token] for t, token in enumerate(row[1])]


def values(modules, row) -> list[Tensor]:
    """Before each token: the critic's head, or the shared head on the policy's trunk."""
    shared = isinstance(modules["value"], torch.nn.Linear)
    trunk, head = (modules["policy"], modules["value"]) if shared else (modules["value"], modules["value"].score)
    (prompt, answer) = row
    hidden_SH = trunk.base_model(input_ids=torch.tensor([[*prompt, *answer]])).last_hidden_state[0]
    return list(head(hidden_SH[len(prompt) - 1 : -1])[:, 0])


@pytest.mark.parametrize("case", CASES)
def test_against_slow_loops(case: str) -> None:
    method = made.ppo(rule=picky if case == "missing rewards" else made.even_words, **{**BASE, **CASES[case]})
    # A reference that differs, as after some steps: step 1, because step 0 insists that it does not.
    method.reference = tiny.perturbed(method.reference, seed=11, size=0.03)
    if method.critic is None:
        torch.nn.init.normal_(method.value_head.weight, std=0.3)
    old = copy.deepcopy(method.modules)
    batch = next(iter(method.batches(1)))
    slow = Slow(method, old)
    draw = torch.Generator().manual_seed(12)
    with torch.no_grad():
        for module in method.modules.values():
            for parameter in module.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype))
    index = {answer: n for n, answer in enumerate(i for g in method.last_rollout.tokens for i in g.answer_ids)}
    which = [index[i] for item in batch.items for i in item.group.answer_ids]
    assert 0 < len(which) < len(slow.rows)
    figures = accumulate(method, batch, 60)
    found = [p.grad.clone() for m in method.modules.values() for p in m.parameters() if p.grad is not None]
    for module in method.modules.values():
        module.zero_grad()
    expected = slow.loss(method.modules, which)
    expected.backward()
    assert figures["loss"] == pytest.approx(expected.item(), abs=1e-10)
    wanted = [p.grad for m in method.modules.values() for p in m.parameters() if p.grad is not None]
    for ours, its in zip(found, wanted, strict=True):
        # Llama's norms compute in fp32 whatever its weights: rounding shows where the slow side passes twice.
        near = 1e-6 if method.critic is None else 1e-10
        assert (ours - its).abs().max() <= near * max(1.0, float(its.abs().max()))
    check_teeth(case, figures, slow)


def check_teeth(case: str, figures: dict[str, float], slow: Slow) -> None:
    """The batch holds what the case is about: clipped ratios, values and scores, both endings."""
    assert figures["policy/clipfrac_avg"] > 0.05
    if slow.config.value.clip and case != "shared trunk":
        assert figures["val/clipfrac_avg"] > 0.01
    assert len({answer.finish for answer in slow.answers}) == 2
    assert any(abs(s) > 0.3 for s in slow.scores if s is not None)
    if case == "missing rewards":
        assert 0 < len(slow.known) < len(slow.rows)
