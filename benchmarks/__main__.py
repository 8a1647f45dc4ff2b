"""`python -m benchmarks ROW [ROW ...] [--peer trl|hf|vllm|self]`: measure rows, write results/, fill the docs."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import results
from benchmarks.rows import ROWS
from benchmarks.session import Options, Session
from benchmarks.side import ROOT, BenchError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 measured, 1 refused (the sides disagree), 2 cannot be run."""
    given = _parser().parse_args(arguments)
    try:
        if given.table:
            results.fill()
            results.plot(results.load())
            return 0
        options = Options(given.rounds, given.threads, given.reduced, given.device)
        if given.device == "cuda":
            _need_gpu()
        sessions = chosen(given.rows, given.peer, options)
    except BenchError as error:
        return _tell(error)
    codes = [0]
    for session, key in sessions:
        try:
            measure(session, key)
        except BenchError as error:  # the other rows can still be measured
            codes.append(_tell(error))
    return max(codes)


def _tell(error: BenchError) -> int:
    print(f"bench: {error}", file=sys.stderr, flush=True)
    return error.exit_code


def chosen(names: Sequence[str], peer: str | None, options: Options) -> list[tuple[Session, str]]:
    """(session, peer key) of everything asked for; BenchError on an unknown row or peer."""
    names = list(ROWS) if list(names) == ["all"] else list(names)
    if not names:
        raise BenchError(f"name a row: {', '.join(ROWS)}; or `all`")
    found = []
    for name in names:
        if name not in ROWS:
            close = difflib.get_close_matches(name, ROWS, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise BenchError(f"no row `{name}`{hint} (rows: {', '.join(ROWS)})")
        row = ROWS[name]
        if peer and peer not in row.peers:
            raise BenchError(f"`{name}` has no peer `{peer}` (it has: {', '.join(row.peers)})")
        found += [(Session(name, row, row.peers[key], options), key) for key in ([peer] if peer else row.peers)]
    return found


def measure(session: Session, key: str) -> None:
    """Run one row against one peer and say what came out."""
    work, threads = session.work, session.options.threads
    print(f"{session.name} against {session.peer.name}: {session.row.title}, {threads} threads", flush=True)
    if session.row.passes and session.peer.module:
        print(
            f"  {work.groups} prompts of {_span(work.prompt)} tokens, {work.answers} answers each of "
            f"{_span(work.answer)}, vocabulary {work.vocabulary}",
            flush=True,
        )
    run = importlib.import_module(f"benchmarks.{session.row.measure}").run
    record = results.finish(session, run(session), key)
    path = results.save(record)
    _say(record)
    print(f"  written to {path.relative_to(ROOT)}", flush=True)


def _say(record: dict[str, Any]) -> None:
    for side in ("ours", "theirs"):
        found = record.get(side)
        if not found:
            continue
        parts = [f"{found['median']:.3f} s"] if "median" in found else []
        parts += [f"{found['tokens_per_second']:,.0f} tokens/s"] if "tokens_per_second" in found else []
        parts += [f"peak {found['peak_mb']:,.0f} MB above import"] if "peak_mb" in found else []
        if "efficiency" in found:
            parts.append(f"{found['efficiency']:.0%} of the ceiling of {found['ceiling_gflops']:.0f} GFLOP/s")
        print(f"  {side}{' (' + found['variant'] + ')' if found.get('variant') else ''}: {'; '.join(parts)}")
    if "agreement" in record:
        same = record["agreement"]
        print(f"  first losses agree to {same['relative_difference']:.1e}")
    least, goal = (results.show(record[name], record["unit"]) for name in ("minimum", "goal"))
    print(f"  result: {results.verdict(record)}; asked {least}, goal {goal}", flush=True)


def _span(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}-{pair[1]}"


def _need_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise BenchError("--device cuda: torch finds no CUDA GPU here; leave it out to measure on the CPU")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Assent against its peers.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(ROWS)}; or all")
    parser.add_argument("--peer", help="trl, hf, vllm or self; default: every peer of the row")
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each side (default 2)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda: a 0.5B model in bf16")
    parser.add_argument("--reduced", action="store_true", help="a quick try of the harness; its figures mean nothing")
    parser.add_argument("--table", action="store_true", help="fill docs/performance.md and the plot from results/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
