"""`assent feedback`: export, stats, import, backup, restore; errors say what to do, nothing is half done."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assent.core.hashing import tree_hash
from assent.core.jsonl import write_records
from assent.core.records import Answer, Group, Judgment, Prompt, Rater
from assent.feedback.store import Store
from assent.formats.feedback import read_feedback
from toy_run import assent


def source(folder: Path) -> Path:
    """A finished `collect` step by hand: 24 pairs, two people who agree on three of four."""
    groups, judgments = [], []
    for i in range(24):
        prompt = Prompt.ask(f"question {i}")
        group = Group(prompt=prompt, answers=(Answer.of(prompt, "yes"), Answer.of(prompt, "no, and why")))
        groups.append(group)
        for rater, first in (("ada", i % 2), ("bob", (i + (i % 4 == 0)) % 2)):
            tiers = ((group.answers[first].id,), (group.answers[1 - first].id,))
            judgments.append(Judgment(id=f"{rater}{i}", group=group.id, rater=rater, tiers=tiers, guideline="v1"))
    write_records(folder / "data/groups.jsonl", groups)
    write_records(folder / "data/judgments.jsonl", judgments)
    write_records(folder / "data/raters.jsonl", [Rater(id="ada", kind="human"), Rater(id="bob", kind="human")])
    (folder / "data/split.json").write_text('{"held_out": []}')
    return folder


HELP = """
import sys
sys.argv = ["assent", "feedback", *sys.argv[1:], "--help"]
from assent.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {"torch", "fastapi", "sqlalchemy", "datasets", "pyarrow", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""


def test_help_is_instant_and_names_every_command() -> None:
    for arguments, said in (
        ([], ("export", "import", "backup", "restore", "stats")),
        (["export"], ("--as", "--licence")),
    ):
        done = subprocess.run([sys.executable, "-c", HELP, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert all(word in done.stdout for word in said)


def run(*arguments: object) -> int:
    return assent("feedback", *arguments)


@pytest.mark.parametrize(
    ("shape", "name", "options", "count"),
    [
        ("trl", "train.jsonl", (), 48),
        ("trl", "train.jsonl", ("--rows", "pair"), 18),  # on six of 24 they say the opposite
        ("trl", "train.jsonl", ("--type", "unpaired", "--rater", "ada"), 48),
        ("trl", "train.jsonl", ("--type", "completion", "--best"), 30),
        ("parquet", "train.parquet", ("--agreement", "unanimous"), 36),
        ("hh", "train.jsonl", ("--kind", "human"), 48),
        ("openai", "train.jsonl", ("--guideline", "v1"), 48),
        ("chat", "train.jsonl", ("--best",), 30),
        ("native", "preferences/judgments.jsonl", ("--outcome", "ranked"), 48),
    ],
)
def test_every_shape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: str, name: str, options: tuple[str, ...], count: int
) -> None:
    to = tmp_path / "out"
    assert run("export", source(tmp_path / "collect"), "--to", to, "--as", shape, *options) == 0
    shown = capsys.readouterr()
    assert f"{to / name}  {count} rows" in shown.out.splitlines() and "DATASHEET.md" in shown.err
    assert (to / name).is_file()


def test_an_export_goes_back_in(tmp_path: Path) -> None:
    collect = source(tmp_path / "collect")
    assert run("export", collect, "--to", tmp_path / "n", "--as", "native") == 0
    assert read_feedback(tmp_path / "n") == read_feedback(collect)
    assert run("export", tmp_path / "n", "--to", tmp_path / "again", "--as", "native", "--name", "n") == 0
    assert tree_hash(tmp_path / "again") == tree_hash(tmp_path / "n")


def test_stats_say_how_far_raters_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stats", source(tmp_path / "collect")) == 0
    shown = capsys.readouterr().out
    assert re.search(r"raw agreement +0\.750 \[.*n=24", shown)
    # Observed disagreement 1/4, expected 2 F S / (n (n - 1)) with F votes for the first answer by id, S for the other.
    found = read_feedback(tmp_path / "collect")
    first = sum(j.tiers[0][0] == min(a.id for a in found.by_id()[j.group].answers) for j in found.judgments)
    alpha = 1 - 0.25 * 48 * 47 / (2 * first * (48 - first))
    assert re.search(rf"Krippendorff's alpha +{alpha:.3f} \[.*n=24; (typical|good|very good)", shown)
    assert re.search(r"ada +human +24 +0 +- \(0\) +- \(24\) +- \(24\) +- \(24\) +- \(0\)", shown)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--as", "xml"), "--as: `xml` is none\n  -> one of trl, hh"),
        (("--as", "trl", "--type", "pairs"), "--type: `pairs` is none"),
        (("--as", "trl", "--rows", "all"), "--rows: `all` is none"),
        (("--as", "chat"), "`--best` takes the answers that raters put first"),
        (("--as", "chat", "--rows", "pair"), "`--rows` is not read with these options"),
        (("--as", "trl", "--rater", "eve"), "no judgment has the rater `eve`\n  -> there is: ada, bob"),
        (("--as", "trl", "--rater-group", "team"), "`--rater-group` is not read"),
    ],
)
def test_mistakes_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert run("export", source(tmp_path / "collect"), "--to", tmp_path / "out", *arguments) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert [p.name for p in tmp_path.iterdir()] == ["collect"]


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collect = source(tmp_path / "collect")
    before = tree_hash(collect)
    assert run("export", collect, "--to", collect, "--as", "trl") == 2
    assert "is there already and is not overwritten" in capsys.readouterr().err and tree_hash(collect) == before


