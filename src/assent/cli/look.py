"""Commands that look: show, doctor."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated, Any

import typer

from assent.core.console import out
from assent.core.errors import ArtifactError


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (show, doctor):
        app.command()(command)


def show(run: Annotated[Path, typer.Argument(help="Folder of a run, or of one of its steps.")]) -> None:
    """Lineage and headline numbers, down to judgments, raters and guideline version."""
    from rich.tree import Tree

    from assent.artifacts.lineage import Node, trace
    from assent.artifacts.store import Store
    from assent.steps import summary
    from assent.steps.overview import leaves

    if not run.is_dir():
        raise ArtifactError("no such run", where=str(run), fix="give the folder named by --out, like runs/demo")
    one_step = (run / "manifest.json").exists()
    store = Store(run.parent if one_step else run)
    finished = store.finished()
    if not finished:
        raise ArtifactError("holds no finished step", where=str(run))

    def grow(tree: Tree, node: Node) -> None:
        for name, group in node.parents.items():
            for parent in group:
                grow(tree.add(f"[dim]{name}[/] {_line(parent)}"), parent)

    for step in [run.name] if one_step else [m.step for m in leaves(finished)]:
        node = trace(store, step)
        tree = Tree(_line(node))
        grow(tree, node)
        out.print(tree)
    if not one_step:
        summary.show(store)


def _line(node: Any) -> str:
    """One artifact in one line."""
    from rich.markup import escape

    from assent.steps.overview import headline_facts

    facts = [f"{key} {value}" for key, value in headline_facts(node).items()]
    if node.remade:
        facts.append("made again since: not what the step above was made from")
    facts += [f"from {name} ({digest[:12]})" for name, digest in node.sources.items()]
    return f"[bold]{escape(node.step)}[/] ({node.kind}) [dim]{node.content[:12]}[/] {escape('; '.join(facts))}"


def doctor() -> None:
    """Versions, devices, what is usable, what would fit."""
    import shutil

    import torch
    from rich.table import Table

    from assent.artifacts.manifest import environment

    table = Table(show_header=False, pad_edge=False)
    facts = environment()
    table.add_row("assent", f"{facts['assent']} ({facts['revision'] or 'no checkout'})")
    table.add_row("python", f"{facts['python']} on {facts['platform']}")
    for name, version in facts["packages"].items():
        table.add_row(name, version)
    memory = _memory()
    table.add_row(
        "CPU",
        f"{os.cpu_count()} cores, {platform.machine()}, {memory:.1f} GiB memory"
        if memory
        else f"{os.cpu_count()} cores",
    )
    gpus = [
        f"{torch.cuda.get_device_name(i)}, {torch.cuda.get_device_properties(i).total_memory / 2**30:.0f} GiB"
        for i in range(torch.cuda.device_count())
    ]
    table.add_row("GPU", "; ".join(gpus) or "none that torch can use; training runs on the CPU")
    table.add_row("disk", f"{shutil.disk_usage('.').free / 2**30:.0f} GiB free here")
    if memory:
        table.add_row(
            "would fit",
            f"PPO in fp32 with a separate value model of the same size: about {_largest(memory):.2g} "
            "billion parameters (weights, gradients and Adam for two, weights of reference and reward model)",
        )
    out.print(table)


def _memory() -> float | None:
    """Physical memory in GiB, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        return None


BYTES_PER_PARAMETER = 2 * 16 + 2 * 4
"""fp32: two trained models (weights, gradients, two moments: 16 bytes) and two frozen ones (4 bytes)."""


def _largest(memory_gib: float) -> float:
    """Billions of parameters of the largest policy whose PPO leaves a quarter of the memory for activations."""
    return 0.75 * memory_gib * 2**30 / BYTES_PER_PARAMETER / 1e9
