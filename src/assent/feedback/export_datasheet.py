"""What an export says about itself: where it comes from, how far its raters agree, what it cannot tell.

After Gebru et al. 2021, "Datasheets for datasets". No name, no time: the same records give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assent.core.records import Answer, Group, Judgment, preference_pairs
from assent.feedback.acts import SETTLED
from assent.formats.feedback import Feedback, current
from assent.formats.write import LeftOut
from assent.stats.agreement import nominal_alpha, raw_agreement, votes
from assent.stats.bootstrap import RESAMPLES, Interval, mean_interval
from assent.stats.monitors import band

SEED = 0
MANY = 5_000
"""From so many groups on, intervals are drawn from fewer resamples: they are narrow, and time goes with both."""
FEWER = 400
HINTS = {
    "one rater": "Few answers were judged by two raters, so that agreement cannot be told: judge some of them twice.",
    "no guideline": "Judgments without a guideline version: what raters were asked is not recorded.",
    "unknown": "Raters of kind `unknown`: the source did not say who judged.",
    "simulated": "Simulated raters: their tastes were programmed, no person judged.",
    "model": "Judgments of models: they share each other's biases, and favour what models write.",
    "demonstrations": "Demonstrations carry no guideline version: a filter by guideline does not touch them.",
    "licence": "No licence was stated: nobody else may use this.",
}


def describe(feedback: Feedback) -> dict[str, Any]:
    """Counts, agreement, shares and biases of the judgments that stand. Intervals are over prompts.

    Agreement is on work that raters did blind: without check items, and without what settled a case.
    """
    now, groups = current(feedback.judgments), feedback.by_id()
    judged = [j for j in now if j.outcome != "skip"]
    kinds = {rater.id: rater.kind for rater in feedback.raters}
    cast = votes([j for j in now if not j.is_gold and SETTLED not in j.reasons], groups)
    resamples = FEWER if len(groups) >= MANY else RESAMPLES
    alpha = nominal_alpha(cast, seed=SEED, resamples=resamples)
    raw = raw_agreement(cast, seed=SEED, resamples=resamples)
    units = [groups[j.group].prompt.subject for j in judged]

    def share(values: Sequence[float | None]) -> dict[str, Any] | None:
        return _interval(mean_interval(values, units, seed=SEED, resamples=resamples))

    return {
        "counts": {
            "groups": len(feedback.groups),
            "answers": sum(len(group.answers) for group in feedback.groups),
            "judgments": len(now),
            "superseded": len(feedback.judgments) - len(now),
            "gold": sum(j.is_gold for j in now),
            "demonstrations": len(feedback.demonstrations),
            "ideal_answers": sum(j.ideal is not None for j in now),
            "raters": dict(sorted(Counter(kinds.values()).items())),
            "judgments_by_kind": dict(sorted(Counter(kinds.get(j.rater, "unknown") for j in now).items())),
        },
        "outcomes": dict(sorted(Counter(j.outcome for j in now).items())),
        "guidelines": dict(sorted(Counter(j.guideline or "none" for j in now).items())),
        "agreement": _interval(raw),
        "alpha": (_interval(alpha) or {}) | {"band": band(alpha.estimate)} if alpha else None,
        "tie_share": share([float(_tied(j)) for j in judged]),
        "both_bad_share": share([float(j.outcome == "both_bad") for j in judged]),
        "first_shown_wins": share([_favoured(j, groups[j.group], _first_shown) for j in judged]),
        "longer_wins": share([_favoured(j, groups[j.group], _longer) for j in judged]),
    }


def limits(feedback: Feedback, facts: Mapping[str, Any], licence: str | None, own: Sequence[str]) -> list[str]:
    """What a user of the data should know; `own` is what the exporting team adds."""
    kinds = facts["counts"]["judgments_by_kind"]
    found = [HINTS[kind] for kind in ("unknown", "simulated", "model") if kinds.get(kind)]
    found += [HINTS["one rater"]] if feedback.judgments and facts["alpha"] is None else []
    found += [HINTS["no guideline"]] if facts["guidelines"].get("none") else []
    found += [HINTS["demonstrations"]] if feedback.demonstrations and facts["guidelines"] else []
    return [*found, *([] if licence else [HINTS["licence"]]), *own]


def figures(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What `describe` found, in words."""
    counts = facts["counts"]
    return [
        ("groups, answers", f"{counts['groups']}, {counts['answers']}"),
        ("judgments", f"{counts['judgments']} ({_listed(facts['outcomes'])})"),
        ("superseded, gold", f"{counts['superseded']}, {counts['gold']}"),
        ("raters", ", ".join(f"{n} {kind}" for kind, n in counts["raters"].items()) or "none"),
        ("demonstrations, ideal answers", f"{counts['demonstrations']}, {counts['ideal_answers']}"),
        ("guideline versions", _listed(facts["guidelines"])),
        ("raw agreement", _said(facts["agreement"])),
        ("Krippendorff's alpha", _said(facts["alpha"])),
        ("ties", _said(facts["tie_share"])),
        ("both bad", _said(facts["both_bad_share"])),
        ("first shown wins", _said(facts["first_shown_wins"])),
        ("longer wins", _said(facts["longer_wins"])),
    ]


