"""The report page: complete, self-contained, safe with hostile text, the same bytes every time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import ValidationError

from assent.report import html
from assent.report.data import (
    Example,
    LineageNode,
    Metric,
    ModelTable,
    Number,
    Panel,
    PipelineNode,
    ReportData,
    RewardModelBlock,
    Series,
    ShownAnswer,
    Verdict,
    without_repeats,
)
from assent.stats.bootstrap import Interval
from assent.stats.calibration import Bin

HOSTILE = "</title></style></svg><script>alert(1)</script><img src=//x.example onerror=alert(1)>\"'&{{7*7}}"


class Page(HTMLParser):
    """Elements, attributes, ids and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def names(self) -> list[tuple[str, str]]:
        return [(tag, name) for tag, name, _ in self.attributes]

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def report(word: str = "plain") -> ReportData:
    """A report with every part filled; `word` stands in every text."""
    metrics = (
        Metric(key="gold", label=f"Gold {word}", help=word, better="high"),
        Metric(key="win", label="Wins", unit="percent"),
    )
    measured = Number.of(Interval(0.64, 0.59, 0.69, n=168, rows=400))
    pretrain = LineageNode(name=f"pretrain {word}", kind="pretrain", hash="ab12", facts={f"tokens {word}": word})
    sft = LineageNode(name="sft", kind="sft", hash="0c11", parents=(pretrain,))
    ppo = LineageNode(name="ppo", kind="ppo", hash="fe01", parents=(sft, pretrain))
    answers = (
        ShownAnswer(model=f"sft {word}", text=f"before {word}", gold=-0.5, cut=True),
        ShownAnswer(model="ppo", text="", gold=None),
    )
    return ReportData(
        title=f"Title {word}",
        subtitle=word,
        facts={f"run {word}": word},
        notes=(f"limit {word}",),
        verdicts=(
            Verdict(status="good", text=f"Better {word}", evidence=word),
            Verdict(status="bad", text="Worse"),
        ),
        table=ModelTable(metrics=metrics, models={f"sft {word}": {}, "ppo": {"win": measured}}),
        pipeline=(
            PipelineNode(name="sft", kind=f"k {word}", seconds=65, headline=word),
            PipelineNode(name=f"p {word}", kind="ppo", parents=("sft",)),
        ),
        curves=(
            Panel(
                title=f"Reward {word}",
                help=word,
                series=(
                    Series(name=f"a {word}", xs=(0, 1, 2), ys=(0.0, None, 1.0)),
                    Series(name="b", xs=(0, 1), ys=(0.5, 0.25)),
                ),
            ),
            Panel(title="KL", series=(Series(name="kl", xs=(0, 1), ys=(0.0, 3.0)),)),
            Panel(title="Never logged", series=(Series(name="x", xs=(0,), ys=(None,)),)),
        ),
        examples=(
            Example(prompt=f"ask {word}", kind=f"kind {word}", answers=answers),
            Example(prompt="second", kind=f"kind {word}", answers=answers),
        ),
        reward_model=RewardModelBlock(
            accuracy=measured,
            floor=Number(value=0.583),
            difference=Number(),
            pairs=700,
            ece=0.05,
            perfect_ece=0.02,
            brier=0.2,
            temperature=1.3,
            bins=(Bin(0.6, 0.55, 300), Bin(0.9, 0.8, 400)),
            floor_weights={f"words {word}": -0.3, "digits": 0.0},
        ),
        lineage=(ppo,),
    )


def test_the_page_says_what_it_was_given() -> None:
    text = Page(html.render(report())).text
    for said in (
        "Title plain",
        "Better plain",
        "64.0 %",
        "59.0 to 69.0 %",
        "n = 168",
        "before plain",
        "gold −0.50",
        "cut off",
        "(empty)",
        "1 more",
        "58.3 %",
        "a perfect model would show 0.020",
        "fe01",
        "limit plain",
        "1 min 05 s",
        "0 → 3.00",
    ):
        assert said in text
    assert "Never logged" not in text


def test_missing_numbers_are_dashes_and_never_zero() -> None:
    page = html.render(report())
    cells = re.findall(r"<td><b>(.*?)</b>", page)
    assert cells == ["–", "–", "–", "64.0 %"]
    assert re.search(r"Difference</span><b>–</b>", page)
    floor = page[page.index("Surface floor is right") :]
    assert "·" not in floor[: floor.index("</div>")], "no dot between things of which one is absent"


