"""The whole loop at toy size, run once per process; tests that change it work on a copy.

The models learn next to nothing in twenty steps: what is tested is that the steps fit each other.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from assent.cli.main import main

SHORT = {"sampling": {"max_tokens": 8}}
MODEL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
RECIPE: dict[str, Any] = {
    "name": "toy",
    "threads": 1,
    "steps": {
        "pretrain": {
            "documents": 200,
            "steps": 20,
            "batch_rows": 8,
            "row_tokens": 32,
            "model": {**MODEL, "num_key_value_heads": 2},
        },
        "sft": {"from": {"model": "pretrain"}, "demonstrations": 48, "epochs": 2, "batch": 16},
        "collect": {"from": {"policy": "sft"}, "prompts": 48, "held_out_prompts": 24, **SHORT},
        "reward": {
            "from": {"policy": "sft", "judgments": "collect"},
            "batch": 16,
            "normalise_prompts": 16,
            **SHORT,
        },
        "ppo": {"from": {"policy": "sft", "reward": "reward"}, "iterations": 2, "prompts": 8, **SHORT},
        "audit": {"from": {"base": "pretrain", "sft": "sft", "ppo": "ppo"}, "prompts": 40, **SHORT},
        "compare": {"from": {"a": "ppo", "b": "sft"}, "prompts": 40, **SHORT},
    },
}


def write_recipe(path: Path, **steps: Any) -> Path:
    """The toy recipe as a file, with settings of its steps replaced."""
    merged = {name: {**settings, **steps.get(name, {})} for name, settings in RECIPE["steps"].items()}
    path.write_text(yaml.safe_dump({**RECIPE, "steps": merged}, sort_keys=False))
    return path


def assent(*arguments: object) -> int:
    """Exit code of `assent ARGUMENTS`, run in this process."""
    with patch.object(sys, "argv", ["assent", *map(str, arguments)]):
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    raise AssertionError("main() returned without an exit code")


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="assent-toy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def recipe() -> Path:
    """The recipe file of the finished run."""
    return write_recipe(_folder() / "toy.yaml")


@cache
def finished() -> Path:
    """Folder of the finished run. Look, but do not change."""
    run = _folder() / "run"
    assert assent("run", recipe(), "--out", run) == 0
    return run


def copy(to: Path, *steps: str) -> Path:
    """A copy of the finished run (only the named steps, where some are named)."""
    for step in steps or tuple(RECIPE["steps"]):
        shutil.copytree(finished() / step, to / step)
    return to


REWARDED = ("pretrain", "sft", "collect", "reward")
"""Steps before the policy is trained."""


def write_online(
    folder: Path, method: str, settings: Mapping[str, Any], rewards: Sequence[str] = (), audit: bool = True
) -> Path:
    """A recipe that trains the toy run's SFT model by `method`, and the table.

    Its reward is the toy run's reward model, or the functions named like `module:name`.
    """
    steps = {name: RECIPE["steps"][name] for name in REWARDED}
    reads = {"policy": "sft"} if rewards else {"policy": "sft", "reward": "reward"}
    steps[method] = {"from": reads, "rewards": [{"function": name} for name in rewards], **settings}
    if audit:
        steps["audit"] = {**RECIPE["steps"]["audit"], "from": {"sft": "sft", method: method}}
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, "steps": steps}, sort_keys=False))
    return path
