"""The peers' own environments: `.venv-bench/NAME`, made on demand from the full pins in `envs/NAME.txt`.

Their pins never meet ours. A finished environment carries the pins it was made from, so that a changed list
makes a new one. Two first lines of a list may say how: `# pip: --no-deps` adds options to pip.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.side import ROOT, BenchError

PINS = Path(__file__).resolve().parent / "envs"
HOME = ROOT / ".venv-bench"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def python_of(name: str | None) -> Path:
    """The interpreter of an environment, which is made if it is not there; None is the project's own."""
    if name is None:
        return Path(sys.executable)
    pins = PINS / f"{name}.txt"
    if not pins.exists():
        raise BenchError(f"no pins for the environment `{name}`: {pins} is missing")
    folder, text = HOME / name, pins.read_text(encoding="utf-8")
    done, mark = folder / ".done", hashlib.sha256(text.encode()).hexdigest()
    python = folder / "bin" / "python"
    if done.exists() and done.read_text(encoding="utf-8") == mark:
        return python
    _make(name, folder, python, pins, text)
    done.write_text(mark, encoding="utf-8")
    return python


def _make(name: str, folder: Path, python: Path, pins: Path, text: str) -> None:
    count = sum(bool(re.match(r"\w", line)) for line in text.splitlines())
    print(f"bench: making .venv-bench/{name} from {count} pinned packages (downloads 0.4 to 4 GB; once)", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _run(name, [sys.executable, "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if torch := re.search(r"^torch==[\w.]+", text, re.MULTILINE):
        _torch(name, pip, torch.group())
    options = [word for line in re.findall(r"^# pip: (.+)$", text, re.MULTILINE) for word in line.split()]
    _run(name, [*pip, "--retries", "10", *options, "-r", str(pins)])


def _torch(name: str, pip: list[str], pin: str) -> None:
    """As scripts/setup does: the CPU build on Linux without an NVIDIA GPU, the default build elsewhere."""
    tries = [[*pip, pin]]
    if sys.platform == "linux" and not shutil.which("nvidia-smi"):
        tries = [[*pip, f"{pin}+cpu"], [*pip, pin, "--index-url", CPU_INDEX], *tries]
    for command in tries[:-1]:
        if subprocess.run(command, capture_output=True).returncode == 0:
            return
    _run(name, tries[-1])


def _run(name: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise BenchError(f"cannot make .venv-bench/{name}: `{' '.join(command[:6])} ...` failed\n{last}")
