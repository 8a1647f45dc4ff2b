"""Any Python function as a reward: TRL's signature, and one clear error for each way to fail."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assent.core.errors import RewardError
from assent.core.records import Answer, Group, Prompt
from assent.rewards.function import FunctionReward, load_function, source_file

PLAIN = Prompt.of("1 + 1 =", truth="2", kind="sum")
CHAT = Prompt.ask("and 2 + 2 ?", system="be brief", truth="4")


def group(prompt: Prompt, *texts: str) -> Group:
    return Group(
        prompt=prompt,
        answers=tuple(Answer.of(prompt, t, index=i, token_ids=(i, 7)) for i, t in enumerate(texts)),
    )


GROUPS = [group(PLAIN, "2", "3"), group(CHAT, "4")]

release = threading.Event()
"""What a function that hangs waits for; the fixture below lets it go."""


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    release.clear()
    yield
    release.set()


def score(function: Any, timeout: float = 30.0) -> list[list[float | None]]:
    """Scores of GROUPS by a function that stands in this module under the name `chosen`."""
    globals()["chosen"] = function
    return FunctionReward(f"{__name__}:chosen", timeout).score(GROUPS)


# What arrives


def test_arguments_are_trls() -> None:
    """Plain prompts are strings, conversational ones message lists; a column is one value per completion."""
    seen: dict[str, Any] = {}

    def f(prompts, completions, completion_ids, **columns):
        seen.update(prompts=prompts, completions=completions, completion_ids=completion_ids, **columns)
        return [0.0] * len(prompts)

    score(f)
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "and 2 + 2 ?"}]
    assert seen["prompts"] == ["1 + 1 =", "1 + 1 =", chat]
    assert seen["completions"] == ["2", "3", [{"role": "assistant", "content": "4"}]]
    assert seen["completion_ids"] == [[0, 7], [1, 7], [0, 7]]
    assert seen["truth"] == ["2", "2", "4"]
    assert seen["kind"] == ["sum", "sum", None], "a tag that a prompt lacks is None"
    assert {"trainer_state", "log_extra", "log_metric"} <= seen.keys()


def test_only_what_the_function_takes_is_passed() -> None:
    def f(completions, truth):
        return [float(c == t) if isinstance(c, str) else float(c[0]["content"] == t)
                for c, t in zip(completions, truth, strict=True)]  # fmt: skip

    assert score(f) == [[1.0, 0.0], [1.0]]


def test_values_go_to_the_answers_they_were_asked_about() -> None:
    def lengths(completion_ids, completions):
        return [10 * ids[0] + len(c) for ids, c in zip(completion_ids, completions, strict=True)]

    assert score(lengths) == [[1.0, 11.0], [1.0]]


def test_a_tag_cannot_pass_for_an_argument() -> None:
    """A dataset with a column `completions` must not replace what the policy wrote."""
    given = group(Prompt.of("x", completions="fake", trainer_state="fake"), "real")
    globals()["chosen"] = lambda completions, trainer_state: [
        float(completions == ["real"]) + trainer_state.global_step
    ]
    reward = FunctionReward(f"{__name__}:chosen", 30.0)
    reward.step = 5
    assert reward.score([given]) == [[6.0]]


def test_trainer_state_and_metrics() -> None:
    def f(prompts, trainer_state, log_extra, log_metric, **_):
        log_metric("share", 0.5 + trainer_state.global_step)
        log_metric("undefined", math.nan)
        log_extra("notes", ["x"] * len(prompts))
        if trainer_state.global_step == 1:
            log_metric("once", 1)
        return [0.0] * len(prompts)

    globals()["chosen"] = f
    reward = FunctionReward(f"{__name__}:chosen", 30.0)
    reward.step = 1
    reward.score(GROUPS)
    assert reward.metrics == {"share": 1.5, "once": 1.0}, "NaN would make metrics.jsonl unreadable"
    reward.step = 2
    reward.score(GROUPS)
    assert reward.metrics == {"share": 2.5}, "no figure of an earlier step stands in a later one"


class Callable:
    """A reward with state of its own."""

    def __call__(self, completions, **_):
        return [len(completions)] * len(completions)


def test_callables_and_functions_without_a_signature() -> None:
    assert score(Callable()) == [[3.0, 3.0], [3.0]]


# What comes back


@pytest.mark.parametrize(
    "values",
    [[1, 0.5, None], (1, 0.5, None), [np.float32(1), np.float64(0.5), None], [True, 0.5, None]],
)
def test_numbers_of_any_kind_and_none(values: Any) -> None:
    assert score(lambda **_: values) == [[1.0, 0.5], [None]]


def test_arrays_and_tensors() -> None:
    assert score(lambda **_: np.array([1.0, 0.5, 2.0])) == [[1.0, 0.5], [2.0]]
    assert score(lambda **_: torch.tensor([1.0, 0.5, 2.0])) == [[1.0, 0.5], [2.0]]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "returned NoneType, but a list of numbers is needed"),
        (1.0, "returned float, but"),
        ("123", "returned str, but"),
        (torch.tensor(1.0), "returned float, but"),
        ({0: 1.0, 1: 1.0, 2: 1.0}, "returned dict, but"),
        ([1.0, 2.0], "returned 2 values for 3 answers"),
        ([1.0] * 4, "returned 4 values for 3 answers"),
        ([], "returned 0 values for 3 answers"),
        ([1.0, math.nan, 1.0], "value 1 is nan"),
        ([1.0, 1.0, math.inf], "value 2 is inf"),
        ([1.0, 1.0, -1e300], "value 2 is -1e+300"),
        (["high", 1.0, 1.0], "value 0 is 'high', not a number"),
        (np.ones((3, 2)), "value 0 is [1.0, 1.0], not a number"),
    ],
)
def test_what_is_no_reward(value: Any, why: str) -> None:
    with pytest.raises(RewardError) as error:
        score(lambda **_: value)
    assert why in str(error.value)
    assert f"{__name__}:chosen" in str(error.value)
    assert error.value.fix


def test_a_function_that_raises_is_named_with_its_line() -> None:
    def f(**_):
        return {}["no such key"]

    with pytest.raises(RewardError, match=r"raised KeyError: 'no such key' \(test_rewards_function.py:\d+\)"):
        score(f)


def test_a_function_that_wants_a_column_that_is_not_there() -> None:
    with pytest.raises(RewardError, match="missing 1 required positional argument: 'gold'"):
        score(lambda completions, gold: [0.0] * 3)


def test_a_function_that_ends_the_process_does_not() -> None:
    with pytest.raises(RewardError, match="raised SystemExit"):
        score(lambda **_: sys.exit(0))


def test_a_function_that_hangs_is_given_up() -> None:
    with pytest.raises(RewardError, match=r"no result within 0\.05 s") as error:
        score(lambda **_: release.wait(), timeout=0.05)
    assert "timeout" in str(error.value.fix)


# The dotted path


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `mine_reward` in the current folder, where a user keeps it."""
    (tmp_path / "mine_reward.py").write_text(
        "value = 3\n\ndef short(completions, **_):\n    return [-len(c) for c in completions]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine_reward", raising=False)
    return tmp_path / "mine_reward.py"


