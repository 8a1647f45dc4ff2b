"""What a file asks of people: prompts to answer, pairs to compare, groups to rank."""

from __future__ import annotations

from assent.core.errors import DataError
from assent.core.records import Group
from assent.feedback.queue import SIZES, blank
from assent.feedback.records import Kind
from assent.formats.feedback import Feedback


def plan(feedback: Feedback, again: bool = False) -> dict[Kind, list[Group]]:
    """Groups by kind of work: two answers are compared, more are ranked, a prompt alone is answered.

    Groups that the file's own judgments settle are asked about only with `again`. Raises DataError where there is
    nothing to ask and nothing judged, or a group is larger than a screen can rank.
    """
    most, judged = SIZES["rank"][1], {judgment.group for judgment in feedback.judgments}
    work: dict[Kind, list[Group]] = {"compare": [], "rank": [], "write": [blank(p) for p in feedback.prompts]}
    for group in feedback.groups:
        if len(group.answers) < 2 or (group.id in judged and not again):
            continue
        if len(group.answers) > most:
            raise DataError(
                f"{len(group.answers)} answers, but a screen ranks {most} at most",
                where=f"group {group.id}",
                fix="split the group, or drop some answers",
            )
        work["compare" if len(group.answers) == 2 else "rank"].append(group)
    found = {kind: groups for kind, groups in work.items() if groups}
    if not found and not judged:
        raise DataError("holds nothing to judge or to answer", fix="prompts, pairs, or groups of two or more answers")
    return found
