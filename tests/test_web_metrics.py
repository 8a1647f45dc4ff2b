"""What Prometheus reads: counts of the queue, requests by route, and nothing that a path or a person holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from assent.feedback import tokens
from assent.feedback.records import Role
from assent.feedback.store import Store
from web_tools import PASSWORD, client, groups, join, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


def read(text: str) -> dict[tuple[str, ...], float]:
    """(name, label values...) -> value."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_of_the_queue_and_of_requests(store: Store, tmp_path: Path) -> None:
    http = client(store, tmp_path)
    token = join(store, http, Role.reviewer, "Ada Lovelace")
    store.add_groups(groups(3), "compare", overlap=2)
    for _ in range(2):
        assert http.post("/api/next", json={"held": []}, headers={"x-csrf-token": token}).status_code == 200
    assert http.get("/no/such/page").status_code == 404
    text = http.get("/metrics").text
    found = read(text)
    assert found["assent_queue_items",] == 3 and found["assent_queue_places",] == 6
    assert found["assent_queue_leased",] == 1 and found["assent_queue_judged",] == 0
    assert found["assent_requests_total", "POST", "/api/next", "200"] == 2
    assert found["assent_request_seconds_count", "POST", "/api/next"] == 2
    assert found["assent_requests_total", "any", "none", "404"] == 1
    assert found["assent_requests_total", "POST", "/join/{token}", "303"] == 1
    assert "Ada" not in text and "no/such" not in text


def test_two_services_in_one_process_count_apart(store: Store, tmp_path: Path) -> None:
    one, other = client(store, tmp_path), client(store, tmp_path)
    join(store, one, Role.reviewer, "Ada")
    join(store, other, Role.reviewer, "Bea")
    one.get("/work")
    assert read(other.get("/metrics").text)["assent_requests_total", "GET", "/work", "200"] == 1  # join looks at it


def test_a_program_reads_it_with_a_token(store: Store, tmp_path: Path) -> None:
    """As Prometheus does: no cookie, no Origin."""
    lead = store.accept(store.invite(Role.lead, None), "Ada", PASSWORD)
    http = client(store, tmp_path)
    for token, status in ((tokens.make(store, lead, "prometheus", 30), 200), ("none", 401)):
        assert http.get("/metrics", headers={"authorization": f"Bearer {token}"}).status_code == status
