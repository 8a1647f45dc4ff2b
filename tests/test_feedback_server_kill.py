"""SIGKILL of the real server in the middle of many submits: what it acknowledged is there once, and so is the rest.

Four people work over HTTP at once. Twice the server is killed without warning, the moment one of them has sent a submit
and not yet read its answer, and started again; each of them sends what was not acknowledged again, with the same client
key, as the rating screen does.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from assent.cli import serve
from assent.feedback import database
from assent.feedback.records import Queue, Verdict
from assent.feedback.store import Store
from feedback_store import CHEAP, PASSWORD, fresh_url, groups, person, port_for_later
from web_tools import token_in

PEOPLE = 4
TRIES = 3000
PATIENCE = 300
"""Seconds after which what does not come is taken to hang."""


class Server:
    """`assent serve` as a process of its own, on one port through its lives."""

    def __init__(self, url: str, folder: Path, port: int) -> None:
        self.port = port
        self.address, self.folder, self.url = f"http://127.0.0.1:{self.port}", folder, url
        options = ["--db", url, "--port", str(self.port), "--exports", str(folder / "exports")]
        self.command = [sys.executable, "-m", "assent", "serve", *options]
        self.up = threading.Event()

    def start(self) -> None:
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        for _ in range(TRIES):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    self.up.set()
                    return
            try:
                self.process.wait(0.1)
                break
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(f"the server did not start: {(self.folder / 'server.log').read_text()}")

    def kill(self) -> None:
        self.up.clear()
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL


class Work:
    """What all clients together had acknowledged, by (person, key), and how often one had to send again."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.taken: dict[tuple[str, str], dict[str, object]] = {}
        self.again = 0
        self.killing: tuple[int, Callable[[], None]] | None = None
        self.wrong: list[str] = []

    def kill_at(self, count: int, server: Server) -> None:
        """Once so many answers are acknowledged, cut off the submit that comes next by SIGKILL."""
        with self.changed:
            self.killing = (count, server.kill)

    def until_killed(self) -> None:
        """Return when that has happened."""
        with self.changed:
            assert self.changed.wait_for(lambda: not self.killing or self.wrong, PATIENCE), len(self.taken)
            assert not self.wrong, self.wrong

    def sent(self, event: str, _info: object) -> None:
        """Told by httpcore of each step of a submit: after the last byte went out, the server dies if it is time."""
        if event != "http11.send_request_body.complete":
            return
        with self.changed:
            if self.killing and len(self.taken) >= self.killing[0]:
                self.killing[1]()
                self.killing = None
                self.changed.notify_all()
                # Whatever the server did with it, its answer is not read: what a client sees when the line breaks.
                raise httpx.ReadError("cut off")


def post(http: httpx.Client, server: Server, work: Work, what: str, body: dict[str, object]) -> dict[str, object]:
    """Send until the server answers, the same body each time."""
    told = {"trace": work.sent} if what == "submit" else {}
    for _ in range(TRIES):
        assert server.up.wait(PATIENCE), "the server did not come back"
        try:
            response = http.post(f"/api/{what}", json=body, extensions=told)
        except httpx.TransportError:
            work.again += what == "submit"
            continue
        assert response.status_code == 200, f"{what}: {response.status_code} {response.text}"
        found: dict[str, object] = response.json()
        return found
    raise AssertionError("the server never answered")


def client_of(server: Server, session: str) -> httpx.Client:
    """A browser that has opened the rating screen."""
    headers = {"origin": server.address, "cookie": f"assent_session={session}"}
    page = httpx.get(f"{server.address}/rate", headers=headers, timeout=PATIENCE).text
    headers["x-csrf-token"] = token_in(page)
    return httpx.Client(base_url=server.address, headers=headers, timeout=PATIENCE)


def rate(server: Server, name: str, http: httpx.Client, work: Work, most: int) -> None:
    """Judge until nothing is left."""
    try:
        with http:
            for n in range(most + 1):
                item = post(http, server, work, "next", {"held": []})["item"]
                if item is None:
                    return
                verdict = {"outcome": "ranked", "tiers": [[0], [1]], "strength": 2}
                body = {"key": f"k{n}", "assignment": item["id"], "verdict": verdict}  # type: ignore[index]
                assert post(http, server, work, "submit", body) == {"state": "kept"}
                with work.changed:
                    work.taken[name, f"k{n}"] = body
                    work.changed.notify_all()
    except Exception as error:
        with work.changed:
            work.wrong.append(f"{name}: {error!r}")
            work.changed.notify_all()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with fresh_url(request.param, tmp_path) as found:
        yield found


def kept(store: Store) -> Counter[tuple[str, str]]:
    """(person's name, client key) of every row."""
    with database.reading(store._engine) as db:
        rows = db.exec_driver_sql("SELECT p.name, j.client_key FROM judgments j JOIN people p ON p.id = j.person").all()
    return Counter((name, key) for name, key in rows)


@pytest.mark.parametrize("submits", [90, pytest.param(1000, marks=pytest.mark.evidence)])
def test_killed_twice_in_the_middle_nothing_is_lost_or_doubled(url: str, submits: int, tmp_path: Path) -> None:
    with Store.open(url, create=True, hasher=CHEAP) as store:
        store.set_queue(Queue(gold=0, repeat=0))
        store.add_groups(groups(submits), "compare")
        people = [person(store, f"Rater {k}") for k in range(PEOPLE)]
        sessions = {who.name: store.sign_in(who.name, PASSWORD) for who in people}
    with port_for_later() as port:
        server, work = Server(url, tmp_path, port), Work()
        shift(server, work, sessions, submits)
    check(url, work, submits)


def shift(server: Server, work: Work, sessions: dict[str, str], submits: int) -> None:
    """Everybody works until nothing is left, while the server is killed after a third and after two thirds."""
    try:
        server.start()
        https = {name: client_of(server, session) for name, session in sessions.items()}
        clients = [threading.Thread(target=rate, args=(server, *each, work, submits)) for each in https.items()]
        work.kill_at(submits // 3, server)
        for client in clients:
            client.start()
        for count in (submits * 2 // 3, None):
            work.until_killed()
            with work.changed:
                acknowledged = set(work.taken)
            with Store.open(server.url) as store:  # as the next start finds it
                rows = kept(store)
                assert set(rows.values()) == {1} and acknowledged <= set(rows)
                # Besides those, at most what each client had under way.
                assert len(rows) <= len(acknowledged) + PEOPLE
            if count:
                work.kill_at(count, server)  # before anybody can go on
            server.start()
        for client in clients:
            client.join(PATIENCE)
        assert not work.wrong and len(work.taken) == submits, work.wrong
    finally:
        server.up.set()
        server.process.kill()
        server.process.wait()


def test_answers_leave_at_once() -> None:
    """asyncio sets TCP_NODELAY on sockets that say they are TCP; else each answer waits for the client, 40 ms."""
    with serve._listening("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def check(url: str, work: Work, submits: int) -> None:
    """Every answer once; sent again, all of them change nothing."""
    with Store.open(url) as store:
        assert kept(store) == Counter(work.taken.keys())
        acts, people = store.judgments(), {who.name: who for who in store.people()}
        assert len(acts) == len({act.group for act in acts}) == submits == store.progress().judged
        assert work.again >= 2, "a submit was cut off by each kill"
        for (name, key), body in list(work.taken.items())[:: submits // 40]:
            item = store.assignment(people[name], str(body["assignment"]))
            store.submit(people[name], item.id, key, Verdict(tiers=item.tiers([[0], [1]]), strength=2))
        assert store.judgments() == acts
