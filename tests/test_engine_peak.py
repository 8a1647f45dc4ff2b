"""The peak is what was held at most since it was forgotten, and not before."""

from __future__ import annotations

import pytest
import torch

from assent.engine import peak

CPU = torch.device("cpu")
SIZE = 256 * 2**20


def test_what_was_held_for_a_moment_is_seen_until_it_is_forgotten() -> None:
    if not peak.forget(CPU):
        pytest.skip("this system keeps no peak that can be reset")
    before = peak.held(CPU)
    torch.ones(SIZE // 4)  # held, and given back at once
    after = peak.held(CPU)
    assert before and after and after - before > 0.9 * SIZE
    peak.forget(CPU)
    again = peak.held(CPU)
    assert again and after - again > 0.9 * SIZE


def test_a_system_that_does_not_tell_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(peak, "CLEAR", tmp_path / "none" / "clear_refs")
    monkeypatch.setattr(peak, "STATUS", tmp_path / "none" / "status")
    assert not peak.forget(CPU)
    assert peak.held(CPU) is None
