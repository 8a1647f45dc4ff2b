"""Every loss of the DPO family, and its gradient, against TRL's own trainers on one ragged random batch.

TRL's code is run, not repeated: its trainers are made without their setup, and given log-probs in place of a model.
A pair a row there, a group of two answers here.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from assent.config.preferences import PreferenceLoss
from assent.data.collate import TokenGroup
from assent.losses.kto import mismatched_kl
from assent.methods.pairs import Pair, RankedItem
from assent.methods.preference import ReferredItem, objective
from ragged import normal, random_mask

REASON = "TRL is an oracle of the tests only and is not installed here"
trl = pytest.importorskip("trl", reason=REASON)
pytest.importorskip("trl.trainer.dpo_trainer", reason=REASON)
pytest.importorskip("trl.experimental.cpo", reason=REASON)

P, T, PROMPT, VOCABULARY = 6, 7, 3, 11
BETA = 0.3
NOBODY = SimpleNamespace(device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x)


class Case:
    """P pairs of answers of 1 to T tokens; rows 0 to P - 1 are the preferred ones, as TRL has them."""

    def __init__(self) -> None:
        self.mask_NT = random_mask(2 * P, T, seed=5)
        self.logp_NT = (-normal(2 * P, T, seed=6).abs()).requires_grad_()
        self.ref_logp_N = self.sums(-normal(2 * P, T, seed=7).abs())

    def sums(self, x_NT: Tensor) -> Tensor:
        return x_NT.masked_fill(~self.mask_NT, 0.0).sum(1)

    def ours(self, kl: float = 0.0, **told: Any) -> tuple[float, Tensor]:
        """Loss and its gradient in the log-probs of single tokens."""
        items = []
        for p in range(P):
            answers = tuple((1,) * int(self.mask_NT[row].sum()) for row in (p, P + p))
            group = TokenGroup(str(p), (6,), answers, ("w", "l"))
            ref_K = self.ref_logp_N[[p, P + p]]
            items.append(ReferredItem(RankedItem(group, (Pair(0, 1, 1.0),)), ref_K, kl))
        in_groups = torch.tensor([row for p in range(P) for row in (p, P + p)])
        found = objective(PreferenceLoss(**{"beta": BETA, **told}), self.sums(self.logp_NT)[in_groups], items)
        return self.gradient(found.total / found.weight)

    def gradient(self, loss: Tensor) -> tuple[float, Tensor]:
        self.logp_NT.grad = None
        loss.backward()
        assert self.logp_NT.grad is not None
        return loss.item(), self.logp_NT.grad.clone()

    def rows(self) -> dict[str, Tensor]:
        """TRL's batch: prompt and answer in a row, padded on the right."""
        prompt = torch.zeros(2 * P, PROMPT, dtype=torch.long)
        mask = torch.cat([prompt, self.mask_NT.long()], 1)
        return {
            "input_ids": torch.ones_like(mask),
            "attention_mask": torch.cat([prompt + 1, self.mask_NT.long()], 1),
            "completion_mask": mask,
        }

    def model(self, logp_NT: Tensor, labels: Tensor) -> SimpleNamespace:
        """What TRL's patched head returns: log-probs of the labels, 0 where there is none, and what it logs."""
        logp = torch.cat([torch.zeros(len(logp_NT), PROMPT - 1).double(), logp_NT], 1)
        zero = torch.zeros_like(logp).detach()
        logp = logp.masked_fill(labels[:, 1:] == -100, 0.0)
        return SimpleNamespace(log_probs=logp, entropy=zero, mean_logits=zero, is_top1=zero.bool())


