"""Killed with SIGKILL anywhere, resumed: the same weights, figures and samples, bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SEED = 20240611


@pytest.mark.parametrize(
    "name",
    [
        "sft",
        "reward",
        "dpo",
        "dpo-kto",
        "dpo-simpo",
        "online-dpo",
        "grpo",
        "grpo-resample",
        "rloo",
        "ppo",
        "ppo-shared",
        "ppo-adapter",
    ],
)
def test_killed_anywhere_and_resumed(name: str, tmp_path: Path) -> None:
    """Two runs of ten steps killed up to six times each, one whose disk fills up, against a straight one."""
    print(f"seed {SEED}")
    path = os.pathsep.join([str(HERE), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])])
    found = subprocess.run(
        [sys.executable, str(HERE / "killing.py"), name, str(tmp_path), str(SEED)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    print(found.stdout, found.stderr[-4000:])
    assert found.returncode == 0
    assert found.stdout.strip().endswith("done")
    assert found.stdout.count("the same bits") == 2 and "limited: File too large" in found.stdout
