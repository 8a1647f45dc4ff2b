"""A new password by the lead's link; roles; accounts closed and opened; and what stays shut."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from assent.feedback import tokens
from assent.feedback.records import Person, Role
from assent.feedback.store import Store
from assent.web import audit_log
from assent.web.page import TEMPLATES
from web_tools import PASSWORD, client, join, open_store, token_in

NEW = "quite another password"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


@pytest.fixture
def http(store: Store, tmp_path: Path) -> TestClient:
    return client(store, tmp_path)


def named(store: Store, name: str) -> Person:
    return next(each for each in store.people() if each.name == name)


def link_for(http: TestClient, token: str, person: str) -> str:
    page = http.post("/lead/people/reset", data={"csrf": token, "person": person})
    assert page.status_code == 200
    found = re.search(r'value="http://127.0.0.1:8000(/reset/[^"]+)"', page.text)
    assert found
    return found[1]


def set_to(http: TestClient, link: str, password: str, again: str | None = None) -> int:
    form = {"csrf": token_in(http.get(link).text), "password": password, "again": again or password}
    return http.post(link, data=form).status_code


def test_a_link_sets_a_password_once_and_ends_sessions_and_tokens(
    store: Store, http: TestClient, tmp_path: Path
) -> None:
    lead = join(store, http, Role.lead, "lead")
    other = client(store, tmp_path)
    join(store, other, Role.lead, "other")
    key = tokens.make(store, named(store, "other"), "script", 30)
    link = link_for(http, lead, named(store, "other").id)
    visitor = client(store, tmp_path)
    assert set_to(visitor, link, NEW, again="something else") == 400  # and the link still works
    assert set_to(visitor, link, "short") == 400
    assert other.get("/work").status_code == 200
    assert set_to(visitor, link, NEW) == 303
    assert set_to(visitor, link, "a third long password") == 400
    assert other.get("/work").status_code == 303
    assert tokens.person_of(store, key) is None
    csrf = token_in(visitor.get("/sign-in").text)
    for password, status in ((PASSWORD, 403), (NEW, 303)):
        form = {"csrf": csrf, "name": "other", "password": password}
        assert visitor.post("/sign-in", data=form).status_code == status


def test_the_link_is_shown_once_and_is_no_invite(store: Store, http: TestClient, tmp_path: Path) -> None:
    lead = join(store, http, Role.lead, "lead")
    link = link_for(http, lead, named(store, "lead").id)
    secret = link.rsplit("/", 1)[1]
    assert secret not in http.get("/lead/people").text
    assert not any(secret in entry.what for entry in store.audit_log())
    visitor = client(store, tmp_path)
    csrf = token_in(visitor.get(f"/join/{secret}").text)
    form = {"csrf": csrf, "name": "somebody", "password": PASSWORD, "again": PASSWORD}
    assert visitor.post(f"/join/{secret}", data=form).status_code == 400
    assert set_to(visitor, f"/reset/{store.invite(Role.rater, None)}", NEW) == 400


def test_roles_change_and_accounts_close_and_open(store: Store, http: TestClient, tmp_path: Path) -> None:
    lead = join(store, http, Role.lead, "lead")
    other = client(store, tmp_path)
    join(store, other, Role.rater, "other")
    person = named(store, "other").id

    def change(**fields: str) -> int:
        return http.post("/lead/people/change", data={"csrf": lead, "person": person, **fields}).status_code

    assert other.get("/lead/contests").status_code == 403
    assert change(role="reviewer") == 303
    assert other.get("/lead/contests").status_code == 200
    assert change(active="no") == 303
    assert other.get("/lead/contests").status_code == 303
    assert change(active="yes") == 303
    assert other.get("/lead/contests").status_code == 303  # the session ended with the account
    found = named(store, "other")
    assert (found.role, found.active) == (Role.reviewer, True)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"role": "owner"}, 400),
        ({"active": "perhaps"}, 400),
        ({}, 400),
        ({"role": "rater"}, 403),  # the last lead
        ({"active": "no"}, 403),
        ({"role": "rater", "person": "nobody"}, 404),
        ({"role": "rater", "person": "\x00"}, 404),
    ],
)
def test_what_cannot_be_changed_changes_nothing(
    fields: dict[str, str], status: int, store: Store, http: TestClient
) -> None:
    token = join(store, http, Role.lead, "lead")
    before = store.people()
    form = {"csrf": token, "person": before[0].id, **fields}
    assert http.post("/lead/people/change", data=form).status_code == status
    assert store.people() == before


def test_nobody_gets_a_link_for_a_person_who_is_not_there(store: Store, http: TestClient) -> None:
    token = join(store, http, Role.lead, "lead")
    assert http.post("/lead/people/reset", data={"csrf": token, "person": "nobody"}).status_code == 404


def test_the_controls_escape_a_name() -> None:
    of = SimpleNamespace(id="p1", name="<b>Eve", role="rater", active=True)
    page = TEMPLATES.get_template("person_controls.html.j2").render(of=of, csrf="c")
    assert "<b>" not in page and "&lt;b&gt;Eve" in page and page.count('name="csrf"') == 3
    of.active = False
    closed = TEMPLATES.get_template("person_controls.html.j2").render(of=of, csrf="c")
    assert "/lead/people/reset" not in closed and 'name="active" value="yes"' in closed


def test_who_leaves_types_his_name_and_is_out(store: Store, http: TestClient, tmp_path: Path) -> None:
    join(store, http, Role.lead, "lead")
    other = client(store, tmp_path)
    token = join(store, other, Role.rater, "Åsa <b>")
    path = "/work/settings/forget"
    assert other.post(path, data={"csrf": token, "name": "lead"}).status_code == 400
    assert named(store, "Åsa <b>").active
    assert other.post(path, data={"csrf": token, "name": " Åsa <b> ", "texts": "yes"}).status_code == 303
    assert other.get("/work").status_code == 303
    assert [each.name[:5] for each in store.people()] == ["lead", "gone-"]


def test_the_log_is_read_page_by_page_without_gap_or_repetition(
    store: Store, http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "PAGE", 3)
    join(store, http, Role.lead, "lead")
    for i in range(5):
        store.audit(None, "tested", f"<b>entry {i}")
    lines = [entry.n for entry in store.audit_log()]
    seen: list[int] = []
    at: str | None = "/lead/audit"
    while at:
        page = http.get(at).text
        assert "<b>entry" not in page
        seen += [int(n) for n in re.findall(r'<td class="n">(\d+)</td>', page)]
        link = re.search(r'"(/lead/audit\?before=\d+)"', page)
        at = link[1] if link else None
    assert seen == lines
    for wrong in ("x", "-1", "²", str(2**31), "9" * 30):
        assert http.get(f"/lead/audit?before={wrong}").status_code == 400
    assert "Nothing older" in http.get("/lead/audit?before=0").text
