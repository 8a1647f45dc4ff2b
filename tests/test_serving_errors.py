"""What an endpoint refuses: in OpenAI's error shape, by the name of the field, and before anything is sampled."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

import served
from assent.serving import Settings, worker
from assent.serving.requests import NEUTRAL
from served import CHAT, TEXT, ask, texts

KEY = "a-key-of-25-letters-or-so"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with served.client(max_n=4, max_answers=8, max_tokens=40, max_body=4000) as made:
        yield made


def error(reply: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The error of a reply, which must have this status and code."""
    assert (reply.status_code, set(reply.json())) == (status, {"error"})
    found: dict[str, Any] = reply.json()["error"]
    assert set(found) == {"message", "type", "param", "code"} and found["code"] == code
    assert found["message"] and "Traceback" not in found["message"]
    return found


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"temperature": -0.1}, "temperature", "invalid_value"),
    ({"temperature": 2.1}, "temperature", "invalid_value"),
    ({"temperature": 1e-9}, "temperature", "invalid_value"),
    ({"temperature": "1"}, "temperature", "invalid_value"),
    ({"temperature": True}, "temperature", "invalid_value"),
    ({"n": 0}, "n", "invalid_value"),
    ({"n": 5}, "n", "invalid_value"),
    ({"n": True}, "n", "invalid_value"),
    ({"n": 1.5}, "n", "invalid_value"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"max_tokens": 41}, "max_tokens", "invalid_value"),
    ({"max_completion_tokens": 5}, "max_completion_tokens", "invalid_value"),
    ({"seed": "x"}, "seed", "invalid_value"),
    ({"seed": 2**63}, "seed", "invalid_value"),
    ({"stop": ""}, "stop.0", "invalid_value"),
    ({"stop": ["a", 1]}, "stop.1", "invalid_value"),
    ({"stop": list("abcde")}, "stop", "invalid_value"),
    ({"stop": "x" * 201}, "stop.0", "invalid_value"),
    ({"stream": "yes"}, "stream", "invalid_value"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ({"stream": True, "stream_options": {"speed": 1}}, "stream_options.speed", "unknown_parameter"),
    ({"stream": True, "logprobs": True}, "logprobs", "invalid_value"),
    ({"messages": []}, "messages", "invalid_value"),
    ({"messages": "w1"}, "messages", "invalid_value"),
    ({"messages": None}, "messages", "missing_required_parameter"),
    ({"messages": [{"role": "tool", "content": "w1"}]}, "messages.0.role", "invalid_value"),
    ({"messages": [{"role": "user"}]}, "messages.0.content", "missing_required_parameter"),
    ({"messages": [{"role": "user", "content": "w1", "name": "x"}]}, "messages.0.name", "unknown_parameter"),
    ({"messages": [{"role": "user", "content": []}]}, "messages.0.content", "invalid_value"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages.0.content.0.type",
        "invalid_value",
    ),
    ({"messages": [{"role": "assistant", "content": "w1"}]}, "messages", "invalid_value"),
    ({"prompt": "w1"}, "prompt", "unknown_parameter"),
    ({"min_p": 0.1}, "min_p", "unknown_parameter"),
    ({"top_p": 0.9}, "top_p", "unsupported_parameter"),
    ({"top_p": True}, "top_p", "unsupported_parameter"),
    ({"tools": [{"type": "function"}]}, "tools", "unsupported_parameter"),
    ({"tool_choice": "auto"}, "tool_choice", "unsupported_parameter"),
    ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
    ({"presence_penalty": 0.5}, "presence_penalty", "unsupported_parameter"),
    ({"logit_bias": {"5": 1}}, "logit_bias", "unsupported_parameter"),
    ({"logprobs": True, "top_logprobs": 2}, "top_logprobs", "unsupported_parameter"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param", "code"), WRONG, ids=[str(fields)[:60] for fields, _, _ in WRONG])
def test_a_field_that_is_not_served_is_refused_by_name(
    client: TestClient, fields: dict[str, Any], param: str, code: str
) -> None:
    found = error(client.post(CHAT, json=ask() | fields), 400, code)
    assert found["param"] == param and param in found["message"]
    assert found["type"] == "invalid_request_error"


def test_values_that_ask_for_nothing_are_taken(client: TestClient) -> None:
    neutral = {name: values[0] for name, values in NEUTRAL.items() if name not in ("echo", "best_of", "suffix")}
    null = dict.fromkeys(["stop", "n", "temperature", "stream", "logprobs", "user", "top_p", "tools", "metadata"])
    plain = texts(client.post(CHAT, json=ask()).json())
    assert texts(client.post(CHAT, json=ask(user="somebody", **neutral)).json()) == plain
    assert texts(client.post(CHAT, json=ask(**null)).json()) == plain


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"echo": True}, "echo"), ({"best_of": 2}, "best_of"), ({"suffix": "x"}, "suffix"), ({"logprobs": 0}, "logprobs")],
)
def test_completions_refuse_theirs(client: TestClient, fields: dict[str, Any], param: str) -> None:
    body = {"model": served.NAME, "prompt": "w1"}
    assert error(client.post(TEXT, json=body | fields), 400, "unsupported_parameter")["param"] == param


def test_too_many_answers_and_ids_for_prompts_are_refused(client: TestClient) -> None:
    body = {"model": served.NAME, "prompt": ["w1"] * 3}
    assert client.post(TEXT, json=body | {"n": 2}).status_code == 200
    assert "12 answers" not in error(client.post(TEXT, json=body | {"n": 3}), 400, "invalid_value")["message"]
    assert error(client.post(TEXT, json=body | {"prompt": [1, 2]}), 400, "invalid_value")["param"] == "prompt.0"


