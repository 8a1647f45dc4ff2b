"""Results on disk: one JSON a row and peer, the plot of all ratios, the table in docs/performance.md."""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.rows import ROWS
from benchmarks.session import Session
from benchmarks.side import ROOT, BenchError

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def finish(session: Session, measured: dict[str, Any], key: str) -> dict[str, Any]:
    """The whole record of a row: what was measured, on what, with what."""
    row, peer, options = session.row, session.peer, session.options
    return {
        "format": 1,
        "row": session.name,
        "title": row.title,
        "peer": peer.name,
        "peer_key": key,
        "unit": row.unit,
        "minimum": peer.minimum,
        "goal": peer.goal,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": {
            "cpu": cpu(),
            "threads": options.threads,
            "device": options.device,
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        },
        "reduced": options.reduced,
        "rounds": session.rounds,
        "work": vars(session.work),
        "settings": dict(row.settings),
        "notes": row.notes,
        **measured,
    }


def save(record: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write a record; a reduced run never replaces a full one's."""
    folder.mkdir(parents=True, exist_ok=True)
    tail = ("-cuda" if record["machine"]["device"] == "cuda" else "") + ("-reduced" if record["reduced"] else "")
    path = folder / f"{record['row']}-{record['peer_key']}{tail}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def load(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Records of full runs, in the order of the rows."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    places = list(ROWS)
    full = [record for record in found if not record["reduced"] and record["row"] in ROWS]
    return sorted(full, key=lambda record: (record["machine"]["device"], places.index(record["row"])))


def revision() -> str:
    """Short commit hash, with `+changes` where the working tree differs; `unknown` outside a repository."""
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "--", "src"], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def cpu() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


# The table


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: a line a row, then which machine and revision measured it."""
    if not records:
        return "No full run is recorded yet."
    columns = ("row", "peer", "result (lowest to highest)", "in one batch", "at least", "goal", "ours", "peer's")
    lines = ["| " + " | ".join((*columns, "share of the ceiling")) + " |", "|---" * (len(columns) + 1) + "|"]
    for r in records:
        cells = (
            _title(r),
            r["peer"],
            verdict(r),
            _as_it_comes(r),
            *_asked(r),
            _cost(r.get("ours")),
            _cost(r.get("theirs")),
            _share(r),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_where(records)])


def met(record: dict[str, Any], bound: float) -> bool:
    """Whether the headline reaches a bound."""
    if record["unit"] == "exponent":
        return bool(record["value"] <= bound)
    return bool(record["value"] >= bound)


def verdict(record: dict[str, Any]) -> str:
    """The headline number, bold where it reaches the least that is asked, with its range."""
    value = show(record["value"], record["unit"])
    value = f"**{value}**" if met(record, record["minimum"]) else f"{value} (below)"
    if record["unit"] == "exponent":
        return value.replace("(below)", "(above)")
    return f"{value}, {show(record['low'], record['unit'])} to {show(record['high'], record['unit'])}"


def show(value: float, unit: str) -> str:
    """A headline number in its unit."""
    return {"x": f"{value:.2f}x", "share": f"{100 * value:.0f} %", "exponent": f"exponent {value:.2f}"}[unit]


def _as_it_comes(record: dict[str, Any]) -> str:
    """The result against the peer's first variant: the whole batch at once, as its user gets it without tuning.

    One step, tried before the rounds; a dash where the peer has one way only.
    """
    ours, tried = record.get("ours") or {}, (record.get("theirs") or {}).get("tried", {})
    gauge, own = ("peak_mb", "peak_mb") if "peaks_mb" in ours else ("seconds", "median")
    first = next(iter(tried.values()), {})
    if len(tried) < 2 or not first.get(gauge) or not ours.get(own):
        return "–"
    return f"{first[gauge] / ours[own]:.1f}x"


def _title(record: dict[str, Any]) -> str:
    return str(record["title"]) + (" (GPU)" if record["machine"]["device"] == "cuda" else "")


def _asked(record: dict[str, Any]) -> tuple[str, str]:
    return show(record["minimum"], record["unit"]), show(record["goal"], record["unit"])


def _cost(side: dict[str, Any] | None) -> str:
    if not side:
        return "–"
    parts = [f"{side['median']:.2f} s"] if "median" in side else []
    parts += [f"{side['tokens_per_second']:,.0f} tokens/s"] if "tokens_per_second" in side else []
    return ", ".join([*parts, f"{side['peak_mb']:,.0f} MB"] if "peak_mb" in side else parts)


def _share(record: dict[str, Any]) -> str:
    shares = [record[side]["efficiency"] for side in ("ours", "theirs") if "efficiency" in record.get(side, {})]
    if shares:
        return " / ".join(f"{100 * share:.0f} %" for share in shares)
    parts = record.get("parts", {})
    return ", ".join(f"{name} {100 * part['efficiency']:.0f} %" for name, part in parts.items()) or "–"


def _where(records: list[dict[str, Any]]) -> list[str]:
    """One line for each machine, thread count, revision and day."""
    seen: dict[str, list[str]] = {}
    for r in records:
        m = r["machine"]
        key = f"{m['cpu']}, {m['threads']} threads, {m['device']}; revision {r['revision']}; {r['date'][:10]}"
        seen.setdefault(key, []).append(r["row"])
    if len(seen) == 1:
        return [f"Measured on {next(iter(seen))}."]
    return [f"- {', '.join(dict.fromkeys(rows))}: {key}." for key, rows in seen.items()]


def fill(page: Path = PAGE, folder: Path = RESULTS) -> None:
    """Put the table between the markers of the page."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise BenchError(f"{page}: the markers `{BEGIN}` and `{END}` must stand in it once each")
    head, rest = text.split(BEGIN)
    page.write_text(f"{head}{BEGIN}\n{table(load(folder))}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def plot(records: list[dict[str, Any]], path: Path = RESULTS / "ratios.svg") -> None:
    """Bars of how many times as fast (or as lean) each row is, with its range, the least asked and the goal."""
    from matplotlib.figure import Figure

    rows = [record for record in records if record["unit"] == "x"][::-1]
    if not rows:
        return
    figure = Figure(figsize=(8, 0.45 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    values, places = [r["value"] for r in rows], range(len(rows))
    spread = [[r["value"] - r["low"] for r in rows], [r["high"] - r["value"] for r in rows]]
    axes.barh(places, values, height=0.6, color="#4878a8", xerr=spread, error_kw={"elinewidth": 1})
    axes.plot([r["minimum"] for r in rows], places, "|", color="black", markersize=16, label="at least")
    axes.plot([r["goal"] for r in rows], places, "|", color="#2e8b57", markersize=16, label="goal")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_yticks(places, [f"{_title(r)}: {r['peer']}" for r in rows])
    axes.set(xlabel="times as fast, or as lean, as the peer", xlim=(0, None))
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
