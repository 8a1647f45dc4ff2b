"""A backup that is written while people work restores to an export that is the same to the byte.

The same as what? Nobody can export a moving store at the very moment of its backup. So the source's own records, at
rest, are cut down to the judgments that the backup has, and exported; and the moment is held against what raters had
acknowledged before the backup began and had not sent when it was done.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assent.core.hashing import content_id, tree_hash
from assent.feedback.records import Person, Queue, Wait
from assent.feedback.store import Store
from feedback_store import Clock, first_wins, fresh_url, groups, open_store, person

RATERS, ITEMS, BACKUPS = 3, 24, 2


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with fresh_url(request.param, tmp_path) as found:
        yield found


class Load:
    """Raters at work in threads: judging, taking back, writing ideal answers, until nothing is left."""

    def __init__(self, store: Store) -> None:
        self.store, self.lock = store, threading.Condition()
        self.sent: set[str] = set()
        self.taken: set[str] = set()
        self.wrong: list[BaseException] = []
        people = [person(store, f"Rater {k}") for k in range(RATERS)]
        self.threads = [threading.Thread(target=self.work, args=(who,)) for who in people]

    def work(self, who: Person) -> None:
        try:
            for n in range(10 * ITEMS):
                item = self.store.next(who)
                if isinstance(item, Wait):
                    return
                ideal = f"ideal {n} by {who.id}" if n % 3 == 0 else None
                act = self.tell(f"k{n}", item.id)
                kept = self.store.submit(who, item.id, f"k{n}", first_wins(item, ideal=ideal))
                self.done(act, kept.id)
                if n % 7 == 6:
                    self.done(self.tell(f"u{n}", item.id), self.store.undo(who, f"u{n}").id)
        except BaseException as error:
            with self.lock:
                self.wrong.append(error)
                self.lock.notify_all()

    def tell(self, key: str, assignment: str) -> str:
        with self.lock:
            self.sent.add(act := content_id("judgment", assignment, key))
        return act

    def done(self, expected: str, act: str) -> None:
        with self.lock:
            assert act == expected
            self.taken.add(act)
            self.lock.notify_all()

    def reached(self, count: int) -> None:
        """Return when so many acts were acknowledged."""
        with self.lock:
            assert self.lock.wait_for(lambda: len(self.taken) >= count or self.wrong, 300)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def acts(path: Path) -> set[str]:
    """Ids of the judgments in a backup."""
    return {row[1]["id"] for row in lines(path) if isinstance(row, list) and row[0] == "judgments"}


def cut_down(path: Path, to: Path, kept: set[str]) -> None:
    """A backup with these judgments alone."""
    head, *rows, end = lines(path)
    rows = [row for row in rows if row[0] != "judgments" or row[1]["id"] in kept]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in (head, *rows))
    counts = {**end["rows"], "judgments": len(kept)}
    end = {"rows": counts, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    to.write_bytes(gzip.compress((text + json.dumps(end) + "\n").encode()))


def exported(path: Path) -> str:
    """The hash of what a restored backup exports."""
    url, folder = f"sqlite:///{path.with_suffix('.db')}", path.with_suffix(".out")
    Store.restore(path, url)
    with open_store(url) as store:
        store.snapshot(folder)
    return tree_hash(folder)


def test_a_backup_under_load_restores_to_an_identical_export(url: str, tmp_path: Path) -> None:
    paths, before, after = [tmp_path / f"{k}.jsonl.gz" for k in range(BACKUPS)], [], []
    with open_store(url, Clock()) as store:
        store.set_queue(Queue(gold=0, repeat=0, control=0.2))
        store.add_groups(groups(ITEMS), "compare", overlap=2)
        load = Load(store)
        for thread in load.threads:
            thread.start()
        for k, path in enumerate(paths):
            load.reached(20 * k)
            before.append(set(load.taken))
            store.backup(path)
            after.append(set(load.sent))
        for thread in load.threads:
            thread.join()
        assert not load.wrong and store.progress().judged == 2 * ITEMS
        store.backup(tmp_path / "rest.jsonl.gz")
        assert acts(tmp_path / "rest.jsonl.gz") == load.taken == load.sent
    for path, acknowledged, sent in zip(paths, before, after, strict=True):
        kept = acts(path)
        assert acknowledged <= kept <= sent  # one moment between the beginning and the end of the backup
        cut = tmp_path / f"cut-{path.name}"
        cut_down(tmp_path / "rest.jsonl.gz", cut, kept)
        assert exported(path) == exported(cut)
        whole(path)


def whole(path: Path) -> None:
    """The restored store backs up to the same rows, and its places are those that its acts hold."""
    with open_store(f"sqlite:///{path.with_suffix('.db')}") as store:
        store.backup(path.with_suffix(".again"))
        assert lines(path.with_suffix(".again")) == lines(path)
        state = store.progress()
        rows = [row for row in lines(path) if isinstance(row, list)]
        done = {row[1]["item"] for row in rows if row[0] == "assignments" and row[1]["state"] == "done"}
        assert state.places == 2 * ITEMS and state.leased <= RATERS and len(done) <= state.judged <= 2 * len(done)
