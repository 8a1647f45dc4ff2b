"""What the store gives out: records in canonical orientation, and counts."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Select, case, func, or_, select

from assent.core.hashing import content_id
from assent.core.records import Answer, Demonstration, Group, Judgment, Rater
from assent.feedback.queue import DAY
from assent.feedback.quiz import is_right
from assent.feedback.records import UNDONE, Person, Progress, Work
from assent.feedback.schema import AssignmentRow, GroupRow, ItemRow, JudgmentRow, RaterRow


def groups(db: Connection) -> list[Group]:
    """Groups to compare or rank, and imported ones, in the order they came; prompts to write for are left out."""
    written = select(ItemRow.group).where(ItemRow.kind == "write")
    ranked = select(ItemRow.group).where(ItemRow.kind != "write")
    rows = select(GroupRow.record).where(or_(GroupRow.id.not_in(written), GroupRow.id.in_(ranked)))
    return [Group.model_validate_json(record) for record in db.execute(rows.order_by(GroupRow.n)).scalars()]


def judgments(db: Connection) -> list[Judgment]:
    """Every act on these groups in order, the superseded ones too; an act names what it supersedes."""
    rows = _with_kind(select(JudgmentRow.record)).where(or_(ItemRow.kind.is_(None), ItemRow.kind != "write"))
    return [Judgment.model_validate_json(record) for record in db.execute(rows.order_by(JudgmentRow.n)).scalars()]


def _with_kind(rows: Any) -> Select[Any]:
    joined: Select[Any] = rows
    joined = joined.outerjoin(AssignmentRow, AssignmentRow.id == JudgmentRow.assignment)
    return joined.outerjoin(ItemRow, ItemRow.n == AssignmentRow.item)


def standing(acts: list[Judgment]) -> list[Judgment]:
    """Acts that no later one supersedes and that take nothing back."""
    replaced = {act.supersedes for act in acts if act.supersedes}
    return [act for act in acts if act.id not in replaced and not _takes_back(act)]


def _takes_back(act: Judgment) -> bool:
    return act.outcome == "skip" and act.supersedes is not None and UNDONE in act.reasons


def raters(db: Connection) -> list[Rater]:
    """Everybody who judged, by id; names stay here."""
    judged = select(JudgmentRow.rater)
    rows = select(RaterRow.record).where(RaterRow.id.in_(judged)).order_by(RaterRow.id)
    return [Rater.model_validate_json(record) for record in db.execute(rows).scalars()]


def demonstrations(db: Connection) -> list[Demonstration]:
    """Written and ideal answers of acts that stand, each once, in order."""
    rows = select(JudgmentRow.record, GroupRow.record.label("group")).join(GroupRow, GroupRow.id == JudgmentRow.group)
    acts = [
        (Judgment.model_validate_json(row.record), row.group) for row in db.execute(rows.order_by(JudgmentRow.n)).all()
    ]
    kept = {act.id for act in standing([act for act, _ in acts])}
    found: dict[str, Demonstration] = {}
    for act, group in acts:
        if act.id in kept and (act.ideal or "").strip():
            prompt = Group.model_validate_json(group).prompt
            answer = Answer.of(prompt, str(act.ideal), source=act.rater)
            found.setdefault(answer.id, Demonstration(prompt=prompt, answer=answer, author=act.rater))
    return list(found.values())


def ideal_pairs(groups: list[Group], acts: list[Judgment]) -> tuple[list[Group], list[Judgment]]:
    """Each ideal answer preferred over the best answers that were there (over all, where all were bad)."""
    by_id = {group.id: group for group in groups}
    made: dict[str, Group] = {}
    preferred = []
    for act in standing(acts):
        if not (act.ideal or "").strip() or act.outcome == "skip":
            continue
        group = by_id[act.group]
        place = {answer.id: answer for answer in group.answers}
        best = [place[a] for a in act.tiers[0]] if act.tiers else list(group.answers)
        ideal = Answer.of(group.prompt, str(act.ideal), source=act.rater)
        worse = [answer for answer in best if answer.text != ideal.text and answer.id != ideal.id]
        if not worse:
            continue
        pair = Group(prompt=group.prompt, answers=(ideal, *worse))
        made.setdefault(pair.id, pair)
        tiers = ((ideal.id,), tuple(answer.id for answer in worse))
        preferred.append(
            Judgment(
                id=content_id("judgment", "ideal", act.id),
                group=pair.id,
                rater=act.rater,
                tiers=tiers,
                reasons=("ideal",),
                guideline=act.guideline,
            )
        )
    return list(made.values()), preferred


def progress(db: Connection) -> Progress:
    """Counts over the queue."""
    work = ItemRow.part == "work"
    items, places, taken, gold = db.execute(
        select(
            func.count(case((work, 1))),
            func.coalesce(func.sum(case((work, ItemRow.overlap), else_=0)), 0),
            func.coalesce(func.sum(case((work, ItemRow.taken), else_=0)), 0),
            func.count(case((~work, 1))),
        )
    ).one()
    leased = db.execute(select(func.count()).where(AssignmentRow.state == "leased", AssignmentRow.holds)).scalar_one()
    pending = select(AssignmentRow.item).where(AssignmentRow.state == "leased", AssignmentRow.holds)
    done = select(func.count()).where(work, ItemRow.taken == ItemRow.overlap, ItemRow.n.not_in(pending))
    return Progress(
        items=items,
        places=places,
        judged=taken - leased,
        leased=leased,
        done=db.execute(done).scalar_one(),
        skipped=_skips(db),
        gold=gold,
    )


def _skips(db: Connection) -> int:
    replaced = select(JudgmentRow.supersedes).where(JudgmentRow.supersedes.is_not(None))
    skips = select(func.count()).where(
        JudgmentRow.outcome == "skip", ~JudgmentRow.undone, JudgmentRow.id.not_in(replaced)
    )
    return db.execute(skips).scalar_one()


def work_of(db: Connection, now: float, person: Person) -> Work:
    """What one person did."""
    rows = db.execute(
        _with_kind(select(JudgmentRow.record, JudgmentRow.at, ItemRow.n, ItemRow.gold, ItemRow.category))
        .where(JudgmentRow.person == person.id)
        .order_by(JudgmentRow.n)
    ).all()
    records = [Judgment.model_validate_json(row.record) for row in rows]
    kept = {act.id for act in standing(records)}
    acts = [(act, row) for act, row in zip(records, rows, strict=True) if act.id in kept]
    judged = [(act, row) for act, row in acts if act.outcome != "skip"]
    gold = [is_right(act.tiers, row.gold) for act, row in judged if act.is_gold]
    first = {row.n: act.tiers for act, row in judged if not act.is_repeat}
    repeats = [_same(act.tiers, first[row.n]) for act, row in judged if act.is_repeat and row.n in first]
    exposure: dict[str, int] = {}
    for _, row in acts:
        if row.category:
            exposure[row.category] = exposure.get(row.category, 0) + 1
    return Work(
        judged=len(judged),
        skipped=len(acts) - len(judged),
        today=sum(row.at >= now - now % DAY for _, row in judged),
        seconds=sum(act.times.get("visible_ms", 0.0) for act, _ in acts) / 1000,
        gold_right=sum(gold),
        gold_total=len(gold),
        repeats_same=sum(repeats),
        repeats_total=len(repeats),
        exposure=exposure,
        judgments=tuple(act for act, _ in reversed(acts)),
    )


def _same(a: tuple[tuple[str, ...], ...], b: tuple[tuple[str, ...], ...]) -> bool:
    return is_right(a, json.dumps([sorted(tier) for tier in b]))
