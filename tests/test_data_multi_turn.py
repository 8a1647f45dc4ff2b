"""A conversation with a system message through every step that reads one: the same ids wherever it is scored, trained
on or sampled from."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny
from assent.core.jsonl import read_records
from assent.core.records import Group
from assent.data.collate import TokenGroup
from assent.data.tokens import end_of_turn
from assent.models.load import save
from data_tokenizers import published
from toy_data import rows
from toy_run import assent

LONGEST = 6
WRITTEN = ("In France.", "In Italy, Rome.")
SHORT = {"sampling": {"max_tokens": LONGEST}}
STEPS: dict[str, Any] = {
    "sft": {"template": "tokenizer", "epochs": 1, "batch": 8, **SHORT},
    "collect": {"source": "file"},
    "reward": {"from": {"policy": "sft", "judgments": "collect"}, "batch": 8, "normalise_prompts": 4, **SHORT},
    "dpo": {"from": {"policy": "sft", "judgments": "collect"}, "batch": 8, **SHORT},
    "ppo": {"from": {"policy": "sft", "reward": "reward"}, "iterations": 1, "prompts": 4, "answers": 2, **SHORT},
    "audit": {"from": {"sft": "sft", "ppo": "ppo", "judge": "reward"}, **SHORT},
}


def conversation(i: int, told: bool) -> list[dict[str, str]]:
    system = [{"role": "system", "content": "Be brief."}] if told else []
    said = [("user", f"Where is Rome {i}?"), ("assistant", "In Italy."), ("user", "And Paris?")]
    return system + [{"role": role, "content": content} for role, content in said]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[TokenGroup]]:
    """Every group of token ids that is made while the test runs, by the module that made it."""
    made: dict[str, list[TokenGroup]] = defaultdict(list)
    whole = TokenGroup.__init__

    def record(self: TokenGroup, *given: Any, **named: Any) -> None:
        whole(self, *given, **named)
        made[sys._getframe(1).f_globals["__name__"]].append(self)

    monkeypatch.setattr(TokenGroup, "__init__", record)
    return made


def folder(path: Path, tokenizer: Any) -> Path:
    """A tiny model that reads a published model's tokens."""
    special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = tiny.policy(
        dtype=torch.float32, vocab_size=len(tokenizer), max_position_embeddings=256, bos_token_id=None, **special
    )
    save(path, model, tokenizer, "")
    return path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("qwen2.5-instruct", True),
        ("smollm2-instruct", False),
        ("mistral-7b-instruct-v0.2", False),
        ("mistral-system-last", True),
        ("phi-3-mini-4k-instruct", True),
    ],
)
def test_every_step_reads_the_same_ids(
    name: str, told: bool, made: dict[str, list[TokenGroup]], tmp_path: Path
) -> None:
    tokenizer = published(name)
    pairs = [
        {
            "prompt": conversation(i, told),
            "chosen": [{"role": "assistant", "content": WRITTEN[0]}],
            "rejected": [{"role": "assistant", "content": WRITTEN[1]}],
            "subject": f"s{i}",
        }
        for i in range(24)
    ]
    recipe = {
        "name": "r",
        "threads": 1,
        "held_out": 0.3,
        "data": str(rows(tmp_path / "pairs.jsonl", *pairs)),
        "model": str(folder(tmp_path / "model", tokenizer)),
        "steps": STEPS,
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    assert assent("run", tmp_path / "r.yaml", "--out", tmp_path / "run") == 0

    asked = {
        tuple(tokenizer.apply_chat_template(p["prompt"], add_generation_prompt=True, return_dict=False)) for p in pairs
    }
    end = end_of_turn(tokenizer)
    blank = " " if "system-last" in name else ""
    written = {(*tokenizer(blank + text, add_special_tokens=False)["input_ids"], end) for text in WRITTEN}
    encoded, drawn = made["assent.data.render"], made["assent.engine.generate"]
    assert {group.prompt_ids for group in encoded} == asked >= {group.prompt_ids for group in drawn}
    sampled = {(group.prompt_ids, answer) for group in drawn for answer in group.answers}
    assert all(end not in answer[:-1] for _, answer in sampled), "nothing is written behind the end of a turn"
    scored = {(group.prompt_ids, answer) for group in encoded for answer in group.answers}
    assert {answer for _, answer in scored} >= written
    again = {(prompt, answer) for prompt, answer in scored if answer not in written}
    assert again and again <= sampled, "what was sampled has other ids where it is scored"
    (group, *_) = read_records(tmp_path / "run/collect/data/groups.jsonl", Group)
    assert [m.role for m in group.prompt.messages] == ["system"] * told + ["user", "assistant", "user"]
