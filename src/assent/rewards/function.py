"""Any Python function as a reward, by dotted path, with TRL's signature.

    f(prompts, completions, completion_ids, **columns) -> list[float | None]

`columns` are the prompts' tags, one list each, plus `trainer_state`, `log_extra` and `log_metric` for
functions that accept them; a tag under one of these names does not reach the function. Conversational
prompts and completions arrive as message lists, plain ones as strings. None marks an
answer that cannot be scored: it is missing, not zero.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from assent.core.errors import RewardError
from assent.core.records import Answer, Group, Prompt
from assent.engine import ranks

LARGEST = 1e18
"""Scores stay below it: fp32 holds their squares, and so a deviation."""


class FunctionReward:
    """Calls the function once per batch of groups; raising, hanging and wrong results are one clear error."""

    def __init__(self, path: str, timeout: float) -> None:
        self.name, self._timeout = path, timeout
        self._function = load_function(path)
        self._takes = _accepted(self._function)
        self.step = 0
        self.metrics: dict[str, float] = {}

    def score(self, groups: Sequence[Group]) -> list[list[float | None]]:
        """One number, or None, per answer. Of several ranks only the first calls the function, for all of them."""
        pairs = [(group.prompt, answer) for group in groups for answer in group.answers]
        values, self.metrics = ranks.first(lambda: self._values(pairs))
        flat = iter(values)
        return [[next(flat) for _ in group.answers] for group in groups]

    def _values(self, pairs: list[tuple[Prompt, Answer]]) -> tuple[list[float | None], dict[str, float]]:
        """One call: the values, and what the function logged."""
        self.metrics = {}
        return self._check(self._call(self._arguments(pairs)), len(pairs)), self.metrics

    def _arguments(self, pairs: list[tuple[Prompt, Answer]]) -> dict[str, Any]:
        columns = sorted({tag for prompt, _ in pairs for tag in prompt.tags})
        arguments: dict[str, Any] = {
            **{tag: [prompt.tags.get(tag) for prompt, _ in pairs] for tag in columns},
            "prompts": [_prompt_shape(prompt) for prompt, _ in pairs],
            "completions": [_completion_shape(prompt, answer) for prompt, answer in pairs],
            "completion_ids": [list(answer.token_ids or ()) for _, answer in pairs],
            "trainer_state": SimpleNamespace(global_step=self.step),
            "log_extra": lambda column, values: None,
            "log_metric": self._log_metric,
        }
        return {k: v for k, v in arguments.items() if self._takes is None or k in self._takes}

    def _log_metric(self, name: str, value: float) -> None:
        """A figure that is not finite is left out: it would make metrics.jsonl unreadable as JSON."""
        if math.isfinite(value):
            self.metrics[name] = float(value)

    def _call(self, arguments: dict[str, Any]) -> Any:
        """Run the function in a daemon thread, so that one that hangs cannot hold the run."""
        box: dict[str, Any] = {}

        def work() -> None:
            try:
                box["value"] = self._function(**arguments)
            except BaseException as error:
                box["error"] = error

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(self._timeout)
        if thread.is_alive():
            raise RewardError(
                f"gave no result within {self._timeout:g} s",
                where=f"reward {self.name}",
                fix="make it faster, or raise its `timeout`",
            )
        if (error := box.get("error")) is not None:
            trace = inspect.getinnerframes(error.__traceback__)[-1] if error.__traceback__ else None
            at = f" ({Path(trace.filename).name}:{trace.lineno})" if trace else ""
            raise RewardError(
                f"raised {type(error).__name__}: {error}{at}",
                where=f"reward {self.name}",
                fix="mend it; for an answer that it cannot score it may return None",
            )
        return box.get("value")

    def _check(self, values: Any, n: int) -> list[float | None]:
        where, wanted = f"reward {self.name}", "return a list with one number, or None, for each answer"
        values = values.tolist() if hasattr(values, "tolist") else values
        if not isinstance(values, list | tuple):
            raise RewardError(
                f"returned {type(values).__name__}, but a list of numbers is needed", where=where, fix=wanted
            )
        if len(values) != n:
            raise RewardError(f"returned {len(values)} values for {n} answers", where=where, fix=wanted)
        checked: list[float | None] = []
        for i, value in enumerate(values):
            try:
                number = None if value is None else float(value)
            except (TypeError, ValueError):
                raise RewardError(f"value {i} is {value!r}, not a number", where=where, fix=wanted) from None
            if number is not None and not abs(number) < LARGEST:
                raise RewardError(
                    f"value {i} is {number}", where=where, fix="return None for an answer that cannot be scored"
                )
            checked.append(number)
        return checked


def load_function(path: str) -> Callable[..., Any]:
    """`package.module:name` or `package.module.name`, looked up from the current folder first."""
    module_name, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    where = f"reward {path}"
    if not module_name or not name:
        raise RewardError("is not a dotted path", where=where, fix="write it as `package.module:function`")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), name)
    except ImportError as error:
        raise RewardError(
            f"cannot be imported ({error})", where=where, fix="run from the folder its module lies in"
        ) from None
    except AttributeError:
        raise RewardError(f"module `{module_name}` has no `{name}`", where=where) from None
    except (Exception, SystemExit) as error:
        raise RewardError(f"its module raised {type(error).__name__}: {error}", where=where) from None
    if not callable(function):
        raise RewardError("is not a function", where=where)
    return function  # type: ignore[no-any-return]


def source_file(function: Callable[..., Any]) -> Path | None:
    """The file a function (or the class of a callable) is written in; None where that is unknown."""
    module = sys.modules.get(str(getattr(inspect.unwrap(function), "__module__", "")))
    found = getattr(module, "__file__", None)
    return Path(found) if found else None


def _accepted(function: Callable[..., Any]) -> set[str] | None:
    """Names of the arguments a function takes; None where it takes any."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # written in C, without a signature
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters}


def _prompt_shape(prompt: Prompt) -> str | list[dict[str, str]]:
    return prompt.text if prompt.plain else [m.model_dump() for m in prompt.messages]


def _completion_shape(prompt: Prompt, answer: Answer) -> str | list[dict[str, str]]:
    return answer.text if prompt.plain else [{"role": "assistant", "content": answer.text}]
