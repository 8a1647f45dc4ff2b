"""`assent train`: from a model and pairs to a recipe that can be read, changed and run again."""

from __future__ import annotations

from pathlib import Path
from string import Template

import yaml

from assent.artifacts.store import Store
from assent.config.recipe import suggest
from assent.core.errors import ConfigError, DataError, ModelError
from assent.core.jsonl import write_atomic
from assent.data.templates import BUILT_IN, TOKENIZER
from assent.formats.load import HUB_ID, KINDS
from assent.formats.read import read_preferences

START = Template("""\
# Written by `assent train`: from a model and preference pairs to $result.
# To change a setting, copy this file, edit the copy, and run it into a folder of its own:
#   assent run COPY.yaml --out FOLDER
name: train
model: $model
data: $pairs
held_out: 0.1                  # share of prompts never trained on, only measured
steps:
  sft:                         # imitate the chosen answers
    template: $template
    epochs: 1
    batch: 16
    optimiser: {lr: 2.0e-5}    # for 0.1 to 3 billion parameters; a model below 10 million wants 1.0e-3
    limits: {too_long: drop}   # rows that do not fit the model are left out and counted
  collect:                     # the choices, as they are in the data
    source: file
  reward:                      # learn to predict the choices
    from: {policy: sft, judgments: collect}
    epochs: 1
    batch: 32
    optimiser: {lr: 2.0e-5}
    normalise_prompts: 128     # prompts used to give the scores mean 0 and deviation 1
    sampling: {max_tokens: 128}
    limits: {too_long: drop}
""")
PPO = """\
  ppo:                         # practise against the reward model, on a leash to sft
    from: {policy: sft, reward: reward}
    iterations: 60
    prompts: 32
    kl: {coef: 0.05}           # the leash: reward lost per nat of KL to sft
    sampling: {max_tokens: 128}
    optimiser: {lr: 3.0e-6, schedule: linear, warmup: 0.0, eps: 1.0e-5}
    value: {lr: 1.0e-5, warmup: 2}
    limits: {too_long: drop, log_every: 1, checkpoint_every: 10}
"""
SIBLINGS = Template("""\
  $method:                         # practise against the reward model, each answer beside its siblings; no critic
    from: {policy: sft, reward: reward}
    iterations: 60
    prompts: 8
    answers: 4
    kl: {coef: 0.05}           # the leash: weight of the KL to sft
    sampling: {max_tokens: 128}
    optimiser: {lr: 3.0e-6, schedule: linear, warmup: 0.0, eps: 1.0e-5}
    limits: {too_long: drop, log_every: 1, checkpoint_every: 10}
""")
ONLINE_DPO = """\
  online_dpo:                  # fresh answers, ranked by the reward model, learned from in pairs
    from: {policy: sft, reward: reward}
    iterations: 60
    prompts: 16
    answers: 2
    beta: 0.1                  # how closely it is held to sft
    soft: true                 # a narrow lead counts as little as it says
    sampling: {max_tokens: 128}
    optimiser: {lr: 1.0e-6, schedule: linear, warmup: 0.0, eps: 1.0e-5}
    limits: {too_long: drop, log_every: 1, checkpoint_every: 10}
"""
DPO = """\
  dpo:                         # learn from the choices themselves; the reward model only judges
    from: {policy: sft, judgments: collect}
    beta: 0.1                  # how closely it is held to sft
    epochs: 1
    batch: 32
    sampling: {max_tokens: 128}
    optimiser: {lr: 1.0e-6}
    limits: {too_long: drop}
"""
AUDIT = Template("""\
  audit:                       # what did it learn? judged by the reward model: $judged
    from: {sft: sft, $method: $method, judge: reward}
    prompts: 200
    sampling: {max_tokens: 128}
""")
STEPS = {
    "ppo": PPO,
    "grpo": SIBLINGS.substitute(method="grpo"),
    "rloo": SIBLINGS.substitute(method="rloo"),
    "online_dpo": ONLINE_DPO,
    "dpo": DPO,
}
METHODS = (*STEPS, "none")
RECIPE = "recipe.yaml"


def write(out: Path, model: str, pairs: str, method: str, template: str) -> Path:
    """Check what was given and write `out/recipe.yaml`; its path.

    Files and folders become absolute paths, so that the recipe runs from anywhere. A recipe that is there
    already must be the same. Raises ConfigError, DataError, ModelError or ArtifactError otherwise.
    """
    if method not in METHODS:
        raise ConfigError(
            f"no method `{method}`{suggest(method, METHODS)}",
            where="--method",
            fix=f"one of: {', '.join(METHODS)}",
        )
    names = {"model": _model(model), "pairs": _pairs(pairs), "template": _template(template)}
    result = "a reward model" if method == "none" else "an aligned model"
    text = START.substitute({name: _quoted(value) for name, value in names.items()}, result=result)
    if method != "none":
        judged = "read the answers too" if method == "dpo" else "flattering, read the answers"
        text += STEPS[method] + AUDIT.substitute(method=method, judged=judged)
    path = Store(out).root / RECIPE
    if not path.exists():
        write_atomic(path, text.encode())
    elif not path.is_file() or path.read_bytes() != text.encode():
        raise ConfigError(
            "is there already and says something else", where=str(path), fix="give another folder with --out"
        )
    return path


def _model(name: str) -> str:
    path = Path(name).expanduser()
    if path.is_file():
        raise ModelError("is a file, but a model is a folder", where=name, fix="give the folder that holds config.json")
    if path.is_dir():
        weights = path / "weights"  # a step of a run, like runs/demo/sft
        return str((weights if weights.is_dir() else path).resolve())
    if (hub := HUB_ID.fullmatch(name)) and hub["name"] == name:
        return name
    raise ModelError("no such model folder", where=name, fix="give a folder, or a hub id like `owner/name`")


def _pairs(name: str) -> str:
    path = Path(name).expanduser()
    if path.exists():
        if path.is_file():
            read_preferences(path)  # what is no preference is found out now, not after an hour of fine-tuning
        return str(path.resolve())
    if HUB_ID.fullmatch(name) and not name.endswith((*KINDS, ".gz")):
        return name
    raise DataError("no such file", where=name, fix="check the path, or give a hub id like `owner/name`")


def _template(name: str) -> str:
    known = (TOKENIZER, *BUILT_IN)
    path = Path(name).expanduser()
    if name in known:
        return name
    if path.is_file():
        return str(path.resolve())
    raise ConfigError(
        f"no chat template `{name}`{suggest(name, known)}",
        where="--template",
        fix=f"one of: {', '.join(known)}, or the path of a Jinja file",
    )


def _quoted(text: str) -> str:
    """A YAML scalar on one line that reads back as `text`, whatever is in it."""
    return yaml.safe_dump(text, allow_unicode=True, default_style='"', width=float("inf")).rstrip("\n")
