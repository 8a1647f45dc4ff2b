"""The store of feedback: people, guidelines, the queue, judgments, and data out.

    with Store.open("sqlite:///feedback.db", create=True) as store:
        link = store.invite(Role.lead, by=None)
        lead = store.accept(link, "Ada", "a long password")
        store.add_groups(groups, "compare", overlap=2)
        item = store.next(lead)                      # Assignment, or Wait(reason)
        store.submit(lead, item.id, "key-1", Verdict(tiers=item.tiers([[0], [1]]), strength=2))

One Store may be used by many threads. Every method is one transaction: when it returns, what it did is on disk.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Engine, delete, insert, select
from sqlalchemy.exc import DBAPIError

from assent.core.records import Demonstration, Group, Judgment, Prompt, Rater, check_tiers
from assent.feedback import acts, database, guidelines, people, queue, reads, transfer
from assent.feedback.errors import BadVerdict, NotAllowed
from assent.feedback.records import (
    Assignment,
    AuditEntry,
    Guideline,
    Key,
    Kind,
    Person,
    Progress,
    Queue,
    Role,
    Verdict,
    Wait,
    Work,
)
from assent.feedback.schema import JudgmentRow, RaterRow, SettingRow

T = TypeVar("T")
TRIES = 5
LOOK_SECONDS = 1.0  # between looks for ended leases: every rater's `next` comes by there
_KEY: TypeAdapter[str] = TypeAdapter(Key)


class Store:
    """All feedback of one project. Made by `Store.open`.

    Parameters: `clock`, the time in Unix seconds; `hasher`, of passwords.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float], hasher: PasswordHasher) -> None:
        self._engine, self._clock, self._hasher = engine, clock, hasher
        self._dummy = hasher.hash(secrets.token_urlsafe(16))
        self._looked = float("-inf")

    @classmethod
    def open(
        cls,
        url: str,
        create: bool = False,
        clock: Callable[[], float] = time.time,
        hasher: PasswordHasher | None = None,
    ) -> Self:
        """The store at a URL (`sqlite:///FILE`, `postgresql://HOST/NAME`) or in a SQLite file.

        With `create` the tables are made, or brought up to date. Raises FeedbackError.
        """
        return cls(database.open_engine(url, create), clock, hasher or PasswordHasher())

    def close(self) -> None:
        """Let the connections go."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, work: Callable[[Connection, float], T]) -> T:
        """Run `work` in a transaction; again where another one was first with the same row."""
        for left in reversed(range(TRIES)):
            try:
                with database.writing(self._engine) as db:
                    return work(db, self._clock())
            except DBAPIError as error:
                if not left or not database.was_second(error):
                    raise
        raise AssertionError("not reached")

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one state of the store."""
        with database.reading(self._engine) as db:
            return work(db)

    # people

    def has_lead(self) -> bool:
        """Whether somebody leads yet; if not, `invite(Role.lead, by=None)` makes the one-time link."""
        return self.read(people.has_lead)

    def invite(self, role: Role, by: str | None) -> str:
        """A token for one new account: once, within a week. `by`: a lead's id, None for the machine's owner.

        Only its hash is stored: it cannot be shown again. Raises NotAllowed.
        """
        return self.write(lambda db, now: people.invite(db, now, role, by))

    def accept(self, token: str, name: str, password: str) -> Person:
        """Make the account. Raises NotAllowed: the link, the name or the password will not do."""
        name = people.check_name(name)
        people.check_password(password, name)
        now = self._clock()
        self.read(lambda db: people.open_invite(db, now, token))  # before the costly hash
        hashed = self._hasher.hash(password)
        return self.write(lambda db, now: people.join(db, now, token, name, hashed))

    def reset_link(self, person: str, by: str | None) -> str:
        """A token with which a person sets a new password. Raises NotAllowed."""
        return self.write(lambda db, now: people.invite(db, now, people.find(db, person).role, by, person))

    def set_password(self, token: str, password: str) -> Person:
        """Use a reset link; every session of the person ends. Raises NotAllowed."""
        people.check_password(password)
        now = self._clock()
        self.read(lambda db: people.open_invite(db, now, token))
        hashed = self._hasher.hash(password)
        return self.write(lambda db, now: people.set_password(db, now, token, hashed))

    def sign_in(self, name: str, password: str, address: str = "") -> str:
        """A session token. Raises NotAllowed, or Throttled after five failures in fifteen minutes from this address.

        A name that does not exist takes as long and says the same.
        """
        self.write(lambda db, now: people.count_attempt(db, now, name, address))
        known = self.read(lambda db: people.credentials(db, name))
        person, hashed = known or ("", self._dummy)
        try:
            self._hasher.verify(hashed, password[: people.PASSWORD_LENGTH[1]])
        except (VerificationError, InvalidHashError):
            known = None
        if known is None:
            raise NotAllowed("the name or the password is wrong")
        return self.write(lambda db, now: people.start_session(db, now, person, name, address))

    def person_of(self, session: str) -> Person | None:
        """Who is signed in with this token; None: nobody."""
        with database.asking(self._engine) as db:
            return people.person_of(db, self._clock(), session)

    def sign_out(self, session: str) -> None:
        """End a session."""
        self.write(lambda db, now: people.sign_out(db, now, session))

    def people(self) -> list[Person]:
        """All accounts."""
        return self.read(people.everybody)

    def change_person(self, by: str, person: str, role: Role | None = None, active: bool | None = None) -> Person:
        """Another role, or a closed or opened account. Raises NotAllowed."""
        return self.write(lambda db, now: people.change(db, now, by, person, role, active))

    def set_limits(self, person: Person, opted_out: Sequence[str] = (), daily_cap: int | None = None) -> Person:
        """What a rater will not see, by category, and his cap of items a day."""
        return self.write(lambda db, now: people.set_limits(db, now, person.id, opted_out, daily_cap))

    def audit(self, actor: str | None, action: str, what: str = "") -> None:
        """Add a line to the audit log; nothing secret belongs in it."""
        self.write(lambda db, now: people.audit(db, now, actor, action, what))

    def audit_log(self, limit: int = 1000) -> list[AuditEntry]:
        """The latest lines first."""
        return self.read(lambda db: people.audit_log(db, limit))

    # guidelines and the queue

    def add_guideline(self, text: str, name: str, by: str | None = None) -> str:
        """Make a text the current guideline; its version. Everybody must read it before the next item."""
        return self.write(lambda db, now: guidelines.add(db, now, text, name, by))

    def guideline(self) -> Guideline | None:
        """The current guideline."""
        return self.read(guidelines.current)

    def guidelines(self) -> list[Guideline]:
        """All versions in the order they came into force."""
        return self.read(guidelines.history)

    def read_guideline(self, person: Person, version: str) -> None:
        """The person read this version. Raises NotFound."""
        self.write(lambda db, now: guidelines.read(db, now, person.id, version))

    def add_groups(
        self,
        groups: Sequence[Group],
        kind: Kind,
        overlap: int = 1,
        gold: Mapping[str, Sequence[Sequence[str]]] | None = None,
        quiz: bool = False,
        by: str | None = None,
    ) -> dict[str, int]:
        """Put groups in the queue, all or none: `{"added": n, "known": n}`. Raises BadVerdict.

        `overlap`: judgments wanted of each. `gold`: group id -> the known tiers; such items are mixed in for everybody,
        or with `quiz` asked first. A group's `prompt.tags["sensitive"]` names its category of sensitive content.
        """
        if overlap < 1:
            raise BadVerdict("overlap is at least 1")
        known = gold or {}
        if quiz and (missing := [g.id for g in groups if g.id not in known]):
            raise BadVerdict("a quiz item needs its gold verdict", where=missing[0])

        def work(db: Connection, now: float) -> dict[str, int]:
            added = sum(queue.add_item(db, g, kind, overlap, known.get(g.id), quiz, 0.0) for g in groups)
            people.audit(db, now, by, "items added", f"{added} to {kind}, overlap {overlap}")
            return {"added": added, "known": len(groups) - added}

        return self.write(work)

    def add_prompts(self, prompts: Sequence[Prompt], overlap: int = 1, by: str | None = None) -> dict[str, int]:
        """Put prompts in the queue for which raters write the answer (kind `write`)."""
        return self.add_groups([queue.blank(prompt) for prompt in prompts], "write", overlap, by=by)

    def rank(self, ranks: Mapping[str, float]) -> None:
        """Set places in line by group id: smaller first; 0 where nothing was set."""
        self.write(lambda db, _: queue.rank(db, ranks))

    def queue(self) -> Queue:
        """How the next item is chosen."""
        return self.read(queue.settings)

    def set_queue(self, rules: Queue, by: str | None = None) -> None:
        """Choose otherwise from now on."""

        def work(db: Connection, now: float) -> None:
            db.execute(delete(SettingRow).where(SettingRow.name == "queue"))
            db.execute(insert(SettingRow).values(name="queue", value=rules.model_dump_json()))
            people.audit(db, now, by, "queue", rules.model_dump_json())

        self.write(work)

    # work

    def next(self, person: Person, held: Collection[str] = ()) -> Assignment | Wait:
        """What to judge now: the oldest open lease, else a new one for 15 minutes, else why there is none.

        Asked again it gives the same item (a reload), after `undo` the one taken back. `held`: ids the client has
        prefetched already; up to five may be in hand. Always check for Wait: `guideline` (show it, then
        `read_guideline`), `quiz`, `cap`, `nothing`.
        """
        self._release_ended()
        return self.write(lambda db, now: queue.next_item(db, now, _active(db, person), held))

    def _release_ended(self) -> None:
        now = self._clock()
        if not 0 <= now - self._looked < LOOK_SECONDS:  # also where the clock was put back
            if self.read(lambda db: queue.any_ended(db, now)):
                self.write(queue.release)
            self._looked = now  # only now: whoever comes meanwhile must not find the places still taken

    def assignment(self, person: Person, id: str) -> Assignment:
        """An assignment of this person, also a finished one. Raises NotFound."""
        with database.asking(self._engine) as db:
            return queue.assignment(db, id, person)

    def adjudicate(self, person: Person, group: str) -> Assignment:
        """A group for a reviewer to settle; submitted like any other. Raises NotAllowed, NotFound."""

        def work(db: Connection, now: float) -> Assignment:
            return queue.adjudication(db, now, people.require(db, person.id, Role.reviewer), group)

        return self.write(work)

    def submit(self, person: Person, assignment_id: str, client_key: str, verdict: Verdict) -> Judgment:
        """Keep a verdict. The same `client_key` again gives the same judgment, whatever else was sent with it.

        A late answer is kept while its place is free. `client_key`: 1 to 64 of A-Z a-z 0-9 _ -, new for each act.
        Raises NotFound, BadVerdict, AlreadyAnswered (has `.judgment`), LeaseExpired.
        """
        key = _key(client_key)

        def work(db: Connection, now: float) -> Judgment:
            given = queue.assignment(db, assignment_id, _active(db, person))
            return acts.submit(db, now, person, given, key, verdict)

        return self.write(work)

    def undo(self, person: Person, client_key: str | None = None, of: str | None = None) -> Judgment:
        """Take the last act back: the act that supersedes it. `next` then gives the item again. Raises NotFound.

        With a `client_key` a double click takes one act back, not two; with `of` only the act of that key.
        """
        key = _key(client_key or secrets.token_urlsafe(16))
        return self.write(lambda db, now: acts.undo(db, now, _active(db, person), key, of))

    def add_judgments(
        self, groups: Sequence[Group], judgments: Sequence[Judgment], raters: Sequence[Rater] = ()
    ) -> dict[str, int]:
        """Judgments made elsewhere, by people or models: kept as they are, all or none; those known are passed over.

        `{"groups": n, "judgments": n}` new ones. Raises BadVerdict: a judgment that does not fit its group.
        """
        return self.write(lambda db, now: _import(db, now, groups, judgments, raters))

    # reads

    def groups(self) -> list[Group]:
        """Groups to compare or rank, and imported ones."""
        return self.read(reads.groups)

    def judgments(self) -> list[Judgment]:
        """Every act on these groups in order; `reads.standing` leaves out superseded ones."""
        return self.read(reads.judgments)

    def raters(self) -> list[Rater]:
        """Everybody who judged, by id, without names."""
        return self.read(reads.raters)

    def demonstrations(self) -> list[Demonstration]:
        """Written and ideal answers that stand."""
        return self.read(reads.demonstrations)

    def progress(self) -> Progress:
        """Counts over the queue."""
        return self.read(reads.progress)

    def work_of(self, person: Person) -> Work:
        """What one person did."""
        now = self._clock()
        return self.read(lambda db: reads.work_of(db, now, person))

    # data in one piece

    def snapshot(self, folder: Path) -> dict[str, Any]:
        """Write what training reads into a new folder; the datasheet, with counts and checksums.

        `FOLDER/preferences/` holds groups, judgments and raters (for `collect: {source: file, data: ...}`),
        `FOLDER/demonstrations/` demonstrations (for `sft: {data: ...}`), `FOLDER/datasheet.json` the rest. Apart,
        since a step reads every file of the folder it is given. Equal stores give equal bytes.
        """
        return self.read(lambda db: transfer.snapshot(db, folder))

    def backup(self, path: Path) -> dict[str, int]:
        """Write everything as of one moment into a .jsonl.gz; rows by table. People go on working meanwhile."""
        return transfer.backup(self._engine, path)

    @staticmethod
    def restore(path: Path, url: str) -> dict[str, int]:
        """Put a backup into a new store, on either database. Raises DataError, FeedbackError."""
        return transfer.restore(path, url)