def test_nothing_is_loaded_and_nothing_runs() -> None:
    page = Page(html.render(report()))
    assert not {"script", "img", "link", "iframe", "object", "embed", "form", "base", "image"} & set(page.tags)
    assert not page.values("src")
    links = [value for _, name, value in page.attributes if name in ("href", "xlink:href")]
    assert links and all(link.startswith("#") for link in links)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    text = html.render(report())
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\((.*?)\)", text))
    addresses = set(re.findall(r"https?://[^\"' )]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not places


def test_ids_are_unique_and_every_reference_has_a_target() -> None:
    text = html.render(report())
    page = Page(text)
    ids = Counter(page.values("id"))
    assert not [name for name, count in ids.items() if count > 1]
    wanted = {value[1:] for _, name, value in page.attributes if name in ("href", "xlink:href")}
    wanted |= set(re.findall(r"url\(#(.*?)\)", text))
    assert wanted <= set(ids)


def test_hostile_text_anywhere_stays_text() -> None:
    harmless = re.sub(r"[^\w\s-]", "x", HOSTILE)  # as long, and broken into lines at the same places
    clean, hostile = Page(html.render(report(harmless))), Page(html.render(report(HOSTILE)))
    assert hostile.tags == clean.tags
    assert hostile.names() == clean.names()
    for place in ("Title ", "Better ", "before ", "ask ", "limit ", "pretrain "):
        assert place + HOSTILE in hostile.text


def test_characters_that_hide_or_reorder_text_are_shown() -> None:
    page = html.render(report("a\u202eb\u200bc\x00d\ud800e\U000e0041f\ng"))
    assert "a⟨U+202E⟩b⟨U+200B⟩c⟨U+0000⟩d⟨U+D800⟩e⟨U+E0041⟩f\ng" in page
    page.encode()  # no lone surrogate is left


def test_every_css_variable_has_a_light_and_a_dark_value() -> None:
    text = html.render(report())
    used = set(re.findall(r"var\((--[\w-]+)\)", text))
    blocks = re.findall(r":root \{(.*?)\}", text, re.S)
    light, dark = (set(re.findall(r"(--[\w-]+):", block)) for block in blocks)
    assert used <= light == dark
    assert "#0102" not in text  # a stand-in colour of the plots


def test_empty_parts_leave_no_trace() -> None:
    page = html.render(ReportData(title="Only a title"))
    assert "<section" not in page
    assert "<nav" not in page
    assert "Only a title" in page


def test_equal_data_give_equal_bytes_in_another_process(tmp_path: Path) -> None:
    source = tmp_path / "data.json"
    source.write_text(report().model_dump_json(), encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from assent.report import html; "
        "from assent.report.data import ReportData; "
        "data = ReportData.model_validate_json(Path(sys.argv[1]).read_text('utf-8')); "
        "html.write(Path(sys.argv[2]), data)"
    )
    pages = []
    for hash_seed in ("1", "2"):
        out = tmp_path / f"{hash_seed}.html"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code, str(source), str(out)], check=True, env=environment)
        pages.append(out.read_bytes())
    assert pages[0] == pages[1] == html.render(report()).encode()


def test_n_is_said_once_where_models_share_it_and_for_each_where_they_do_not() -> None:
    metric = Metric(key="win", label="Wins", unit="percent")

    def page(first: int, second: int) -> str:
        cells = [{"win": Number(value=0.5, low=0.4, high=0.6, n=n)} for n in (first, second)]
        table = ModelTable(metrics=(metric,), models=dict(zip(("a", "b"), cells, strict=True)))
        return Page(html.render(ReportData(title="t", table=table))).text

    assert page(60, 60).count("n = 60") == 1
    assert page(60, 50).count("n = 60") == page(60, 50).count("n = 50") == 1


def test_an_interval_beyond_the_track_is_drawn_at_its_end() -> None:
    wild = Number(value=1.7, low=-2.0, high=float("inf"), n=9)
    table = ModelTable(metrics=(Metric(key="k", label="K", unit="percent"),), models={"m": {"k": wild}})
    page = html.render(ReportData(title="t", table=table))
    assert 'd="M-100.00 3.5H0"' in page or 'd="M-100.00 3.5H100.00"' in page
    assert "nan" not in page and "inf" not in page.replace("info", "")


def test_lineage_tells_each_artifact_once() -> None:
    leaf = LineageNode(name="pretrain", kind="pretrain", hash="a", facts={"tokens": "9"})
    top = LineageNode(
        name="ppo",
        kind="ppo",
        hash="b",
        parents=(LineageNode(name="sft", kind="sft", hash="c", parents=(leaf,)), leaf),
    )
    (told,) = without_repeats([top])
    assert told.parents[0].parents == (leaf,)
    assert told.parents[1].facts == {"see": "above"}


def test_series_of_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValidationError, match="2 xs but 1 ys"):
        Series(name="s", xs=(0, 1), ys=(0.0,))


def test_an_answers_worth_names_its_judge() -> None:
    """A reward model's score must not be called gold."""
    answer = ShownAnswer(model="sft", text="yes", gold=0.5, judge="reward")
    text = Page(html.render(ReportData(title="t", examples=(Example(prompt="p", answers=(answer,)),)))).text
    assert "reward 0.50" in text and "gold" not in text