@pytest.mark.parametrize("path", ["mine_reward:short", "mine_reward.short"])
def test_both_ways_to_write_a_path(module: Path, path: str) -> None:
    function = load_function(path)
    assert function(completions=["abc"]) == [-3]
    assert source_file(function) == module


def test_packages_are_found() -> None:
    assert load_function("os.path:basename")("a/b") == "b"
    assert load_function("os.path.basename")("a/b") == "b"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("short", "is not a dotted path"),
        ("mine_reward:", "is not a dotted path"),
        (":short", "is not a dotted path"),
        ("", "is not a dotted path"),
        ("no_such_module_here:f", "cannot be imported"),
        ("mine_reward:long", "has no `long`"),
        ("mine_reward:value", "is not a function"),
    ],
)
def test_paths_that_lead_nowhere(module: Path, path: str, why: str) -> None:
    with pytest.raises(RewardError, match=why):
        load_function(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def f(:", "raised SyntaxError"),
        ("1 / 0", "raised ZeroDivisionError"),
        ("raise SystemExit(3)", "raised SystemExit"),
    ],
)
def test_a_module_that_does_not_load(module: Path, text: str, why: str) -> None:
    (module.parent / "broken_reward.py").write_text(text)
    with pytest.raises(RewardError, match=why):
        load_function("broken_reward:f")
    sys.modules.pop("broken_reward", None)


def test_source_of_what_has_none() -> None:
    assert source_file(len) is None
    assert source_file(Callable()) == Path(__file__)
