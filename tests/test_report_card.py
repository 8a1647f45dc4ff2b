"""The model card: front matter the Hub can read, nothing broken by odd names."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from assent.report.card import CardData, model_card
from assent.report.data import LineageNode, Metric, ModelTable, Number


def card(**changes: Any) -> CardData:
    table = ModelTable(
        metrics=(Metric(key="win", label="Wins", unit="percent"),),
        models={"sft": {}, "ppo": {"win": Number(value=0.64, low=0.59, high=0.69, n=168)}},
    )
    filled: dict[str, Any] = {
        "name": "ppo",
        "summary": "A tiny policy.",
        "licence": "apache-2.0",
        "base_model": "someone/base",
        "datasets": ("someone/pairs",),
        "tags": ("ppo", "rlhf"),
        "training_data": ("640 demonstrations",),
        "lineage": (
            LineageNode(
                name="ppo",
                kind="ppo",
                hash="fe01aa55d3c1ffff",
                parents=(LineageNode(name="guideline v2", kind="guideline", facts={"rules": "9"}),),
            ),
        ),
        "table": table,
        "limits": ("No claim about large models.",),
    }
    return CardData(**(filled | changes))


def front(text: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n", text, re.S)
    assert found is not None
    loaded = yaml.safe_load(found[1])
    assert isinstance(loaded, dict)
    return loaded


def test_front_matter_is_what_the_hub_expects() -> None:
    assert front(model_card(card())) == {
        "library_name": "transformers",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "base_model": "someone/base",
        "datasets": ["someone/pairs"],
        "tags": ["ppo", "rlhf", "assent"],
    }


def test_body_has_lineage_numbers_and_limits() -> None:
    text = model_card(card())
    assert "- **ppo** (ppo) `fe01aa55d3c1`\n  - **guideline v2** (guideline); rules 9" in text
    assert "| Wins | – | 64.0 % (59.0 to 69.0 %, n 168) |" in text
    assert "- No claim about large models." in text
    assert "AutoModelForCausalLM" in text
    assert "AutoModelForSequenceClassification" in model_card(card(pipeline_tag="text-classification"))


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("mit", {"license": "mit"}),
        ("llama3.1", {"license": "llama3.1"}),
        (
            "MIT and the company's own terms",
            {"license": "other", "license_name": "MIT and the company's own terms"},
        ),
        ("", {"license": "other", "license_name": ""}),
    ],
)
def test_a_licence_the_hub_does_not_know_is_other_with_its_name(licence: str, expected: dict[str, str]) -> None:
    found = front(model_card(card(licence=licence)))
    assert {key: value for key, value in found.items() if key.startswith("license")} == expected


def test_empty_parts_are_left_out() -> None:
    text = model_card(CardData(name="m", summary="s", licence="mit"))
    assert "Made from" not in text and "Measured" not in text and "Limits" not in text
    assert "base_model" not in front(text)


def test_odd_names_break_neither_front_matter_nor_table_nor_page() -> None:
    odd = "x: |\n---\n# y | <script>alert(1)</script> [z](http://e.example) `q`"
    table = ModelTable(metrics=(Metric(key="k", label=odd),), models={odd: {"k": Number(value=1.0)}})
    text = model_card(
        card(
            name=odd,
            summary=odd,
            base_model=odd,
            table=table,
            limits=(odd,),
            lineage=(LineageNode(name=odd, kind=odd, hash="`<b>`", facts={odd: odd}),),
        )
    )
    assert front(text)["base_model"] == odd
    body = text.split("\n---\n", 1)[1] if odd not in text else text[text.rindex("\n---\n") :]
    assert not re.search(r"(?<!\\)<script", body)
    assert not re.search(r"(?<!\\)\[z", body)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 3
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)


def test_equal_data_give_equal_text() -> None:
    assert model_card(card()) == model_card(card())
