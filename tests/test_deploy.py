"""The files under deploy/: no default secret, nothing open that should not be, commands that exist."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
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


def left_out() -> list[str]:
    pattern = re.search(r"grep -vE '\^\(([^)]+)\)=='", (DEPLOY / "Dockerfile").read_text())
    assert pattern
    return pattern[1].split("|")


def test_the_service_starts_without_what_its_image_leaves_out() -> None:
    code = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0].replace("_", "-") in {left_out()!r}:
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
from assent.cli.main import app
import assent.cli.serve, assent.cli.feedback, assent.web.app, assent.feedback.store, assent.feedback.demo
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_the_image_installs_needs_nothing_else() -> None:
    kept = {line.split("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()} - set(left_out())
    names = {canonicalize_name(name) for name in kept}
    image = {"python_version": "3.12", "python_full_version": "3.12.0", "extra": ""}
    for name in sorted(names):
        for wanted in map(Requirement, importlib.metadata.requires(name) or ()):
            if wanted.marker is None or wanted.marker.evaluate(image):
                assert canonicalize_name(wanted.name) in names, f"{name} needs {wanted.name}"


def test_the_image_builds_a_whole_package_of_what_it_copies(tmp_path: Path) -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for words in [line.split()[1:] for line in text.splitlines() if line.startswith("COPY ")]:
        for source in words[:-1]:
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy2
            copy(ROOT / source, tmp_path / source)
    # As `pip install --no-build-isolation` does, with the backend of the lock.
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=tmp_path, check=True)
    with zipfile.ZipFile(next((tmp_path / "dist").glob("*.whl"))) as wheel:
        held = set(wheel.namelist())
    files = [path for path in (ROOT / "src/assent").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert not {path.relative_to(ROOT / "src").as_posix() for path in files} - held
    assert "pip install --no-cache-dir --no-deps --no-build-isolation ." in text


def test_the_image_lets_its_user_write_where_exports_go(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    web = compose["services"]["web"]
    (folder,) = (volume.split(":")[1] for volume in web["volumes"])
    assert web["read_only"] and folder == web["command"][web["command"].index("--exports") + 1]
    # A new volume takes its owner from the folder of the image.
    made = text.index(f"mkdir {folder} && chown assent {folder}")
    assert text.index("useradd --create-home assent") < made < text.index("USER assent")


def test_the_health_check_asks_where_the_service_listens(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    command = compose["services"]["web"]["command"]
    assert "--port" not in command and "EXPOSE 8000" in text and "http://127.0.0.1:8000/healthz" in text
    assert "reverse_proxy web:8000\n" in (DEPLOY / "Caddyfile").read_text()


def test_the_page_names_the_files(compose: dict[str, Any]) -> None:
    page = (ROOT / "docs/deploy.md").read_text()
    for words in [shlex.split(line) for line in page.splitlines() if line.startswith("    cp ")]:
        assert (ROOT / words[1]).exists()
