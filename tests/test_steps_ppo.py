"""PPO's rewards: functions, weighted sums, a reward model with another tokenizer; and their faults."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny
import toy_run
from assent.artifacts.store import Store
from assent.config.steps import PpoConfig
from assent.models import heads
from assent.models.load import load_policy, load_reward_model, load_tokenizer, save
from assent.steps import ppo
from assent.train.tracking import read_metrics
from toy_run import assent

PPO = {"iterations": 2, "prompts": 8, "sampling": {"max_tokens": 8}}
gate = threading.Event()

# Rewards that recipes below name by their dotted path.


def short(completions, **_):
    return [-float(len(c[0]["content"].split())) for c in completions]


def ones(prompts, **_):
    return [1.0] * len(prompts)


def half_missing(prompts, **_):
    return [None if i % 2 else 1.0 for i in range(len(prompts))]


def raises(prompts, **_):
    raise ValueError("no dictionary at hand")


def too_few(prompts, **_):
    return [1.0]


def nan(prompts, **_):
    return [float("nan")] * len(prompts)


def nothing(prompts, **_):
    return [None] * len(prompts)


def no_list(prompts, **_):
    return None


def hangs(prompts, **_):
    gate.wait()


calls: list[dict[str, Any]] = []


def recorded(prompts, completions, kind, trainer_state, log_metric, **_):
    calls.append({"prompts": prompts, "completions": completions, "kind": kind, "step": trainer_state.global_step})
    log_metric("mine/words", 3.0)
    log_metric("objective/kl", 1e9)  # not theirs to set: it steers the adaptive coefficient
    return [0.5] * len(prompts)


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    calls.clear()
    gate.clear()
    yield
    gate.set()


def recipe(path: Path, rewards: list[dict[str, Any]], **settings: Any) -> Path:
    """PPO from the toy run's SFT model on nothing but the listed rewards, unless `reads` names a step."""
    reads = settings.pop("reads", {})
    steps = {k: v for k, v in toy_run.RECIPE["steps"].items() if k in ("pretrain", "sft", "collect", "reward")}
    steps["ppo"] = {"from": {"policy": "sft", **reads}, "rewards": rewards, **PPO, **settings}
    path.write_text(yaml.safe_dump({**toy_run.RECIPE, "steps": steps}, sort_keys=False))
    return path


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., int]:
    """Run PPO on the given rewards in a copy of the toy run; its exit code."""

    def go(*rewards: dict[str, Any], **settings: Any) -> int:
        run = toy_run.copy(tmp_path / "run", "pretrain", "sft", "collect", "reward")
        return assent("run", recipe(tmp_path / "r.yaml", list(rewards), **settings), "--out", run, "--until", "ppo")

    return go


def mine(name: str, **rest: Any) -> dict[str, Any]:
    return {"function": f"{__name__}:{name}", **rest}


# What works


def test_a_function_alone_is_a_reward(train: Callable[..., int], tmp_path: Path) -> None:
    assert train(mine("recorded")) == 0
    assert [c["step"] for c in calls] == [0, 1]
    first = calls[0]
    assert len(first["prompts"]) == len(first["completions"]) == len(first["kind"]) == 8
    assert all(p[-1]["role"] == "user" for p in first["prompts"]), "conversational prompts are message lists"
    assert all(c[0].keys() == {"role", "content"} and c[0]["role"] == "assistant" for c in first["completions"])
    assert all(isinstance(kind, str) for kind in first["kind"]), "tags arrive as columns"
    last = read_metrics(tmp_path / "run" / "ppo")[-1]
    assert last["mine/words"] == 3.0
    assert abs(last["objective/kl"]) < 100
    assert last[f"rewards/{__name__}:recorded/mean"] == 0.5
    assert last["objective/scores"] == 0.5


def test_rewards_are_added_with_their_weights(train: Callable[..., int], tmp_path: Path) -> None:
    """score = 2 x reward model - 0.5 x words + 3, row by row through the means."""
    rewards = [mine("short", weight=0.5), mine("ones", weight=3.0)]
    assert train(*rewards, reads={"reward": "reward"}, reward_weight=2.0) == 0
    for row in read_metrics(tmp_path / "run" / "ppo"):
        words, model = row[f"rewards/{__name__}:short/mean"], row["rewards/reward/mean"]
        assert row["objective/scores"] == pytest.approx(2 * model + 0.5 * words + 3.0, abs=1e-5)
        assert words < 0


def test_answers_without_a_score_are_left_out_and_counted(train: Callable[..., int], tmp_path: Path) -> None:
    assert train(mine("half_missing")) == 0
    assert {row["rewards/missing"] for row in read_metrics(tmp_path / "run" / "ppo")} == {0.5}
    assert {row["objective/scores"] for row in read_metrics(tmp_path / "run" / "ppo")} == {1.0}


