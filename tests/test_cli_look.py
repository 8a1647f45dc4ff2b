"""`assent doctor`: what is there, and what would fit."""

from __future__ import annotations

import re

import pytest
import torch

from assent.cli import look
from toy_run import assent


def test_doctor_says_what_is_usable(capsys: pytest.CaptureFixture[str]) -> None:
    assert assent("doctor") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert torch.__version__ in said
    assert re.search(r"\d+ cores", said)
    assert ("none that torch can use" in said) == (not torch.cuda.is_available())
    assert "GiB free here" in said and "billion parameters" in said


def test_what_would_fit_by_hand() -> None:
    """PPO in fp32: policy and critic take 16 bytes a parameter, reference and reward model 4: 40 in all.

    A machine of 64 GiB has 48 for them (a quarter is left for activations): 48 x 2^30 / 40 parameters.
    """
    assert look._largest(64.0) == pytest.approx(48 * 2**30 / 40 / 1e9)


def test_doctor_without_a_known_memory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def unknown(name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(look.os, "sysconf", unknown)
    assert look._memory() is None
    assert assent("doctor") == 0
    assert "billion parameters" not in capsys.readouterr().out
