"""What the API says of itself holds: requests written from its description, good and bad, and their replies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode

from assent.feedback import tokens
from assent.feedback.records import Role
from web_tools import client, groups, open_store, steady_draws

PATHS = ["/api/v1/groups", "/api/v1/guideline", "/api/v1/judgments", "/api/v1/progress", "/api/v1/snapshots"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, str], Any]]:
    """The application, a program's headers, and the description as schemathesis reads it."""
    folder = tmp_path_factory.mktemp("schema")
    with steady_draws(), open_store(folder) as store:
        store.add_groups(groups(2), "compare")
        lead = store.accept(store.invite(Role.lead, None), "lead", "a long password")
        http = client(store, folder)
        headers = {"authorization": f"Bearer {tokens.make(store, lead, 'test', 1)}", "host": "localhost:8000"}
        described = http.get("/api/v1/openapi.json", headers=headers).json()
        schema = schemathesis.openapi.from_dict(described)
        schema.app = http.app
        yield http.app, headers, schema


def test_the_description_names_every_route(service: tuple[Any, dict[str, str], Any]) -> None:
    assert sorted({operation.ok().path for operation in service[2].get_all_operations()}) == PATHS


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("path", PATHS)
def test_replies_are_as_described(service: tuple[Any, dict[str, str], Any], path: str, mode: GenerationMode) -> None:
    _, headers, schema = service
    (operation,) = [found.ok() for found in schema.get_all_operations() if found.ok().path == path]
    try:
        strategy = operation.as_strategy(generation_mode=mode)
        strategy.validate()
    except Exception as error:  # nothing about a route without parameters can be wrong
        pytest.skip(f"no such request: {type(error).__name__}")

    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,  # the same requests every time
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def check(case: Any) -> None:
        reply = case.call(headers=headers, base_url="http://localhost:8000")
        assert reply.status_code < 500, case.as_curl_command()
        if mode == GenerationMode.POSITIVE:
            assert reply.status_code in (200, 400), (reply.status_code, case.as_curl_command())
        if reply.status_code == 200:
            case.validate_response(reply, checks=[schemathesis.checks.CHECKS.get_one("response_schema_conformance")])

    check()
