"""Options that the table calls read whatever else is set are seen to be read: each kind of step runs at toy size with
nothing but the least it must be told, and every access to its settings from outside `config` is noted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import toy_run
from assent.config.blocks import Block
from assent.config.steps import KINDS
from test_config_options import ALWAYS
from test_config_steps import block_of
from toy_run import assent

SHORT = {"sampling": {"max_tokens": 8}}
ONLINE = {"from": {"policy": "sft", "reward": "reward"}, "iterations": 2, "prompts": 4, **SHORT}
STEPS: dict[str, dict[str, Any]] = {
    **toy_run.RECIPE["steps"],
    "dpo": {"from": {"policy": "sft", "judgments": "collect"}, "batch": 16, **SHORT},
    "grpo": {**ONLINE, "answers": 2},
    "rloo": {**ONLINE, "answers": 2},
    "online_dpo": ONLINE,
    "best_of": {
        "from": {"policy": "sft", "reward": "reward"},
        "prompts": 4,
        "held_out_prompts": 24,
        "answers": 2,
        **SHORT,
    },
}
BY_DATA = {"too_long": "a row must be too long", "stop_above": "an ensemble must stand under `from`"}
"""Fields that are read only where the data or another step asks for it, and what does."""
CONFIG = Path(sys.modules[Block.__module__].__file__ or "").parent


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[tuple[str, str]]]:
    """(kind, path) of every setting of a step, or of a block in it, that code outside `config` reads."""
    seen: set[tuple[str, str]] = set()
    places: dict[int, tuple[str, str]] = {}
    kept: list[Any] = []  # an id is only known for as long as its object lives
    plain = Block.__getattribute__

    def noting(self: Block, name: str) -> Any:
        value = plain(self, name)
        model = type(self)
        if name.startswith("_") or name not in model.model_fields:
            return value
        if Path(sys._getframe(1).f_code.co_filename).parent == CONFIG:
            return value
        kind = next((kind for kind, held in KINDS.items() if held is model), None)
        where = (kind, "") if kind else places.get(id(self))
        if where is not None:
            path = f"{where[1]}{name}"
            seen.add((where[0], path))
            if isinstance(value, Block):
                places[id(value)] = (where[0], f"{path}.")
                kept.append(value)
        return value

    monkeypatch.setattr(Block, "__getattribute__", noting)
    yield seen


def always(kind: str) -> set[str]:
    """Paths of the settings that the table calls read whatever else is set, but for blocks that are off."""
    found = set()
    for name in ALWAYS[kind].split():
        found.add(name)
        field = KINDS[kind].model_fields[name]
        block = block_of(field)
        if block is not None and isinstance(field.default, Block):
            found |= {f"{name}.{inner}" for inner in ALWAYS[block.__name__].split()}
    return found - {path for path in found if path in KINDS[kind].UNREAD}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_always_read_is_read(kind: str, reads: set[tuple[str, str]], tmp_path: Path) -> None:
    before = [name for name in toy_run.RECIPE["steps"] if name != kind]
    if kind == "pretrain":
        before = []
    elif kind in toy_run.RECIPE["steps"]:
        before = before[: list(toy_run.RECIPE["steps"]).index(kind)]
    run = toy_run.copy(tmp_path / "run", *before) if before else tmp_path / "run"
    reads.clear()  # the toy run itself may have been made just now
    steps = {name: STEPS[name] for name in (*before, kind)}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**toy_run.RECIPE, "steps": steps}, sort_keys=False))
    assert assent("run", tmp_path / "r.yaml", "--out", run) == 0
    read = {path for found, path in reads if found == kind}
    missed = {path for path in always(kind) - read if path.split(".")[-1] not in BY_DATA}
    if kind == "ppo":  # what one branch reads is not taken for read
        assert not read & {"kl.estimator", "kl.target", "value.coef"} and {"kl.place", "value.trunk"} <= read
    assert not missed, f"{kind} ran without reading {sorted(missed)}: say in test_config_options.py when it is read"