@pytest.mark.parametrize("given", ["missing.jsonl", "missing.db", "sqlite:///missing.db", "mysql://host/x"])
def test_a_source_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (("stats", given), ("export", given, "--to", "out", "--as", "trl")):
        assert run(*arguments) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and "\n  -> " in said and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_whole_run_is_not_guessed_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source(tmp_path / "run" / "collect")
    assert run("stats", tmp_path / "run") == 2
    assert f"-> name one of them: {tmp_path / 'run' / 'collect'}" in capsys.readouterr().err


# The store


@pytest.fixture
def db(tmp_path: Path) -> str:
    path = tmp_path / "store" / "feedback.db"
    Store.open(str(path), create=True).close()
    return str(path)


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_judgments_go_through_a_store_and_back(tmp_path: Path, db: str) -> None:
    collect = source(tmp_path / "collect")
    assert run("import", collect, "--db", db) == 0
    assert run("export", db, "--to", tmp_path / "n", "--as", "native") == 0
    back, given = read_feedback(tmp_path / "n"), read_feedback(collect)
    assert (back.groups, back.judgments, back.raters) == (given.groups, given.judgments, given.raters)
    assert run("stats", f"sqlite:///{db}") == 0


def test_prompts_and_answers_are_queued_once(tmp_path: Path, db: str, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = Prompt.ask("three?")
    three = Group(prompt=prompt, answers=tuple(Answer.of(prompt, text) for text in "abc"))
    file = lines(tmp_path / "in.jsonl", {"prompt": "Write to a@b.de"}, three.model_dump(mode="json"))
    for added, known in ((1, 0), (0, 1)):
        assert run("import", file, "--db", db, "--overlap", "2") == 0
        shown = capsys.readouterr()
        assert f"rank: {added} items added, {known} known" in shown.out
        assert f"write: {added} items added, {known} known" in shown.out
        assert "1 texts hold what looks like e-mail addresses" in shown.err and "a@b.de" not in shown.err + shown.out
    with Store.open(db) as store:
        assert (store.progress().items, store.progress().places) == (2, 4)


def test_a_bad_row_imports_nothing(tmp_path: Path, db: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = lines(tmp_path / "in.jsonl", {"prompt": "one"}, {"prompt": ""})
    assert run("import", file, "--db", db) == 2
    assert f"{file}:2: the prompt is empty" in capsys.readouterr().err
    with Store.open(db) as store:
        assert store.progress().items == 0


def test_a_backup_restores_to_an_identical_export(tmp_path: Path, db: str) -> None:
    assert run("import", source(tmp_path / "collect"), "--db", db) == 0
    assert run("backup", "--db", db, "--to", tmp_path / "b.jsonl.gz") == 0
    assert run("restore", tmp_path / "b.jsonl.gz", "--db", tmp_path / "new.db") == 0
    for name, url in (("old", db), ("new", tmp_path / "new.db")):
        assert run("export", url, "--to", tmp_path / name, "--as", "native", "--name", "same") == 0
    assert tree_hash(tmp_path / "old") == tree_hash(tmp_path / "new")


def test_backup_and_restore_overwrite_nothing(tmp_path: Path, db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", source(tmp_path / "collect"), "--db", db) == 0
    backup = tmp_path / "b.jsonl.gz"
    assert run("backup", "--db", db, "--to", backup) == 0
    before = backup.read_bytes()
    assert run("backup", "--db", db, "--to", backup) == 2
    assert backup.read_bytes() == before
    assert run("restore", backup, "--db", db) == 2
    backup.write_bytes(before[:-20])
    assert run("restore", backup, "--db", tmp_path / "new.db") == 2
    said = capsys.readouterr().err
    assert "is not overwritten" in said and "holds data already" in said and "is no whole backup" in said
