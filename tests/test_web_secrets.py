"""No secret leaves the place where it belongs: known ones are planted everywhere, and what is written is searched."""

from __future__ import annotations

import gzip
import logging
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import inspect

from assent.feedback import database, tokens
from assent.feedback.records import Assignment, Queue, Role, Verdict
from assent.feedback.store import Store
from feedback_store import fresh_url
from web_tools import HASHER, PASSWORD, client, groups, join, token_in

WRONG = "a wrong password typed"
NEW = "another long password"


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with fresh_url(request.param, tmp_path) as url, Store.open(url, create=True, hasher=HASHER) as made:
        made.set_queue(Queue(gold=0, repeat=0))
        yield made


def plant(store: Store, http: TestClient) -> list[str]:
    """Every kind of secret, used and misused; what they were."""
    csrf = join(store, http, Role.lead, "Ada")
    (ada,) = store.people()
    invite, reset = store.invite(Role.rater, ada.id), store.reset_link(ada.id, ada.id)
    key = tokens.make(store, ada, "script", 30)
    session = store.sign_in("Ada", PASSWORD)
    for name, password in (("Ada", WRONG), (PASSWORD, "Ada"), ("\x00", WRONG)):
        form = {"name": name, "password": password, "csrf": csrf}
        assert http.post("/sign-in", data=form).status_code == 403
    for path in (f"/join/{reset}", f"/reset/{invite}", f"/join/{session}"):
        http.post(path, data={"name": "Ben", "password": NEW, "again": NEW, "csrf": csrf})
    assert http.get("/api/v1/progress", headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert http.get("/api/v1/progress", headers={"authorization": f"Bearer {key}0"}).status_code == 401
    store.set_password(reset, NEW)
    later = store.sign_in("Ada", NEW)
    work(store)
    return [PASSWORD, WRONG, NEW, invite, reset, key, session, later, csrf, *http.cookies.values()]


def work(store: Store) -> None:
    """A judgment, so that there is a snapshot."""
    (ada,) = store.people()
    store.add_groups(groups(2), "compare")
    item = store.next(ada)
    assert isinstance(item, Assignment)
    store.submit(ada, item.id, "k", Verdict(tiers=item.tiers([[0], [1]]), strength=1))


def test_secrets_stand_nowhere(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        known = plant(store, client(store, tmp_path))
        store.snapshot(tmp_path / "snapshot")
        store.backup(tmp_path / "backup.jsonl.gz")
        captured = capfd.readouterr()
    # The client of a test logs the addresses it asks for; the server's own lines are what is searched.
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    places = {
        "logs": "\n".join([*logged, captured.out, captured.err]),
        "audit log": repr(store.audit_log()),
        "snapshot": "".join(path.read_text() for path in (tmp_path / "snapshot").rglob("*") if path.is_file()),
        "backup": gzip.decompress((tmp_path / "backup.jsonl.gz").read_bytes()).decode(),
        "tables": rows(store),
    }
    assert "signed in" in places["audit log"] and "Ada" in places["backup"] and "answer" in places["snapshot"].lower()
    for secret in known:
        assert len(secret) >= 10
        assert [name for name, text in places.items() if secret in text] == []


def rows(store: Store) -> str:
    """Everything in the database, as text."""
    with database.reading(store._engine) as db:
        names = inspect(db).get_table_names()
        return "".join(repr(db.exec_driver_sql(f'SELECT * FROM "{name}"').all()) for name in names)


def test_a_backup_opens_no_door(store: Store, tmp_path: Path) -> None:
    """Neither sessions nor tokens nor links are in it, not even their hashes."""
    http = client(store, tmp_path)
    join(store, http, Role.lead, "Ada")
    (ada,) = store.people()
    known = [store.sign_in("Ada", PASSWORD), tokens.make(store, ada, "t", 1), store.invite(Role.lead, ada.id)]
    store.backup(tmp_path / "backup.jsonl.gz")
    text = gzip.decompress((tmp_path / "backup.jsonl.gz").read_bytes()).decode()
    assert not any(database_digest in text for database_digest in map(tokens.digest, known))
    url = f"sqlite:///{tmp_path / secrets.token_hex(4)}.db"
    Store.restore(tmp_path / "backup.jsonl.gz", url)
    with Store.open(url, hasher=HASHER) as restored:
        session, key, invite = known
        assert restored.person_of(session) is None and tokens.person_of(restored, key) is None
        other = client(restored, tmp_path)
        form = {"name": "Eve", "password": NEW, "again": NEW, "csrf": token_in(other.get("/sign-in").text)}
        assert other.post(f"/join/{invite}", data=form).status_code == 400
        assert [who.name for who in restored.people()] == ["Ada"]


def test_errors_of_the_database_do_not_show_what_was_sent(store: Store, tmp_path: Path) -> None:
    """A closed database: the answer is a plain 500, without text of the query or of its values."""
    http = client(store, tmp_path)
    join(store, http, Role.lead, "Ada")
    quiet = TestClient(http.app, base_url=str(http.base_url), raise_server_exceptions=False)
    with database.writing(store._engine) as db:
        db.exec_driver_sql("ALTER TABLE sessions RENAME TO elsewhere")
    answer = quiet.get("/rate", cookies={"assent_session": "s" * 43})
    assert answer.status_code == 500 and "sessions" not in answer.text and "s" * 43 not in answer.text
