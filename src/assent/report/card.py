"""The model card (README.md) of an exported model: front matter the Hub reads, then lineage and numbers."""

from __future__ import annotations

import re
from typing import Any

import yaml

from assent.report.data import LineageNode, ModelTable, Shown, without_repeats
from assent.report.wording import MISSING, around, number, visible

LICENCE = re.compile(r"^[a-z0-9][a-z0-9.-]*$")
"""The Hub's licence names: apache-2.0, mit, cc-by-4.0, llama3.1, other ..."""


class CardData(Shown):
    """What a card says. `licence` is a Hub licence name; anything else is written as `other` and named."""

    name: str
    summary: str
    licence: str
    base_model: str | None = None
    datasets: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    pipeline_tag: str | None = "text-generation"
    training_data: tuple[str, ...] = ()
    """One line a source: what, how much, under which licence."""
    lineage: tuple[LineageNode, ...] = ()
    table: ModelTable | None = None
    limits: tuple[str, ...] = ()


def model_card(card: CardData) -> str:
    """The README.md of a model folder: YAML front matter, then Markdown."""
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(card), sort_keys=False, allow_unicode=True)}---",
        f"# {_plain(card.name)}",
        _plain(card.summary),
        *_section("Use", _usage(card)),
        *_section("Trained on", _bullets(card.training_data)),
        *_section("Made from", "\n".join(_trees(without_repeats(card.lineage), 0))),
        *_section("Measured", _table(card.table) if card.table else ""),
        *_section("Limits", _bullets(card.limits)),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(card: CardData) -> dict[str, Any]:
    front: dict[str, Any] = {"library_name": "transformers"}
    if LICENCE.match(card.licence):
        front["license"] = card.licence
    else:
        front |= {"license": "other", "license_name": visible(card.licence)}
    if card.pipeline_tag:
        front["pipeline_tag"] = card.pipeline_tag
    if card.base_model:
        front["base_model"] = card.base_model
    for key, values in (("datasets", card.datasets), ("language", card.language)):
        if values:
            front[key] = list(values)
    front["tags"] = list(dict.fromkeys([*card.tags, "assent", "rlhf"]))
    return front


def _usage(card: CardData) -> str:
    classifier = card.pipeline_tag == "text-classification"
    kind = "AutoModelForSequenceClassification" if classifier else "AutoModelForCausalLM"
    return "\n".join(
        [
            "```python",
            f"from transformers import AutoTokenizer, {kind}",
            "",
            'folder = "."  # this folder, or its name on the Hub',
            "tokenizer = AutoTokenizer.from_pretrained(folder)",
            f"model = {kind}.from_pretrained(folder)",
            "```",
        ]
    )


def _section(title: str, body: str) -> list[str]:
    return [f"## {title}", body] if body else []


def _bullets(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _trees(nodes: tuple[LineageNode, ...], depth: int) -> list[str]:
    """Nodes and what they were made from, as nested bullets."""
    lines = []
    for node in nodes:
        digest = f" `{_plain(node.hash[:12])}`" if node.hash else ""
        facts = "".join(f"; {_plain(key)} {_plain(value)}" for key, value in node.facts.items())
        lines.append(f"{'  ' * depth}- **{_plain(node.name)}** ({_plain(node.kind)}){digest}{facts}")
        lines += _trees(node.parents, depth + 1)
    return lines


def _table(table: ModelTable) -> str:
    """Metrics as rows, models as columns; intervals in brackets, then n."""
    models = list(table.models)
    rows = [["", *[_plain(model) for model in models]], ["---", *["---:"] * len(models)]]
    for metric in table.metrics:
        cells = []
        for model in models:
            shown = table.number(model, metric)
            value = number(shown.value, metric.unit)
            extra = around(shown, metric.unit)
            cells.append(f"{value} ({extra})" if extra and value != MISSING else value)
        rows.append([_plain(metric.label), *cells])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _plain(text: str) -> str:
    """One line of Markdown that says exactly `text`: no markup, no HTML, no line break, no table bar."""
    line = " ".join(visible(text).split())
    return re.sub(r"([\\`*_\[\]<>|#!~&])", r"\\\1", line)
