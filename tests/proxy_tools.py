"""The files of deploy/ at work without containers: the real Caddyfile before the service that compose.yaml starts."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from feedback_store import port_for_later

DEPLOY = Path(__file__).parent.parent / "deploy"
DOMAIN = "rate.localhost"
"""For a name under localhost Caddy makes the certificate itself, with everything else as it is in production."""
READ_ONLY = """
import os, sys
OPEN = {paths!r}
def refuse(event, args):
    if event == "open":
        path, mode, flags = args
        writes = set(mode) & set("wax+") if isinstance(mode, str) else flags & (os.O_WRONLY | os.O_RDWR)
        if writes and isinstance(path, str) and not os.path.abspath(path).startswith(OPEN):
            raise OSError(30, "Read-only file system", path)
sys.addaudithook(refuse)
"""
"""What `read_only: true` does, for Python's own files: nothing but what is mounted can be written."""


class Model(BaseHTTPRequestHandler):
    """A chat model that thinks until it may answer."""

    asked, may_answer = threading.Event(), threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.asked.set()
        self.may_answer.wait(60)
        said = json.dumps({"choices": [{"message": {"content": f"It is {self.path}."}, "finish_reason": "stop"}]})
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class _ToProxy(httpx.HTTPTransport):
    """Connects to the proxy's ports wherever a request is addressed to, as if its domain pointed there."""

    def __init__(self, ports: dict[str, int], trusted: ssl.SSLContext, address: str) -> None:
        super().__init__(verify=trusted, local_address=address)
        self._ports = ports

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(host="127.0.0.1", port=self._ports[request.url.scheme])
        extensions = {**request.extensions, "sni_hostname": request.url.host}
        there = httpx.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=extensions
        )
        return super().handle_request(there)


@dataclass(frozen=True)
class Live:
    """A service behind its proxy. `join`: path of the first lead's link; `log`: what the proxy wrote."""

    join: str
    log: Path
    exports: Path
    service: int
    ports: dict[str, int]
    trusted: ssl.SSLContext

    def browser(self, address: str = "127.0.0.1", **headers: str) -> httpx.Client:
        """A browser without scripts, at an address of this machine."""
        transport = _ToProxy(self.ports, self.trusted, address)
        origin = f"https://{DOMAIN}"
        return httpx.Client(base_url=origin, transport=transport, headers={"origin": origin, **headers}, timeout=120)


@contextmanager
def live(db: str, folder: Path) -> Iterator[Live]:
    """Start both, and stop them."""
    with ExitStack() as held:
        service, http, https = (held.enter_context(port_for_later()) for _ in range(3))
        model = held.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Model))
        threading.Thread(target=model.serve_forever, daemon=True).start()
        held.callback(model.shutdown)
        web = held.enter_context(_service(db, folder, service, model.server_address[1]))
        trusted = held.enter_context(proxy(folder, {"http": http, "https": https}, service))
        link = re.search(rf"https://{DOMAIN}(/join/\S+)", web.read_text())
        assert link, web.read_text()
        yield Live(link[1], folder / "caddy.log", folder / "exports", service, {"http": http, "https": https}, trusted)


@contextmanager
def _service(db: str, folder: Path, port: int, model: int) -> Iterator[Path]:
    """The command of compose.yaml with addresses of this machine, and models; its output."""
    about = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["web"]
    names = {"0.0.0.0": "127.0.0.1", "/exports": str(folder / "exports")}
    words = [names.get(word, word) for word in about["command"]]
    words = [re.sub(r"\$\{DOMAIN[^}]*\}", DOMAIN, word) for word in words]
    models = [{"name": f"m{n}", "url": f"http://127.0.0.1:{model}/{n}", "model": f"m{n}"} for n in (1, 2)]
    (folder / "models.yaml").write_text(yaml.safe_dump(models))
    (folder / "exports").mkdir()
    (folder / "tmp").mkdir()
    assert about["read_only"] and about["tmpfs"] == ["/tmp"] and about["volumes"] == ["exports:/exports"]
    mounted = (str(folder / "exports"), str(folder / "tmp"), "/dev/")
    (folder / "sitecustomize.py").write_text(READ_ONLY.format(paths=mounted))
    env = {k: v for k, v in os.environ.items() if k != "FORWARDED_ALLOW_IPS"}  # here the proxy is at 127.0.0.1
    env |= {"ASSENT_DB": db, "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", *words, "--port", str(port), "--endpoints", str(folder / "models.yaml")]
    with _running(command, env, folder / "web.log", lambda: _listens(port)) as log:
        yield log


@contextmanager
def proxy(folder: Path, ports: dict[str, int], service: int) -> Iterator[ssl.SSLContext]:
    """Caddy with the real Caddyfile but for its ports and where the service is; whom its visitors are to trust."""
    env = {**os.environ, "DOMAIN": DOMAIN, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    adapt = ["caddy", "adapt", "--config", str(DEPLOY / "Caddyfile")]
    made = json.loads(subprocess.run(adapt, env=env, check=True, capture_output=True).stdout)
    apps = made["apps"]
    apps["http"] |= {"http_port": ports["http"], "https_port": ports["https"]}
    (server,) = apps["http"]["servers"].values()
    server["listen"] = [f"127.0.0.1:{ports['https']}"]
    apps["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
    made["admin"] = {"disabled": True}
    text = json.dumps(made)
    assert text.count('"web:8000"') == 1
    (folder / "caddy.json").write_text(text.replace("web:8000", f"127.0.0.1:{service}"))
    root = folder / "caddy/pki/authorities/local/root.crt"

    def has_certificate() -> bool:
        if not _listens(ports["https"]) or not root.exists():
            return False
        with socket.create_connection(("127.0.0.1", ports["https"])) as plain, suppress(ssl.SSLError):
            ssl.create_default_context(cafile=root).wrap_socket(plain, server_hostname=DOMAIN).close()
            return True
        return False

    command = ["caddy", "run", "--config", str(folder / "caddy.json")]
    with _running(command, env, folder / "caddy.log", has_certificate):
        yield ssl.create_default_context(cafile=root)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _running(command: list[str], env: dict[str, str], log: Path, ready: Callable[[], bool]) -> Iterator[Path]:
    """A process that serves, with its log; it is asked to stop at the end, and does."""
    with log.open("w") as file, subprocess.Popen(command, env=env, stdout=file, stderr=file, cwd=log.parent) as child:
        try:
            for _ in range(1200):
                assert child.poll() is None, log.read_text()
                if ready():
                    break
                with suppress(subprocess.TimeoutExpired):
                    child.wait(0.1)
            else:
                raise AssertionError(f"{command[0]} does not serve: {log.read_text()}")
            yield log
        finally:
            child.terminate()
