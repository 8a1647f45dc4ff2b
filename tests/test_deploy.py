"""The files under deploy/: no default secret, nothing open that should not be, commands that exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from assent.cli.main import app

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def test_every_variable_must_be_given_and_stands_in_the_example(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    named = re.findall(r"\$\{([A-Z_]+)([^}]*)\}", text)
    assert named and all(rest.startswith(":?") for _, rest in named), "a default would be everybody's password"
    example = dict(line.split("=", 1) for line in (DEPLOY / "env.example").read_text().splitlines() if "=" in line)
    assert example.keys() == {name for name, _ in named} and example["POSTGRES_PASSWORD"] == ""


def test_only_the_proxy_is_reached_from_outside(compose: dict[str, Any]) -> None:
    assert {name for name, service in compose["services"].items() if "ports" in service} == {"proxy"}
    assert compose["networks"]["inside"]["internal"] and compose["services"]["db"]["networks"] == ["inside"]
    assert "/metrics" in (DEPLOY / "Caddyfile").read_text()


def test_the_service_is_started_with_options_that_exist(compose: dict[str, Any]) -> None:
    words = compose["services"]["web"]["command"]
    options = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"}).output
    assert words[0] == "assent"
    for option in [word for word in words[2:] if word.startswith("--")]:
        assert option in options
    assert "ASSENT_DB" in options and "ASSENT_DB" in compose["services"]["web"]["environment"]


def test_the_service_starts_without_what_its_image_leaves_out() -> None:
    pattern = re.search(r"grep -vE '\^\(([^)]+)\)=='", (DEPLOY / "Dockerfile").read_text())
    assert pattern
    left_out = pattern[1].split("|")
    code = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {left_out!r}:
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
from assent.cli.main import app
import assent.cli.serve, assent.cli.feedback, assent.web.app, assent.feedback.store, assent.feedback.demo
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_page_names_the_files(compose: dict[str, Any]) -> None:
    page = (ROOT / "docs/deploy.md").read_text()
    for words in [shlex.split(line) for line in page.splitlines() if line.startswith("    cp ")]:
        assert (ROOT / words[1]).exists()