def test_a_reward_model_with_another_tokenizer(train: Callable[..., int], tmp_path: Path) -> None:
    """40 words and 64 positions against the lab's vocabulary: only the text passes between the two."""
    foreign = tmp_path / "foreign"
    save(foreign, tiny.reward_model(dtype=torch.float32), tiny.tokenizer(), "")
    assert train({"model": str(foreign)}) == 0
    assert f"rewards/{foreign}/mean" in read_metrics(tmp_path / "run" / "ppo")[-1]
    manifest = Store(tmp_path / "run").manifest("ppo")
    assert manifest and str(foreign) in manifest.sources, "its content is part of the lineage"


def test_the_critic_starts_from_the_reward_model_only_if_it_reads_the_same_tokens(tmp_path: Path) -> None:
    """Two tokenizers may be of one size: then the value of token 7 would be the value of another word."""
    weights = toy_run.finished() / "sft" / "weights"
    policy, tokenizer = load_policy(weights), load_tokenizer(weights)
    reward = toy_run.finished() / "reward" / "weights"
    own = load_reward_model(reward)
    config = PpoConfig.model_validate({"from": {"policy": "sft", "reward": "reward"}})
    context: Any = type("Context", (), {"seed_for": lambda self, *names: 0})()

    same = ppo._critic(config, [(own, load_tokenizer(reward))], policy, tokenizer, context)
    assert torch.equal(heads.head(same).weight, heads.head(own).weight)
    renamed = load_tokenizer(reward)
    core = json.loads(renamed.backend_tokenizer.to_str())
    words = core["model"]["vocab"]
    first, second = sorted(words, key=words.__getitem__)[20:22]
    words[first], words[second] = words[second], words[first]
    shuffled = type(renamed.backend_tokenizer).from_str(json.dumps(core))
    other = type(renamed)(tokenizer_object=shuffled, eos_token="<eos>", pad_token="<pad>", bos_token="<bos>")
    assert len(other) == len(tokenizer)
    fresh = ppo._critic(config, [(own, other)], policy, tokenizer, context)
    assert not torch.equal(heads.head(fresh).weight, heads.head(own).weight)
    assert torch.equal(fresh.model.embed_tokens.weight, policy.model.embed_tokens.weight)


def test_a_function_that_was_edited_is_another_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dotted path stays the same, the reward does not: its model must not pass for the new one's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "edited_reward.py").write_text("def f(prompts, **_):\n    return [1.0] * len(prompts)\n")
    run = toy_run.copy(tmp_path / "run", "pretrain", "sft", "collect", "reward")
    path = recipe(tmp_path / "r.yaml", [{"function": "edited_reward:f"}])
    command = ("run", path, "--out", run, "--until", "ppo")
    assert assent(*command) == 0
    assert assent(*command) == 0
    assert "ppo: done before" in capsys.readouterr().err
    (tmp_path / "edited_reward.py").write_text("def f(prompts, **_):\n    return [2.0] * len(prompts)\n")
    monkeypatch.delitem(sys.modules, "edited_reward")
    assert assent(*command) == 2
    assert "step `ppo` was made by another recipe" in capsys.readouterr().err
    sys.modules.pop("edited_reward", None)


# What does not


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("raises", "raised ValueError: no dictionary at hand (test_steps_ppo.py:"),
        ("too_few", "returned 1 values for 8 answers"),
        ("nan", "value 0 is nan"),
        ("nothing", "gave None for every answer"),
        ("no_list", "returned NoneType, but a list of numbers is needed"),
        ("hangs", "gave no result within 0.05 s"),
    ],
)
def test_rewards_that_are_none(
    name: str, why: str, train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(mine(name, timeout=0.05 if name == "hangs" else 30.0)) == 2
    said = capsys.readouterr().err
    assert why in said and "Traceback" not in said
    assert name == "nothing" or f"reward {__name__}:{name}" in said
    assert not (tmp_path / "run" / "ppo" / "weights").exists()


def test_a_reward_that_fails_later_keeps_what_was_reached(
    train: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def once(prompts, **_):
        calls.append({})
        if len(calls) == 2:
            raise ConnectionError("the scoring service is down")
        return [1.0] * len(prompts)

    monkeypatch.setitem(globals(), "once", once)
    limits = {"checkpoint_every": 1}
    assert train(mine("once"), limits=limits) == 2
    assert "the scoring service is down" in capsys.readouterr().err
    run = tmp_path / "run"
    assert assent("run", tmp_path / "r.yaml", "--out", run, "--until", "ppo") == 0
    assert "on from step 1 of 2" in capsys.readouterr().err
    assert [row["step"] for row in read_metrics(run / "ppo")] == [0, 1]


def test_prompts_that_leave_no_room(train: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert train(mine("ones"), limits={"max_length": 20, "checkpoint_every": 10}, sampling={"max_tokens": 15}) == 2
    said = capsys.readouterr().err
    assert "prompts leave no room for 15 answer tokens" in said and "limits.too_long: drop" in said