def _key(client_key: str) -> str:
    try:
        return _KEY.validate_python(client_key)
    except ValidationError:
        raise BadVerdict("a client key has 1 to 64 letters, digits, _ or -") from None


def _active(db: Connection, person: Person) -> Person:
    """The person as he is now: a closed account does no work, however old the caller's copy."""
    return people.require(db, person.id, Role.rater)


def _import(
    db: Connection, now: float, groups: Sequence[Group], judgments: Sequence[Judgment], raters: Sequence[Rater]
) -> dict[str, int]:
    by_id = {group.id: group for group in groups}
    count = {"groups": sum(queue.add_group(db, group) for group in groups), "judgments": 0}
    known = set(db.execute(select(RaterRow.id)).scalars())
    for rater in [*raters, *(Rater(id=j.rater) for j in judgments)]:
        if rater.id not in known:
            known.add(rater.id)
            db.execute(insert(RaterRow).values(id=rater.id, record=rater.model_dump_json(exclude_defaults=True)))
    here = set(db.execute(select(JudgmentRow.id)).scalars())
    replaced = set(db.execute(select(JudgmentRow.supersedes)).scalars()) - {None}
    for judgment in judgments:
        if judgment.id in here:
            continue
        if judgment.group not in by_id:
            raise BadVerdict(f"judgment {judgment.id} is on a group that is not there", where=judgment.group)
        if problem := check_tiers(judgment, by_id[judgment.group]):
            raise BadVerdict(problem, where=f"judgment {judgment.id}")
        if judgment.supersedes in replaced:
            raise BadVerdict("the judgment it supersedes was superseded before", where=f"judgment {judgment.id}")
        if judgment.supersedes:
            replaced.add(judgment.supersedes)
        acts.add(db, now, judgment, None, None, None)
        here.add(judgment.id)
        count["judgments"] += 1
    people.audit(db, now, None, "imported", f"{count['groups']} groups, {count['judgments']} judgments")
    return count
