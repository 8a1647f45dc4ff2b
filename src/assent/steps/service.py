"""Data of the rating service, taken out as a frozen snapshot once the raters are done."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from assent.artifacts.store import RESOLVED
from assent.config.steps import CollectConfig, SftConfig
from assent.core.console import log
from assent.core.errors import DataError
from assent.core.records import Demonstration, Group, Judgment, Rater
from assent.engine import ranks
from assent.feedback.records import Kind
from assent.feedback.store import Store
from assent.feedback.uncertainty import order_by_disagreement
from assent.feedback.waiting import Missing, ask, missing, was_asked
from assent.formats.read import read_demonstrations, read_preferences
from assent.steps.context import Context

LOOK_EVERY = 15.0
"""Seconds between two looks at the queue."""
SNAPSHOT = "snapshot"
WRITTEN: tuple[Kind, ...] = ("write",)
JUDGED: tuple[Kind, ...] = ("compare", "rank")


def judgments(context: Context, config: CollectConfig) -> tuple[list[Group], list[Judgment], list[Rater]]:
    """Put the policy's answers in the queue, where one is given; then everything people judged."""
    with Store.open(config.db) as store:
        mark = json.loads((context.folder / RESOLVED).read_text(encoding="utf-8"))["key"]
        if "policy" in config.inputs and not was_asked(store, mark):
            from assent.steps.collect import sample

            groups, _ = sample(context, config)
            _order(context, config, store, groups, ranks.first(lambda: ask(store, mark, groups, config.overlap)))
        folder = _take(context, config, store, JUDGED)
    if not (folder / "preferences").is_dir():
        raise DataError("nobody has judged anything yet", where=config.db, fix="`assent serve` is where people judge")
    found = read_preferences(folder / "preferences")
    return found.groups, found.judgments, found.raters


def _order(context: Context, config: CollectConfig, store: Store, groups: list[Group], asked: dict[str, int]) -> None:
    """Say what is in the queue now, those groups first of which an ensemble is least sure."""
    log.print(f"  {asked['added']} groups put in the queue of {config.db}", markup=False)
    folder = context.model_input("reward")
    if folder is None:
        return
    from assent.rewards.ensemble import EnsembleReward, load_scorer

    scorer = load_scorer("reward", folder, config.token_budget)
    assert isinstance(scorer, EnsembleReward), "the recipe was checked"
    tables = scorer.by_member(groups)
    scores = {group.id: [table[n] for table in tables] for n, group in enumerate(groups)}
    known = {id: rows for id, rows in scores.items() if all(value is not None for row in rows for value in row)}
    ranks.first(lambda: order_by_disagreement(store, known))  # type: ignore[arg-type]  # none is None
    log.print(f"  in line by the ensemble's disagreement: {len(known)} of {len(groups)}")


def demonstrations(context: Context, config: SftConfig) -> tuple[list[Demonstration], list[Demonstration]]:
    """Written and ideal answers: those to learn from, and held-out ones."""
    with Store.open(config.db) as store:
        folder = _take(context, config, store, WRITTEN)
    if not (folder / "demonstrations").is_dir():
        raise DataError("nobody has written an answer yet", where=config.db, fix="add prompts to write for on its page")
    rows = read_demonstrations(folder / "demonstrations")
    train = [row for row in rows if not context.is_held_out(row.prompt)]
    if not train:
        raise DataError("no training demonstrations", where=config.db, fix="more of them, or a smaller `held_out`")
    return train, [row for row in rows if context.is_held_out(row.prompt)]


def _take(context: Context, config: CollectConfig | SftConfig, store: Store, kinds: Sequence[Kind]) -> Path:
    """The snapshot of a queue that is done. Raises DataError, with counts, where it is not and nobody waits."""
    if (left := missing(store, kinds)).left and not config.wait:
        raise DataError(
            f"{left.left:,} of {left.places:,} judgments are missing in the queue ({', '.join(kinds)})",
            where=f"{context.name}: {config.db}",
            fix="let raters finish, or take items out on the page Queue; then run this again (or set `wait: true`)",
        )
    _wait(config.db, store, kinds, left)
    folder = context.data / SNAPSHOT
    ranks.first(lambda: store.snapshot(folder))
    return folder


def _wait(db: str, store: Store, kinds: Sequence[Kind], left: Missing) -> None:
    while left.left:
        log.print(
            f"  waiting for raters: {left.judged:,} of {left.places:,} judged in {db}; Ctrl-C stops", markup=False
        )
        time.sleep(LOOK_EVERY)
        left = missing(store, kinds)