def markdown(sheet: Mapping[str, Any]) -> str:
    """The datasheet for people, short."""
    lines = [f"# {sheet['name']}", "", f"Shape: {sheet['shape']}. Licence: {sheet['licence'] or 'not stated'}.", ""]
    lines += _table(("what", "figure"), figures(sheet["data"]))
    lines += ["", "Intervals are 95 %, over `n` prompts.", "", "## Files", ""]
    lines += _table(("file", "rows"), [(f"`{f['name']}`", str(f["rows"])) for f in sheet["files"]])
    lines += ["", "Checksums: `sha256sum -c SHA256SUMS`.", "", "## Left out", ""]
    lines += _table(("why", "how many"), [(why, str(n)) for why, n in sheet["left_out"].items()]) or ["Nothing."]
    lines += ["", "## Limits", "", *[f"- {limit}" for limit in sheet["limits"]]]
    return "\n".join(lines) + "\n"


def counted(left_out: LeftOut) -> dict[str, int]:
    """Reason -> count, reasons without a case left out."""
    return {why: n for why, n in sorted(left_out.items()) if n}


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    rounded = {k: round(getattr(interval, k), 4) for k in ("estimate", "low", "high")}
    return {**rounded, "n": interval.n, "rows": interval.rows}


def _tied(judgment: Judgment) -> bool:
    return judgment.outcome == "ranked" and any(len(tier) > 1 for tier in judgment.tiers)


def _favoured(judgment: Judgment, group: Group, by: Callable[[Judgment, Answer, Answer], int]) -> float | None:
    """Of the pairs a judgment tells apart, the share that the favoured answer won; None where none was favoured.

    `by`: above 0 where the winner is the favoured one, below where the loser is, 0 where neither.
    """
    if judgment.outcome != "ranked":
        return None
    found = [by(judgment, group.answers[b], group.answers[w]) for b, w in preference_pairs(judgment, group)]
    signs = [sign > 0 for sign in found if sign]
    return sum(signs) / len(signs) if signs else None


def _longer(_: Judgment, winner: Answer, loser: Answer) -> int:
    return len(winner.text) - len(loser.text)


def _first_shown(judgment: Judgment, winner: Answer, loser: Answer) -> int:
    order = () if SETTLED in judgment.reasons else judgment.shown_order  # a case shows the group's own order
    return order.index(loser.id) - order.index(winner.id) if {winner.id, loser.id} <= {*order} else 0


def _said(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "not enough data"
    end = f"; {figure['band']}" if "band" in figure else ""
    return f"{figure['estimate']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}], n={figure['n']}{end}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items()) or "none"


def _table(head: tuple[str, str], rows: Sequence[tuple[str, str]]) -> list[str]:
    if not rows:
        return []
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *[f"| {a} | {b} |" for a, b in rows]]
