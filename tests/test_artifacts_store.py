"""A run folder: done once, resumed, never overwritten, locked, and refused when it was changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assent.artifacts import manifest as manifests
from assent.artifacts.manifest import Manifest, Parent, reuse_key
from assent.artifacts.store import RESOLVED, Store
from assent.core.errors import ArtifactError
from assent.train import checkpoint


def finish(store: Store, step: str = "sft", key: str = "k", **rest: Any) -> Manifest:
    """Begin a step, leave one file of weights, write its manifest."""
    assert store.begin(step, key, {})
    weights = store.folder(step) / "weights"
    weights.mkdir()
    (weights / "model").write_text("numbers")
    content, files = store.content(step)
    made = Manifest(step=step, kind="sft", key=key, content=content, seed=0, seconds=1.0, files=files, **rest)
    manifests.write(store.folder(step), made)
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "run")


# Reuse


def test_a_finished_step_is_not_begun_again(store: Store) -> None:
    finish(store)
    before = {p: p.stat().st_mtime_ns for p in store.root.rglob("*")}
    assert store.begin("sft", "k", {}) is False
    assert {p: p.stat().st_mtime_ns for p in store.root.rglob("*")} == before


def test_a_finished_step_of_another_recipe_is_never_overwritten(store: Store) -> None:
    finish(store)
    with pytest.raises(ArtifactError, match="give another --out"):
        store.begin("sft", "other", {})
    store.verify("sft")


def test_what_a_killed_step_reached_belongs_to_its_recipe(store: Store) -> None:
    store.begin("sft", "k", {})
    (store.folder("sft") / checkpoint.FILE).write_text("hours of work")
    with pytest.raises(ArtifactError, match="another recipe"):
        store.begin("sft", "other", {})
    assert store.begin("sft", "k", {})
    assert (store.folder("sft") / checkpoint.FILE).read_text() == "hours of work"


def test_a_step_that_failed_before_any_checkpoint_may_be_mended(store: Store) -> None:
    """A wrong setting is found at once, corrected, and run into the same folder."""
    store.begin("sft", "wrong", {})
    (store.folder("sft") / "metrics.jsonl").write_text('{"step": 0, "loss": NaN}')
    assert store.begin("sft", "right", {})
    assert [p.name for p in store.folder("sft").iterdir()] == [RESOLVED]


def test_half_an_artifact_does_not_become_content(store: Store) -> None:
    """A step killed while it exported leaves files; the resumed one must not count them."""
    whole = finish(store, "whole").content
    store.begin("sft", "k", {})
    folder = store.folder("sft")
    (folder / "weights").mkdir()
    (folder / "weights" / ".model.123.tmp").write_text("half")
    (folder / ".metrics.jsonl.123.tmp").write_text("half")
    (folder / checkpoint.FILE).write_text("state")
    assert finish(store).content == whole
    assert not list(folder.glob(".*"))


def test_a_folder_of_somebody_else_is_left_alone(store: Store) -> None:
    mine = store.folder("sft") / "weights" / "my-model"
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    with pytest.raises(ArtifactError, match="no step made"):
        store.begin("sft", "k", {})
    assert mine.read_text() == "precious"
    assert not (store.folder("sft") / RESOLVED).exists()


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ArtifactError, match="is a file, but a run needs a folder"):
            Store(root)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "sft").write_text("")
    with pytest.raises(ArtifactError, match="is a file, but the step needs a folder"):
        Store(tmp_path / "run").begin("sft", "k", {})


# The key


def test_key_depends_on_everything_that_decides_the_result() -> None:
    parent = {"policy": [Parent(step="sft", content="c")]}
    base = reuse_key("ppo", {"epochs": 2}, parent, {"d": "hash"}, 0)
    others = [
        reuse_key("sft", {"epochs": 2}, parent, {"d": "hash"}, 0),
        reuse_key("ppo", {"epochs": 3}, parent, {"d": "hash"}, 0),
        reuse_key("ppo", {"epochs": 2}, {"policy": [Parent(step="sft", content="d")]}, {"d": "hash"}, 0),
        reuse_key("ppo", {"epochs": 2}, {"a": [Parent(step="sft", content="c")]}, {"d": "hash"}, 0),
        reuse_key("ppo", {"epochs": 2}, parent, {"d": "other"}, 0),
        reuse_key("ppo", {"epochs": 2}, parent, {"d": "hash"}, 1),
    ]
    assert len({base, *others}) == 7


def test_key_depends_on_content_not_on_the_name_of_a_step_or_the_place_of_a_file() -> None:
    one = reuse_key("ppo", {}, {"policy": [Parent(step="sft", content="c")]}, {"a.jsonl": "h"}, 0)
    two = reuse_key("ppo", {}, {"policy": [Parent(step="copy", content="c")]}, {"b.jsonl": "h"}, 0)
    assert one == two


# Damage


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": "sft"}', '{"format": 2}'])
def test_damaged_manifest(store: Store, text: str) -> None:
    finish(store)
    (store.folder("sft") / manifests.FILE).write_text(text)
    for look in (store.manifest, store.verify, lambda step: store.begin(step, "k", {})):
        with pytest.raises(ArtifactError, match="damaged manifest") as error:
            look("sft")
        assert "delete the step's folder" in str(error.value)


def test_manifest_that_is_no_text(store: Store) -> None:
    finish(store)
    (store.folder("sft") / manifests.FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(ArtifactError, match="damaged manifest"):
        store.manifest("sft")


def test_changed_and_missing_files_are_found(store: Store) -> None:
    finish(store)
    store.verify("sft")
    weights = store.folder("sft") / "weights" / "model"
    weights.write_text("number5")  # as long as before
    with pytest.raises(ArtifactError, match="changed since the step finished"):
        store.verify("sft")
    weights.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        store.verify("sft")


def test_unfinished_steps_are_not_read(store: Store) -> None:
    with pytest.raises(ArtifactError, match="has not finished"):
        store.verify("sft")
    assert store.finished() == []


def test_content_is_names_and_bytes_of_weights_and_data_alone(store: Store) -> None:
    """Metrics hold wall-clock times: two equal runs must have one content."""
    first, files = finish(store).content, store.manifest("sft").files  # type: ignore[union-attr]
    assert list(files) == ["weights/model"]
    (store.folder("sft") / "metrics.jsonl").write_text('{"seconds": 3}')
    assert store.content("sft")[0] == first
    (store.folder("sft") / "data").mkdir()
    (store.folder("sft") / "data" / "x").write_text("")
    assert store.content("sft")[0] != first


def test_finished_steps_come_in_the_order_they_finished(store: Store) -> None:
    import os

    for age, step in enumerate(("b", "a", "c")):
        finish(store, step)
        os.utime(store.folder(step) / manifests.FILE, (1000 + age, 1000 + age))
    assert [m.step for m in store.finished()] == ["b", "a", "c"]


def test_environment_says_what_decides_the_bits() -> None:
    found = manifests.environment()
    assert {"assent", "revision", "python", "platform", "cpus", "packages"} <= found.keys()
    assert {"torch", "numpy", "safetensors"} <= found["packages"].keys()
    json.dumps(found)


# The lock

HOLD = """
import sys
from pathlib import Path
from assent.artifacts.store import Store
with Store(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_kept_out_and_a_killed_one_lets_go(store: Store) -> None:
    command = [sys.executable, "-c", HOLD, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "held\n"
        with pytest.raises(ArtifactError, match="another process is working"), store.lock():
            raise AssertionError("two processes in one run")
        other.kill()
    with store.lock():
        pass


def test_a_lock_is_given_back_when_a_step_fails(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.lock():
        raise ZeroDivisionError
    with store.lock():
        pass


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with (
        pytest.raises(ArtifactError, match=r"cannot be written \(Permission denied\)"),
        Store(tmp_path / "x").lock(),
    ):
        pass
