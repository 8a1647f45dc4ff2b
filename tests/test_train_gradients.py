"""The gradient of a batch: the same however it is cut, grouped or ordered, for every method."""

import pytest
import torch
from torch import Tensor

import tiny
import tiny_methods as made
from assent.core.errors import TrainingError
from assent.data.collate import TokenGroup
from assent.methods.sft import Row
from assent.train.loop import accumulate
from assent.train.method import Batch

METHODS = {
    "sft": made.sft,
    "reward": made.reward,
    "ppo": lambda: made.ppo(answers=2, entropy_coef=0.01),
    "ppo-shared": lambda: made.ppo(answers=2, value={"trunk": "shared"}, aggregation="sequence"),
    "ppo-kl-loss": lambda: made.ppo(kl={"place": "loss"}, aggregation="constant"),
    "dpo": made.dpo,
    "dpo-ipo": lambda: made.dpo(told={"loss": "ipo"}),
    "dpo-simpo": lambda: made.dpo(told={"loss": "simpo"}),
    "dpo-kto": lambda: made.dpo(reference=tiny.perturbed(tiny.policy(), seed=1), told={"loss": "kto"}),
    "online-dpo": made.online_dpo,
    "online-dpo-kto": lambda: made.online_dpo(loss="kto", pairs="ends"),
    "grpo": made.grpo,
    "grpo-kl": lambda: made.grpo(kl={"coef": 0.1}, aggregation="sequence"),
    "grpo-masked": lambda: made.grpo(truncated="mask", scale="batch", aggregation="constant"),
    "rloo": lambda: made.rloo(whiten=True),
}


def first_batch(method) -> Batch:
    """The first batch, after the policy has moved a little: ratios other than 1, some of them clipped."""
    batch = next(iter(method.batches(0)))
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for module in method.modules.values():
            for parameter in module.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype))
    return batch


def gradient(method, batch: Batch, budget: int) -> tuple[dict[str, Tensor], dict[str, float]]:
    for module in method.modules.values():
        module.zero_grad()
    figures = accumulate(method, batch, budget)
    found = {f"{m}/{k}": p.grad for m, module in method.modules.items() for k, p in module.named_parameters()}
    return {name: grad.clone() for name, grad in found.items() if grad is not None}, figures


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert (found[name] - wanted[name]).abs().max() <= 1e-12 * max(1.0, float(wanted[name].abs().max())), name


def budget_of(batch: Batch, groups: int) -> int:
    """A token budget under which about `groups` groups share a piece."""
    sizes = [(len(i.group.prompt_ids) + max(map(len, i.group.answers))) * len(i.group.answers) for i in batch.items]
    return max(sizes) * groups


@pytest.mark.parametrize("name", METHODS)
def test_however_the_batch_is_cut_and_ordered(name: str) -> None:
    method = METHODS[name]()
    batch = first_batch(method)
    whole, figures = gradient(method, batch, 10**6)
    assert any(g.abs().max() > 1e-3 for g in whole.values())
    backwards = Batch(batch.items[::-1], batch.weight)
    for given, budget in ((batch, budget_of(batch, 2)), (batch, 1), (backwards, 10**6), (backwards, 1)):
        cut, cut_figures = gradient(method, given, budget)
        same(cut, whole)
        assert cut_figures == pytest.approx(figures, abs=1e-11)


def test_grouped_or_split_into_single_answers() -> None:
    """Four answers to one prompt weigh as four rows of one answer each."""
    method = made.sft()
    grouped = [Row(g) for g in tiny.groups(5, seed=31, answers=4)]
    split = [Row(g) for g in tiny.singles([row.group for row in grouped])]
    weight = sum(row.tokens for row in grouped)
    whole, _ = gradient(method, Batch(grouped, weight), 10**6)
    for budget in (1, 10**6):
        same(gradient(method, Batch(split, weight), budget)[0], whole)


def test_the_slow_gradient_of_sft() -> None:
    """-log p of every answer token, over the number of answer tokens; the prompt carries no loss."""
    method = made.sft()
    batch = next(iter(method.batches(0)))
    found, figures = gradient(method, batch, 40)
    method.policy.zero_grad()
    losses = []
    for prompt, answer in tiny.rows([row.group for row in batch.items]):
        logp_TV = tiny.alone(method.policy, prompt, answer)
        losses += [-logp_TV[t, token] for t, token in enumerate(answer)]
    mean = torch.stack(losses).mean()
    mean.backward()
    same(found, {f"policy/{k}": p.grad for k, p in method.policy.named_parameters()})
    assert figures["loss"] == pytest.approx(mean.item(), abs=1e-12)


@torch.no_grad()
def token_losses(method, *rows):
    return [-sum(float(tiny.alone(method.policy, p, a)[t, token]) for t, token in enumerate(a)) for p, a in rows]


def test_a_token_counts_once_wherever_it_stands() -> None:
    """By hand: of answers of 1 and 3 tokens, the mean is over 4 tokens, not over 2 answers."""
    method = made.sft()
    rows = [Row(TokenGroup("a", (6,), ((7,),), ("a",))), Row(TokenGroup("b", (8,), ((9, 10, 11),), ("b",)))]
    _, figures = gradient(method, Batch(rows, 4), 1)
    one, three = token_losses(method, ((6,), (7,)), ((8,), (9, 10, 11)))
    assert figures["loss"] == pytest.approx((one + three) / 4, abs=1e-12)
    assert abs((one + three) / 4 - (one + three / 3) / 2) > 0.01


def test_pieces_that_do_not_add_up_to_the_batch_are_refused() -> None:
    method = made.sft()
    batch = next(iter(method.batches(0)))
    with pytest.raises(TrainingError, match="pieces weigh"):
        accumulate(method, Batch(batch.items, batch.weight + 1), 10**6)