def test_another_model_is_not_found(client: TestClient) -> None:
    assert error(client.post(CHAT, json=ask(model="gpt-4")), 404, "model_not_found")["param"] == "model"
    assert error(client.get("/v1/models/gpt-4"), 404, "model_not_found")


def test_other_paths_and_methods_are_refused_in_the_same_shape(client: TestClient) -> None:
    error(client.get("/v1/embeddings"), 404, "unknown_url")
    error(client.get(CHAT), 405, "unknown_url")
    error(client.get("/docs"), 404, "unknown_url")


def test_a_conversation_that_fills_the_context_is_refused(client: TestClient) -> None:
    """64 places: 2 around the prompt, 3 for its one turn's marks and words."""
    used = client.post(CHAT, json=ask("w1")).json()["usage"]["prompt_tokens"]
    fits = " ".join(["w1"] * (64 - 10 - used + 1))
    assert client.post(CHAT, json=ask(fits, max_tokens=10)).status_code == 200
    found = error(client.post(CHAT, json=ask(f"{fits} w1", max_tokens=10)), 400, "context_length_exceeded")
    assert found["param"] == "messages" and "64 tokens" in found["message"] and "55" in found["message"]
    free = client.post(CHAT, json=ask(fits, max_tokens=None)).json()
    assert free["usage"]["total_tokens"] <= 64


BODIES = [
    b"",
    b"{",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b'{"model": "tiny", "temperature": NaN}',
    b'{"model": "tiny", "n": 1' + b"0" * 3000 + b"}",
    b'{"model": "tiny", "prompt": "\\ud800"}',
    b"[" * 3900,
    b'{"a":' * 700,
]


@pytest.mark.parametrize("body", BODIES, ids=[str(body[:30]) for body in BODIES])
def test_a_body_that_is_no_json_object_is_refused(client: TestClient, body: bytes) -> None:
    reply = client.post(CHAT, content=body, headers=JSON)
    assert reply.status_code == 400 and reply.json()["error"]["code"] in ("invalid_json", "missing_required_parameter")


def test_a_body_must_say_that_it_is_json(client: TestClient) -> None:
    """What a page of another site can send without being asked for leave is no JSON by its header."""
    body = json.dumps(ask()).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        error(client.post(CHAT, content=body, headers={"content-type": kind}), 415, "unsupported_media_type")
    assert (
        client.post(CHAT, content=body, headers={"content-type": "application/json; charset=utf-8"}).status_code == 200
    )


def test_a_long_body_is_refused_with_and_without_its_length(client: TestClient) -> None:
    long = json.dumps(ask(user="x" * 4000)).encode()
    parts = (long[i : i + 500] for i in range(0, len(long), 500))
    error(client.post(CHAT, content=long, headers=JSON), 413, "request_too_large")
    error(client.post(CHAT, content=parts, headers=JSON), 413, "request_too_large")


# Templates


def test_what_a_template_cannot_write_is_told() -> None:
    generator = served.words()
    generator.tokenizer.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}x"
    with served.client(generator) as client:
        body = ask(messages=[{"role": "system", "content": "w1"}, {"role": "user", "content": "w2"}])
        assert "system" in error(client.post(CHAT, json=body), 400, "invalid_value")["message"]


def test_a_model_without_template_completes_but_does_not_chat() -> None:
    generator = served.words()
    generator.tokenizer.chat_template = None
    with served.client(generator) as client:
        found = error(client.post(CHAT, json=ask()), 400, "invalid_value")
        assert found["param"] == "messages" and "chat template" in found["message"]
        assert client.post(TEXT, json={"model": served.NAME, "prompt": "w1"}).status_code == 200


# The server's own faults


def test_a_batch_that_fails_tells_no_details_and_the_next_one_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with served.client() as client:
        with monkeypatch.context() as patched:
            patched.setattr(worker, "sample", lambda *_, **__: 1 / 0)
            with caplog.at_level(logging.ERROR):
                assert "division" not in error(client.post(CHAT, json=ask()), 500, "internal_error")["message"]
            assert "ZeroDivisionError" in caplog.text
            stream = client.post(CHAT, json=ask(stream=True)).text
            *_, last, rest = stream.split("\n\n")
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "internal_error" and rest == ""
        assert client.post(CHAT, json=ask()).status_code == 200


# Keys and hosts


def test_a_key_is_asked_for_everywhere_but_where_health_is_told() -> None:
    with served.client(api_key=KEY) as client:
        right = {"authorization": f"Bearer {KEY}"}
        wrong = ["", KEY, f"Basic {KEY}", "Bearer", f"Bearer {KEY[:-1]}", f"Bearer {KEY}x", f"Bearer {KEY.upper()}"]
        for path in ("/v1/models", "/v1/models/tiny", "/none"):
            for value in wrong:
                found = client.get(path, headers={"authorization": value})
                assert KEY not in error(found, 401, "invalid_api_key")["message"]
        error(client.post(CHAT, json=ask()), 401, "invalid_api_key")
        assert client.post(CHAT, json=ask(), headers=right).status_code == 200
        assert (
            client.get("/v1/models", headers={"authorization": f"bearer {KEY}", "host": "far.example"}).status_code
            == 200
        )
        assert client.get("/healthz").status_code == 200
    assert KEY not in repr(Settings(api_key=KEY))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[", "user@x"])
def test_without_a_key_another_name_for_this_machine_is_refused(client: TestClient, host: str) -> None:
    error(client.get("/v1/models", headers={"host": host}), 403, "invalid_host")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8001", "localhost:9", "[::1]:8001"])
def test_without_a_key_this_machines_own_names_are_taken(client: TestClient, host: str) -> None:
    assert client.get("/v1/models", headers={"host": host}).status_code == 200
