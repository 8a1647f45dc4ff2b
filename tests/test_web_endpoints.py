"""Endpoints from the server's file, and the client that asks them: bounded, readable, and silent about keys."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

import served
from asked_models import Models, completion, endpoint, in_turn
from assent.core.errors import ConfigError
from assent.core.records import Message
from assent.web.endpoints import MOST_CHARACTERS, TRIES, Client, Endpoint, EndpointError, Reply, load
from toy_run import assent

KEY = "sk-0123456789abcdef"
ASK = (Message(role="system", content="short"), Message(role="user", content="hello"))


def write(folder: Path, text: str) -> Path:
    path = folder / "models.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_names_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    text = """
- {name: mine, url: "http://127.0.0.1:8080/v1/", model: tiny}
- {name: big, url: "https://api.example.org/v1", model: big-1, key_env: MY_KEY, temperature: 0, max_tokens: 64}
"""
    mine, big = load(write(tmp_path, text))
    assert mine == Endpoint(name="mine", url="http://127.0.0.1:8080/v1", model="tiny")
    assert (mine.temperature, mine.max_tokens, mine.key_env) == (1.0, 512, None)
    assert big.source() == "big-1 (temperature 0, at most 64 tokens)"
    assert big.source(0.7) == "big-1 (temperature 0.7, at most 64 tokens)"
    assert KEY not in repr(big)


GOOD = "name: a, url: http://127.0.0.1/v1, model: m"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no list"),
        ("a: 1", "holds no list"),
        ("- [1", "not valid YAML in line"),
        ("- 7", "endpoint 1"),
        ("- {url: http://127.0.0.1/v1, model: m}", "`name`"),
        (f"- {{{GOOD}, key: {KEY}}}", "`key`"),
        (f"- {{{GOOD}, key_env: {KEY}}}", "NAME of an environment variable"),
        (f"- {{{GOOD}, key_env: NOT_SET_HERE}}", "NOT_SET_HERE is not set"),
        (f"- {{{GOOD}, temperature: 2.5}}", "`temperature`"),
        (f"- {{{GOOD}, temperature: '1'}}", "`temperature`"),
        (f"- {{{GOOD}, max_tokens: 0}}", "`max_tokens`"),
        (f"- {{{GOOD}}}\n- {{{GOOD}}}", "two endpoints are named `a`"),
        ("- {name: a, url: 'ftp://h/v1', model: m}", "`url`"),
        (f"- {{name: a, url: 'https://me:{KEY}@h/v1', model: m}}", "`url`"),
        (f"- {{name: a, url: 'https://h/v1?key={KEY}', model: m}}", "`url`"),
        (f"- {{name: a, url: 'https://h/v1', model: m, key_env: {KEY}: 1}}", "not valid YAML"),
    ],
)
def test_a_bad_file_is_one_clear_error_without_secrets(text: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert said in str(refused.value) and str(path) in str(refused.value)
    assert KEY not in str(refused.value)


def test_the_command_refuses_a_bad_file_before_it_makes_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = tmp_path / "feedback.db"
    assert assent("serve", "--db", db, "--endpoints", tmp_path / "none.yaml") == 2 and not db.exists()
    said = capsys.readouterr().err
    assert "none.yaml" in said.replace("\n", "") and "Traceback" not in said


def test_what_is_sent_and_what_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    models = Models(in_turn([completion("hi", "length")]))
    reply = models.client.complete(endpoint("x", key_env="MY_KEY", temperature=0.5), ASK, seed=9)
    assert reply == Reply("hi", "length")
    assert models.asked == [
        {
            "model": "secret-x",
            "messages": [{"role": "system", "content": "short"}, {"role": "user", "content": "hello"}],
            "temperature": 0.5,
            "max_tokens": 512,
            "seed": 9,
        }
    ]
    assert models.headers[0]["authorization"] == f"Bearer {KEY}"


def test_busy_and_broken_servers_are_asked_again_a_bounded_number_of_times() -> None:
    busy = httpx.Response(429, headers={"retry-after": "3"})
    models = Models(in_turn([busy, httpx.Response(503), completion("at last")]))
    assert models.client.complete(endpoint("x"), ASK, 1).text == "at last"
    assert models.slept == [3.0, 2.0]

    models = Models(lambda body: httpx.Response(500, json={"error": {"message": "out of memory"}}))
    with pytest.raises(EndpointError, match=r"end-x: answered 500: out of memory \(3 tries\)"):
        models.client.complete(endpoint("x"), ASK, 1)
    assert len(models.asked) == TRIES == 3 and models.slept == [1.0, 2.0]

    models = Models(lambda body: httpx.Response(429, headers={"retry-after": "3600"}))
    with pytest.raises(EndpointError, match="1 try"):
        models.client.complete(endpoint("x"), ASK, 1)
    assert models.slept == []


@pytest.mark.parametrize("status", [400, 404, 422, 302])
def test_what_a_retry_cannot_mend_is_asked_once(status: int) -> None:
    models = Models(lambda body: httpx.Response(status, headers={"location": "http://127.0.0.1:2/steal"}))
    with pytest.raises(EndpointError, match=str(status)):
        models.client.complete(endpoint("x"), ASK, 1)
    assert len(models.asked) == 1  # nor is a redirect followed, with the key


@pytest.mark.parametrize("status", [400, 401, 403, 500])
def test_no_message_holds_the_key(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    models = Models(lambda body: httpx.Response(status, json={"error": {"message": f"bad key {KEY}, sk-012***"}}))
    with pytest.raises(EndpointError) as refused:
        models.client.complete(endpoint("x", key_env="MY_KEY"), ASK, 1)
    assert KEY not in str(refused.value)
    assert ("sk-012" in str(refused.value)) == (status not in (401, 403))


def test_a_server_that_is_not_there_is_said_so() -> None:
    def unreachable(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    slept: list[float] = []
    with pytest.raises(EndpointError, match=r"cannot be reached: ConnectError \(3 tries\)"):
        Client(httpx.MockTransport(unreachable), slept.append).complete(endpoint("x"), ASK, 1)
    assert slept == [1.0, 2.0]

    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with pytest.raises(EndpointError, match="no answer in time"):
        Client(httpx.MockTransport(slow), slept.append).complete(endpoint("x"), ASK, 1)
    assert slept == [1.0, 2.0]  # a slow server is not asked again


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"choices": []}, "shape"),
        ({"choices": [{"message": {"content": None}}]}, "shape"),
        ([1], "shape"),
        ({"choices": [{"message": {"content": " \n"}}]}, "empty"),
        ({"choices": [{"message": {"content": "x" * (MOST_CHARACTERS + 1)}}]}, "more than"),
    ],
)
def test_a_reply_that_is_none_is_refused(body: object, said: str) -> None:
    models = Models(lambda asked: httpx.Response(200, json=body))
    with pytest.raises(EndpointError, match=said):
        models.client.complete(endpoint("x"), ASK, 1)


def test_half_a_surrogate_pair_does_not_get_in() -> None:
    raw = rb'{"choices": [{"message": {"content": "a\ud800b"}}]}'
    models = Models(lambda body: httpx.Response(200, content=raw))
    assert models.client.complete(endpoint("x"), ASK, 1).text == "a?b"


def test_our_own_endpoint_answers() -> None:
    ours = Endpoint(name="ours", url=f"{served.HOST}/v1", model=served.NAME, max_tokens=5)
    with served.client() as running:

        def reach(request: httpx.Request) -> httpx.Response:
            found = running.post(
                request.url.path, content=request.content, headers={"content-type": "application/json"}
            )
            return httpx.Response(found.status_code, content=found.content)

        client = Client(httpx.MockTransport(reach))
        turns = (Message(role="user", content="w1 w2 w3"),)
        first, again, other = (client.complete(ours, turns, seed) for seed in (1, 1, 2))
        assert first == again and first.text != other.text
        with pytest.raises(EndpointError, match=r"404: there is no model `nobody`"):
            client.complete(ours.model_copy(update={"model": "nobody"}), turns, 1)
