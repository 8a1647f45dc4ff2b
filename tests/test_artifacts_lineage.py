"""From a model back to what made it; a parent that was made again does not pass for the one that was read."""

from __future__ import annotations

from pathlib import Path

import pytest

from assent.artifacts import manifest as manifests
from assent.artifacts.lineage import Node, trace
from assent.artifacts.manifest import Manifest, Parent
from assent.artifacts.store import Store
from assent.core.errors import ArtifactError


def made(store: Store, step: str, content: str, **parents: str) -> None:
    """A finished step that read the named steps, each as `step:content`."""
    read = {}
    for name, parent in parents.items():
        of, _, had = parent.partition(":")
        read[name] = [Parent(step=of, content=had)]
    found = Manifest(
        step=step, kind=step, key=step, content=content, parents=read, seed=0, seconds=0, headline={"n": 1}
    )
    manifests.write(store.folder(step), found)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made(store := Store(tmp_path), "sft", "s1")
    made(store, "collect", "c1", policy="sft:s1")
    made(store, "reward", "r1", policy="sft:s1", judgments="collect:c1")
    made(store, "ppo", "p1", policy="sft:s1", reward="reward:r1")
    return store


def names(node: Node) -> dict[str, object]:
    return {f"{way}={p.step}": names(p) for way, group in node.parents.items() for p in group}


def test_every_way_down_is_followed(store: Store) -> None:
    sft: dict[str, object] = {}
    collect = {"policy=sft": sft}
    reward = {"policy=sft": sft, "judgments=collect": collect}
    assert names(trace(store, "ppo")) == {"policy=sft": sft, "reward=reward": reward}


def test_nothing_is_marked_while_nothing_changed(store: Store) -> None:
    def marked(node: Node) -> list[str]:
        here = [node.step] if node.remade else []
        return here + [s for group in node.parents.values() for p in group for s in marked(p)]

    assert marked(trace(store, "ppo")) == []
    made(store, "collect", "c2", policy="sft:s1")
    assert marked(trace(store, "ppo")) == ["collect"]
    assert marked(trace(store, "collect")) == []


def test_a_parent_that_is_gone(store: Store) -> None:
    (store.folder("collect") / manifests.FILE).unlink()
    with pytest.raises(ArtifactError, match="step `collect` has not finished"):
        trace(store, "ppo")
    assert trace(store, "sft").content == "s1"
