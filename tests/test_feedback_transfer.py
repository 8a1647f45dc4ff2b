"""Data in one piece: the tables, snapshots that training reads, backups that restore to the same bytes."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from assent.core.errors import DataError
from assent.core.hashing import tree_hash
from assent.core.records import Answer, Group, Judgment, Prompt
from assent.feedback import database
from assent.feedback.errors import FeedbackError
from assent.feedback.reads import ideal_pairs, standing
from assent.feedback.records import Assignment, Queue, Role, Wait
from assent.feedback.schema import Base
from assent.feedback.store import Store
from assent.formats.read import read_demonstrations, read_preferences
from feedback_store import PASSWORD, Clock, first_wins, fresh_url, groups, open_store, person

KINDS = ["sqlite", "postgresql"]


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with fresh_url(request.param, tmp_path) as found:
        yield found


def fill(store: Store) -> None:
    """A project with a bit of everything."""
    ada, ben = person(store, "Ada", Role.lead), person(store, "Ben")
    version = store.add_guideline("Be kind.\n", "rules")
    for who in (ada, ben):
        store.read_guideline(who, version)
    store.add_groups(groups(4), "compare", overlap=2)
    store.add_groups(groups(2, answers=3, sensitive="violence", share=0.1), "rank")
    store.add_prompts([Prompt.ask("Say \u2028 it \x00 well.")])
    store.set_limits(ben, opted_out=["violence"], daily_cap=50)
    for who in (ada, ben):
        improved = False  # one ideal answer each, on whichever group comes first: the order of items is drawn
        while isinstance(item := store.next(who), Assignment):
            wants = item.kind == "write" or not improved
            improved = improved or item.kind != "write"
            ideal = f"ideal by {who.rater.id}" if wants else None
            store.submit(who, item.id, item.id, first_wins(item, ideal=ideal, note='"quoted"\n'))
    store.undo(ben)


def test_the_migrations_make_the_tables_of_the_code(url: str) -> None:
    with open_store(url) as store, store._engine.connect() as db:
        assert compare_metadata(MigrationContext.configure(db), Base.metadata) == []
        names = set(db.execute(text("SELECT version_num FROM alembic_version")).scalars())
        assert names == {database.head()}


def test_the_tables_refuse_what_the_code_must_not_do(url: str) -> None:
    """The last line of defence: two verdicts on one assignment, an act superseded twice, too many places."""
    with open_store(url) as store:
        fill(store)
        copied = "id || 'x', \"group\", rater, person, assignment, client_key || 'x', outcome, undone, guideline"
        columns = 'id, "group", rater, person, assignment, client_key, outcome, undone, guideline'
        rest = "supersedes, is_gold, is_repeat, at, record"
        for row in ("supersedes IS NULL", "supersedes IS NOT NULL"):
            with pytest.raises(IntegrityError), store._engine.begin() as db:
                db.execute(
                    text(
                        f"INSERT INTO judgments ({columns}, {rest}) SELECT {copied}, {rest} "
                        f"FROM judgments WHERE {row} LIMIT 1"
                    )
                )
        for wrong in ("taken = overlap + 1", "taken = -1"):
            with pytest.raises(IntegrityError), store._engine.begin() as db:
                db.execute(text(f"UPDATE items SET {wrong}"))


def test_a_snapshot_is_what_training_reads(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "snapshot"
    with open_store(url) as store:
        fill(store)
        sheet = store.snapshot(folder)
        acts, asked, shown = store.judgments(), store.groups(), store.demonstrations()
    found = read_preferences(folder / "preferences")
    assert found.judgments[: len(acts)] == acts and found.groups[: len(asked)] == asked
    pairs = found.judgments[len(acts) :]
    assert len(pairs) == sheet["counts"]["ideal_pairs"] == 2 and all(p.reasons == ("ideal",) for p in pairs)
    assert read_demonstrations(folder / "demonstrations") == shown and len(shown) == 3
    assert {r.kind for r in found.raters} == {"human"} and sheet["counts"]["raters"] == 2
    assert sheet["counts"]["standing"] == len(standing(acts)) == len(acts) - 2
    assert sheet["guidelines"][0]["judgments"] == len(standing(acts))
    assert not any(name in p.read_text() for p in folder.rglob("*.jsonl") for name in ("Ada", "Ben"))
    assert set(sheet["files"]) == {str(p.relative_to(folder)) for p in folder.rglob("*.jsonl")}
    assert json.loads((folder / "datasheet.json").read_text()) == sheet


def test_a_snapshot_is_frozen(tmp_path: Path) -> None:
    with open_store(str(tmp_path / "a.db")) as store:
        store.snapshot(tmp_path / "empty")
        assert [p.name for p in (tmp_path / "empty").iterdir()] == ["datasheet.json"]
        with pytest.raises(FeedbackError, match="not empty"):
            store.snapshot(tmp_path / "empty")


def test_an_ideal_answer_beats_the_best_that_was_there() -> None:
    prompt = Prompt.ask("?")
    a, b, c = (Answer.of(prompt, text) for text in "abc")
    group = Group(prompt=prompt, answers=(a, b, c))
    ideal = Answer.of(prompt, "i", source="r")
    base = Judgment(id="1", group=group.id, rater="r", ideal="i")

    def beaten(**given: object) -> list[tuple[str, ...]]:
        made, acts = ideal_pairs([group], [base.model_copy(update=given)])
        assert all(act.tiers[0] == (ideal.id,) and act.group == made[0].id for act in acts)
        return [act.tiers[1] for act in acts]

    assert beaten(tiers=((b.id,), (a.id, c.id))) == [(b.id,)]
    assert beaten(tiers=((a.id, b.id), (c.id,))) == [(a.id, b.id)]
    assert beaten(outcome="both_bad") == [(a.id, b.id, c.id)]
    assert beaten(outcome="skip") == []
    assert beaten(tiers=((b.id,), (a.id, c.id)), ideal="b") == []  # nothing was changed


@pytest.mark.parametrize("target", KINDS)
def test_a_backup_restores_to_the_same_bytes_on_either_database(url: str, target: str, tmp_path: Path) -> None:
    path = tmp_path / "backup.jsonl.gz"
    clock = Clock()
    with fresh_url(target, tmp_path) as other:
        with open_store(url, clock) as store:
            fill(store)
            session = store.sign_in("Ada", PASSWORD)
            store.snapshot(tmp_path / "before")
            counts = store.backup(path)
            waiting, log, works = store.progress(), store.audit_log(), [store.work_of(p) for p in store.people()]
        assert Store.restore(path, other) == counts and counts["judgments"] > 10
        with open_store(other, clock) as store:
            store.snapshot(tmp_path / "after")
            assert tree_hash(tmp_path / "before") == tree_hash(tmp_path / "after")
            assert (store.progress(), store.audit_log()) == (waiting, log)
            assert [store.work_of(p) for p in store.people()] == works
            assert store.person_of(session) is None  # sessions stay behind; passwords do not
            ben = store.person_of(store.sign_in("Ben", PASSWORD))
            assert ben
            item = store.next(ben)
            assert isinstance(item, Assignment)
            store.submit(ben, item.id, "after", first_wins(item))  # counting goes on after the restored rows
            store.add_groups(groups(6), "compare")
        with pytest.raises(FeedbackError, match="holds data already"):
            Store.restore(path, other)


def test_a_backup_under_load_is_whole(url: str, tmp_path: Path) -> None:
    """Backups while a rater works: each restores, and each act in it has its assignment, item and rater."""
    with open_store(url) as store:
        store.set_queue(Queue(repeat=0))
        store.add_groups(groups(60), "compare")
        ada, done = person(store, "Ada"), threading.Event()

        def work() -> None:
            k = 0
            while not isinstance(item := store.next(ada), Wait):
                store.submit(ada, item.id, f"k{k}", first_wins(item))
                k += 1
            done.set()

        worker = threading.Thread(target=work)
        worker.start()
        paths = []
        while not done.is_set() and len(paths) < 4:
            paths.append(tmp_path / f"{len(paths)}.jsonl.gz")
            store.backup(paths[-1])
        worker.join()
        assert len(store.judgments()) == 60
    for path in paths:
        restored = f"sqlite:///{path.with_suffix('.db')}"
        Store.restore(path, restored)
        with open_store(restored) as store:
            state = store.progress()
            assert len(store.judgments()) == state.judged and state.leased in (0, 1)


def test_a_damaged_backup_is_refused_and_nothing_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "backup.jsonl.gz"
    with open_store(str(tmp_path / "a.db")) as store:
        fill(store)
        store.backup(path)
    whole = path.read_bytes()
    lines = gzip.decompress(whole).splitlines(keepends=True)
    faults = {
        "cut": whole[: len(whole) // 2],
        "row missing": gzip.compress(b"".join([*lines[:5], *lines[6:]])),
        "row changed": gzip.compress(b"".join(lines).replace(b"Ben", b"Bob")),
        "end missing": gzip.compress(b"".join(lines[:-1])),
        "other file": b"hello",
        "empty": gzip.compress(b""),
    }
    for name, data in faults.items():
        path.write_bytes(data)
        with pytest.raises(DataError, match="no whole backup"):
            Store.restore(path, str(tmp_path / "b.db"))
        assert not (tmp_path / "b.db").exists(), name
    with pytest.raises(DataError, match="no such file"):
        Store.restore(tmp_path / "none", str(tmp_path / "b.db"))


def test_urls_that_name_no_store_are_refused(tmp_path: Path) -> None:
    for url, reason in (
        ("mysql://host/name", "SQLite file or in PostgreSQL"),
        ("sqlite://", "SQLite file or in PostgreSQL"),
        ("://", "no database URL"),
        (f"sqlite:///{tmp_path}/none.db", "no such store"),
    ):
        with pytest.raises(FeedbackError, match=reason):
            Store.open(url)
    with pytest.raises(FeedbackError) as found:
        Store.open("postgresql://user:hidden@127.0.0.1:1/none")
    assert "hidden" not in str(found.value) and "cannot be opened" in str(found.value)
    (tmp_path / "text.db").write_text("not a database, and long enough to be seen as none" * 20)
    with pytest.raises(FeedbackError, match="cannot be opened"):
        Store.open(str(tmp_path / "text.db"), create=True)


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    with open_store(path) as store, store._engine.begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(FeedbackError, match="newer version"):
        open_store(path)
