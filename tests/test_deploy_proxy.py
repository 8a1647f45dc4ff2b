"""The service as deploy/ runs it, asked through the real Caddyfile over https."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from feedback_store import PASSWORD, fresh_url, port_for_later
from proxy_tools import DOMAIN, Live, Model, live, proxy
from web_tools import token_in

pytestmark = pytest.mark.skipif(shutil.which("caddy") is None, reason="no caddy on the PATH")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("deployed")
    with fresh_url("postgresql", folder) as url, live(url.replace("+psycopg", ""), folder) as found:
        yield found


@pytest.fixture(scope="module")
def lead(deployed: Live) -> Iterator[httpx.Client]:
    """The first lead, joined by the link that the service printed."""
    with deployed.browser() as http:
        form = {"name": "Ada", "password": PASSWORD, "again": PASSWORD, "csrf": token_in(http.get(deployed.join).text)}
        for bad in ({"origin": "https://elsewhere.example"}, {"origin": f"http://{DOMAIN}"}):
            assert http.post(deployed.join, data=form, headers=bad).status_code == 403
        assert http.post(deployed.join, data=form | {"csrf": "0" * 64}).status_code == 403
        # What the proxy is told of hosts and schemes it does not pass on.
        forged = {"x-forwarded-proto": "http", "x-forwarded-host": "elsewhere.example", "forwarded": "proto=http"}
        joined = http.post(deployed.join, data=form, headers=forged)
        assert (joined.status_code, joined.headers["location"]) == (303, "/")
        cookie = joined.headers["set-cookie"]
        assert cookie.startswith("__Host-assent_session=")
        assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        yield http


def tries(http: httpx.Client, n: int, headers: dict[str, str] | None = None) -> list[int]:
    form = {"name": "nobody", "password": "not the right one", "csrf": token_in(http.get("/sign-in").text)}
    return [http.post("/sign-in", data=form, headers=headers).status_code for _ in range(n)]


def test_whoever_comes_without_tls_is_sent_to_https(deployed: Live) -> None:
    with deployed.browser() as http:
        answer = http.get(f"http://{DOMAIN}{deployed.join}?a=1")
    assert (answer.status_code, answer.headers["location"]) == (308, f"https://{DOMAIN}{deployed.join}?a=1")


def test_a_redirect_of_the_service_stays_on_https(deployed: Live) -> None:
    with deployed.browser() as http:
        answer = http.get("/join/secret/")
    assert not answer.headers.get("location", "").startswith("http:"), "the link's secret would travel in clear"


def test_pages_have_their_headers_and_are_not_compressed(lead: httpx.Client) -> None:
    page, style = lead.get("/lead"), lead.get("/static/app.css")
    for answer in (page, style):
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "content-encoding" not in page.headers and style.headers["content-encoding"] == "gzip"
    again = lead.get("/static/app.css", headers={"if-none-match": style.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/%6detrics", "//metrics", "/lead/../metrics", "/Metrics"])
def test_metrics_are_not_for_outside(deployed: Live, lead: httpx.Client, path: str) -> None:
    outside = lead.get(httpx.URL(f"https://{DOMAIN}{path}"), follow_redirects=True)
    assert outside.status_code == 404 and "assent_queue" not in outside.text
    session = lead.cookies.get("__Host-assent_session")
    inside = httpx.get(
        f"http://127.0.0.1:{deployed.service}/metrics", headers={"cookie": f"__Host-assent_session={session}"}
    )
    assert inside.status_code == 200 and "assent_queue_items 0.0" in inside.text


def test_the_throttle_sees_where_people_are_and_nothing_they_make_up(deployed: Live) -> None:
    with deployed.browser("127.0.0.2") as bad, deployed.browser("127.0.0.3") as good:
        assert tries(bad, 5) == [403] * 5
        assert tries(bad, 2, {"x-forwarded-for": "127.0.0.3", "forwarded": "for=127.0.0.3"}) == [429] * 2
        assert tries(good, 1) == [403]


def test_too_long_a_body_is_refused_and_a_file_of_some_size_is_taken(lead: httpx.Client) -> None:
    token = token_in(lead.get("/lead/data").text)
    assert lead.post("/lead/guidelines", data={"csrf": token, "text": "x" * 2**19}).status_code == 413
    row = b'{"prompt": "p", "chosen": "%s", "rejected": "b"}\n' % (b"a" * 2**20)
    page = lead.post("/lead/data", data={"csrf": token}, files={"file": ("rows.jsonl", row * 8)})
    assert page.status_code == 200 and "rows.jsonl" in page.text
    assert lead.post("/lead/data", data={"csrf": token}, files={"file": ("rows.jsonl", row * 33)}).status_code == 413


def test_a_slow_model_is_waited_for_while_others_are_served(deployed: Live, lead: httpx.Client) -> None:
    headers = {"x-csrf-token": token_in(lead.get("/chat").text)}
    chat = lead.post("/api/chat/start", json={"key": "a", "mode": "ordinary"}, headers=headers).json()["chat"]
    said: list[httpx.Response] = []
    body = {"chat": chat["id"], "key": "b", "text": "What is it?"}
    asking = threading.Thread(target=lambda: said.append(lead.post("/api/chat/say", json=body, headers=headers)))
    asking.start()
    try:
        assert Model.asked.wait(60)
        with deployed.browser() as other:
            assert other.get("/healthz").text == "ok" and not said
    finally:
        Model.may_answer.set()
        asking.join(60)
    texts = {answer["text"] for answer in said[0].json()["chat"]["answers"]}
    assert texts == {"It is /1/chat/completions.", "It is /2/chat/completions."}


def test_a_snapshot_is_written_though_only_two_folders_can_be(deployed: Live, lead: httpx.Client) -> None:
    form = {"csrf": token_in(lead.get("/lead/data").text)}
    assert lead.post("/lead/export", data=form).status_code == 303
    (snapshot,) = deployed.exports.iterdir()
    assert (snapshot / "datasheet.json").is_file()


def test_what_the_proxy_logs_of_a_service_that_is_down_holds_no_link(tmp_path: Path) -> None:
    with port_for_later() as service, port_for_later() as http, port_for_later() as https:
        ports = {"http": http, "https": https}
        with proxy(tmp_path, ports, service) as trusted:
            log = tmp_path / "caddy.log"
            with Live("/join/secret", log, tmp_path, service, ports, trusted).browser(referer="/join/secret") as lead:
                assert lead.get("/join/secret").status_code == 502
    assert "connection refused" in log.read_text() and "secret" not in log.read_text()
