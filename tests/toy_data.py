"""A model folder of a few thousand parameters, rows to train it on, and what to expect of a refusal."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny
from assent.models.load import save
from toy_run import assent

DEMONSTRATIONS = [{"prompt": f"w{i} w{i + 1}", "completion": f" w{i + 2}"} for i in range(12)]
PAIRS = [{"prompt": f"w{i} w1", "chosen": " w2 w3", "rejected": f" w{i + 4}"} for i in range(12)]


@cache
def model_folder() -> Path:
    """`tiny.policy` with its tokenizer, in Hugging Face form. Look, but do not change."""
    folder = Path(tempfile.mkdtemp(prefix="assent-model-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    save(folder, tiny.policy(dtype=torch.float32), tiny.tokenizer(), "")
    return folder


def rows(path: Path, *given: Any) -> Path:
    """Rows as JSON lines; a string is written as it is."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in given))
    return path


def recipe(folder: Path, **steps: Any) -> Path:
    """A recipe of the given steps, with nothing held out."""
    path = folder / "r.yaml"
    made = {"name": "r", "threads": 1, "held_out": 0.0, "steps": steps}
    path.write_text(yaml.safe_dump(made, sort_keys=False))
    return path


def sft(folder: Path, *given: Any, **settings: Any) -> Path:
    """A recipe of one SFT step on given rows, which stand in `d.jsonl`."""
    data = rows(folder / "d.jsonl", *given)
    made = {"model": str(model_folder()), "data": str(data), "template": "plain", "batch": 4, **settings}
    return recipe(folder, sft=made)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Message of a command that must be refused: exit code 2, one error, no traceback."""
    code, said = assent(*arguments), capsys.readouterr()
    assert code == 2, said.err
    assert "Traceback" not in said.err + said.out
    assert said.err.count("error:") == 1, said.err
    return said.err[said.err.index("error:") :]


def nothing_made(run: Path) -> bool:
    """Whether a run holds no artifact: no manifest, no weights, no data, no report."""
    return not [p for p in run.rglob("*") if p.name in ("manifest.json", "weights", "data", "report.html")]