def bare(trainer: type, **attributes: Any) -> Any:
    """A trainer with the attributes its loss reads, and nothing else."""
    made = object.__new__(trainer)
    always = {
        "accelerator": NOBODY,
        "model": SimpleNamespace(training=True),
        "beta": BETA,
        "aux_loss_enabled": False,
        "precompute_ref_logps": True,
        "label_smoothing": 0.0,
        "_metrics": {"train": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    for name, value in {**always, **attributes}.items():
        setattr(made, name, value)
    return made


def of_dpo_trainer(case: Case, loss_type: str, **settings: Any) -> tuple[tuple[float, Tensor], dict[str, list[float]]]:
    """`DPOTrainer._compute_loss` on the case: loss and gradient, and what it logs."""
    trainer = bare(
        trl.DPOTrainer,
        loss_types=[loss_type],
        loss_weights=[1.0],
        ld_alpha=None,
        f_divergence_type="reverse_kl",
        use_weighting=False,
        **settings,
    )
    batch = case.rows() | {"ref_chosen_logps": case.ref_logp_N[:P], "ref_rejected_logps": case.ref_logp_N[P:]}

    def model(labels: Tensor, **_: Any) -> SimpleNamespace:
        return case.model(case.logp_NT, labels)

    return case.gradient(trainer._compute_loss(model, batch, False)), trainer._metrics["train"]


def same(ours: tuple[float, Tensor], theirs: tuple[float, Tensor]) -> None:
    assert ours[0] == pytest.approx(theirs[0], abs=1e-9)
    torch.testing.assert_close(ours[1], theirs[1], rtol=0, atol=1e-9)
    assert theirs[1].abs().max() > 1e-3


@pytest.mark.parametrize(
    ("told", "loss_type", "settings"),
    [
        ({}, "sigmoid", {}),
        ({"loss": "robust", "label_smoothing": 0.2}, "robust", {"label_smoothing": 0.2}),
        ({"loss": "ipo"}, "ipo", {}),
        ({"loss": "hinge"}, "hinge", {}),
    ],
)
def test_as_in_dpo_trainer(told: dict[str, Any], loss_type: str, settings: dict[str, Any]) -> None:
    case = Case()
    theirs, _ = of_dpo_trainer(case, loss_type, **settings)
    same(case.ours(**told), theirs)


def test_figures_are_those_of_dpo_trainer() -> None:
    case = Case()
    _, logged = of_dpo_trainer(case, "sigmoid")
    items = [
        ReferredItem(
            RankedItem(TokenGroup(str(p), (6,), ((1,), (1,)), ("w", "l")), (Pair(0, 1, 1.0),)),
            case.ref_logp_N[[p, P + p]],
        )
        for p in range(P)
    ]
    in_groups = torch.tensor([row for p in range(P) for row in (p, P + p)])
    metrics = objective(PreferenceLoss(beta=BETA), case.sums(case.logp_NT)[in_groups], items).metrics
    assert len(metrics) == 6
    for name, (total, weight) in metrics.items():
        assert float(total) / weight == pytest.approx(logged[name][0], abs=1e-9), name


def of_cpo_trainer(logp_w_P: Tensor, logp_l_P: Tensor, **settings: Any) -> Tensor:
    """`CPOTrainer.cpo_loss`, mean over pairs; it knows no reference, so one may be taken off before."""
    from trl.experimental.cpo import CPOTrainer

    trainer = bare(CPOTrainer, **{"alpha": 0.0, **settings})
    losses: Tensor = trainer.cpo_loss(logp_w_P, logp_l_P)[0]
    return losses.mean()


def test_cdpo_as_in_cpo_trainer_and_not_as_in_dpo_trainer() -> None:
    """TRL's DPO ignores label smoothing with its usual loss; its CPO does not. Log-ratios in place of log-probs."""
    case = Case()
    gain_N = case.sums(case.logp_NT) - case.ref_logp_N
    theirs = case.gradient(of_cpo_trainer(gain_N[:P], gain_N[P:], loss_type="sigmoid", label_smoothing=0.2))
    same(case.ours(loss="cdpo", label_smoothing=0.2), theirs)
    ignored, _ = of_dpo_trainer(case, "sigmoid", label_smoothing=0.2)
    same(case.ours(), ignored)
    assert abs(ignored[0] - theirs[0]) > 0.01


def test_simpo_as_in_cpo_trainer_from_its_averaged_log_probs() -> None:
    """From logits: TRL's own averaging over an answer's tokens, and ours."""
    from trl.experimental.cpo import CPOTrainer

    case = Case()
    logits_NTV = normal(2 * P, T, VOCABULARY, seed=8).requires_grad_()
    ids_NT = torch.randint(0, VOCABULARY, (2 * P, T), generator=torch.Generator().manual_seed(9))
    labels = torch.cat([torch.full((2 * P, 1), -100), ids_NT.masked_fill(~case.mask_NT, -100)], 1)
    rows = torch.cat([logits_NTV, torch.zeros(2 * P, 1, VOCABULARY).double()], 1)
    mean_N = CPOTrainer.get_batch_logps(rows, labels, average_log_prob=True)
    loss = of_cpo_trainer(mean_N[:P], mean_N[P:], loss_type="simpo", simpo_gamma=0.7)
    (theirs,) = torch.autograd.grad(loss, logits_NTV)
    logp_NT = torch.log_softmax(logits_NTV, 2).gather(2, ids_NT[..., None]).squeeze(2)
    value, per_token_NT = case.ours(loss="simpo", gamma=0.7)
    case.logp_NT = logp_NT.detach().requires_grad_()
    value, per_token_NT = case.ours(loss="simpo", gamma=0.7)
    (ours,) = torch.autograd.grad(logp_NT, logits_NTV, per_token_NT)
    same((value, ours), (loss.item(), theirs))


@pytest.mark.parametrize("moved", [0.4, -0.4])
def test_kto_as_in_kto_trainer(moved: float) -> None:
    """With its reference point, from mismatched rows of other log-probs: above 0, and cut at 0."""
    case = Case()
    kl_NT = -normal(2 * P, T, seed=10).abs()
    ref_kl_N = case.sums(kl_NT) - moved
    rows = case.rows()
    mismatched = {f"KL_{name}": table.clone() for name, table in rows.items()}
    label = torch.tensor([True] * P + [False] * P)
    trainer = bare(trl.KTOTrainer, calculate_KL=True, loss_type="kto", desirable_weight=1.5, undesirable_weight=0.5)

    def model(input_ids: Tensor, labels: Tensor, **_: Any) -> SimpleNamespace:
        return case.model(kl_NT if input_ids is mismatched["KL_input_ids"] else case.logp_NT, labels)

    batch = {**rows, **mismatched, "label": label, "ref_logps": case.ref_logp_N, "ref_KL_logps": ref_kl_N}
    theirs = case.gradient(trainer._compute_loss(model, batch, False))
    kl = mismatched_kl(case.sums(kl_NT), ref_kl_N)
    assert kl == pytest.approx(trainer._metrics["train"]["kl"][0]) == pytest.approx(max(0.0, moved))
    same(case.ours(kl, loss="kto", desirable_weight=1.5, undesirable_weight=0.5), theirs)
