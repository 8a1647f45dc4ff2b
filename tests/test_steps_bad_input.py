"""A user's mistake, met on the command line: exit code 2, one message, no traceback, nothing half-written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import tiny
import torch
import toy_run
import yaml
from toy_run import assent

from assent.core.records import Answer, Demonstration, Group, Judgment, Prompt
from assent.data.render import tokenizer_fingerprint
from assent.models.load import save

DEMONSTRATIONS = [{"prompt": f"w{i} w{i + 1}", "completion": f" w{i + 2}"} for i in range(12)]
PAIRS = [{"prompt": f"w{i} w1", "chosen": " w2 w3", "rejected": f" w{i + 4}"} for i in range(12)]

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must be refused; its message."""

    def check(*arguments: object) -> str:
        code, said = assent(*arguments), capsys.readouterr()
        assert code == 2, said.err
        assert "Traceback" not in said.err + said.out
        assert said.err.count("error:") == 1, said.err
        return said.err[said.err.index("error:") :]

    return check


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a few thousand parameters."""
    folder = tmp_path_factory.mktemp("model")
    save(folder, tiny.policy(dtype=torch.float32), tiny.tokenizer(), "")
    return folder


def rows(path: Path, *given: Any) -> Path:
    """Rows as JSON lines; a string is written as it is."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in given))
    return path


def recipe(folder: Path, **steps: Any) -> Path:
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump({"name": "r", "threads": 1, "held_out": 0.0, "steps": steps}, sort_keys=False))
    return path


@pytest.fixture
def sft(tmp_path: Path, model: Path) -> Callable[..., Path]:
    """A recipe of one SFT step on given rows."""

    def write(*given: Any, **settings: Any) -> Path:
        data = rows(tmp_path / "d.jsonl", *given)
        made = {"model": str(model), "data": str(data), "template": "plain", "batch": 4, **settings}
        return recipe(tmp_path, sft=made)

    return write


def nothing_made(run: Path) -> bool:
    """Whether a run holds no artifact: no manifest, no weights, no data, no report."""
    return not [p for p in run.rglob("*") if p.name in ("manifest.json", "weights", "data", "report.html")]


# Files and rows


def test_the_rows_are_good_to_begin_with(sft: Callable[..., Path], tmp_path: Path) -> None:
    """Or the tests below would pass for another reason."""
    assert assent("run", sft(*DEMONSTRATIONS), "--out", tmp_path / "run") == 0


def test_missing_file_is_found_before_anything_runs(refused: Refused, tmp_path: Path, model: Path) -> None:
    data = rows(tmp_path / "d.jsonl", *DEMONSTRATIONS)
    path = recipe(
        tmp_path,
        sft={"model": str(model), "data": str(data), "template": "plain"},
        collect={"source": "file", "data": "pairs-to-come.jsonl"},
    )
    said = refused("run", path, "--out", tmp_path / "run")
    assert "collect.data: pairs-to-come.jsonl: no such file" in said
    assert not (tmp_path / "run").exists()


def test_missing_guideline_and_missing_reward_function_too(refused: Refused, tmp_path: Path) -> None:
    run = tmp_path / "run"
    guideline = toy_run.write_recipe(tmp_path / "a.yaml", collect={"guideline": "none.md"})
    assert "collect.guideline: none.md: no such file" in refused("run", guideline, "--out", run)
    function = toy_run.write_recipe(tmp_path / "b.yaml", ppo={"rewards": [{"function": "no_such_module:f"}]})
    assert "reward no_such_module:f: cannot be imported" in refused("run", function, "--out", run)
    assert not run.exists()


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{"prompt": "w1", ', "not JSON"),
        ("[1, 2]", "each line must be a JSON object"),
        ({"prompt": "w1"}, "a prompt without an answer"),
        ({"prompt": 3, "completion": "x"}, "prompt"),
        ({"prompt": "w1", "completion": ["x"]}, "must both be strings or both be lists"),
        ({"question": "w1", "answer_": "x"}, "no known shape"),
        ({"messages": ["hi"]}, "messages"),
        ({"format": 1, "messages": ["hi"]}, "messages"),
        ({"format": 1, "prompt": {"messages": "hi"}, "answer": {"id": "a", "text": "x"}}, "messages"),
    ],
)
def test_malformed_row(refused: Refused, sft: Callable[..., Path], tmp_path: Path, row: Any, why: str) -> None:
    said = refused("run", sft(*DEMONSTRATIONS[:3], row), "--out", tmp_path / "run")
    assert f"{tmp_path / 'd.jsonl'}:4" in said and why in said
    assert nothing_made(tmp_path / "run")


def test_a_bad_row_can_be_mended_and_run_in_the_same_folder(
    refused: Refused, sft: Callable[..., Path], tmp_path: Path
) -> None:
    refused("run", sft(*DEMONSTRATIONS, "nope"), "--out", tmp_path / "run")
    assert assent("run", sft(*DEMONSTRATIONS), "--out", tmp_path / "run") == 0


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_empty_dataset(refused: Refused, sft: Callable[..., Path], tmp_path: Path, text: str) -> None:
    path = sft()
    (tmp_path / "d.jsonl").write_text(text)
    assert "d.jsonl: is empty" in refused("run", path, "--out", tmp_path / "run")


def test_everything_held_out(refused: Refused, sft: Callable[..., Path], tmp_path: Path) -> None:
    said = refused("run", sft(DEMONSTRATIONS[0]), "held_out=0.999", "--out", tmp_path / "run")
    assert "no training demonstrations" in said and "held_out" in said


LONG = {"prompt": "w1", "completion": " " + " ".join(["w2"] * 80)}


def test_over_long_rows_are_refused_counted_or_all_there_was(
    refused: Refused, sft: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sft(*DEMONSTRATIONS, LONG, {**LONG, "prompt": "w3"})
    said = refused("run", path, "--out", tmp_path / "a")
    assert "2 of 14 rows are longer than 64 tokens" in said and "too_long: drop" in said
    assert assent("run", path, "sft.limits.too_long=drop", "--out", tmp_path / "b") == 0
    assert "demonstrations 12, dropped 2" in capsys.readouterr().err
    said = refused("run", sft(LONG), "sft.limits.too_long=drop", "--out", tmp_path / "c")
    assert "none of 1 demonstrations fits" in said


def test_a_template_that_writes_no_end_of_sequence(
    refused: Refused, sft: Callable[..., Path], tmp_path: Path
) -> None:
    """Trained on such rows, a model would never stop."""
    endless = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    (tmp_path / "endless.jinja").write_text(endless)
    said = refused("run", sft(*DEMONSTRATIONS), f"sft.template={tmp_path / 'endless.jinja'}", "--out", tmp_path / "run")
    assert "endless.jinja" in said and "<eos> 0 times in an answer, not once" in said


def test_a_row_whose_mask_is_all_zero(refused: Refused, sft: Callable[..., Path], tmp_path: Path) -> None:
    """A sampled answer without a token leaves nothing to train on: 0 / 0 in the loss."""
    prompt = Prompt.ask("w1")
    answer = Answer(id="nothing", text="", token_ids=(), tokenizer=tokenizer_fingerprint(tiny.tokenizer()))
    row = Demonstration(prompt=prompt, answer=answer).model_dump(mode="json")
    said = refused("run", sft(*DEMONSTRATIONS, row), "--out", tmp_path / "run")
    assert "answer nothing holds no token" in said


# Judgments


def collected(folder: Path, *given: Any) -> Path:
    data = rows(folder / "j.jsonl", *[g if isinstance(g, dict | str) else g.model_dump(mode="json") for g in given])
    return recipe(folder, collect={"source": "file", "data": str(data)})


GROUP = tiny.group(Prompt.ask("w1"), "w2", "w3", "w4")
A, B, C = (answer.id for answer in GROUP.answers)


def judged(*tiers: tuple[str, ...], id: str = "j1", **rest: Any) -> Judgment:
    return Judgment(id=id, group=GROUP.id, rater="r", tiers=tiers, **rest)


@pytest.mark.parametrize(
    ("judgment", "why"),
    [
        (judged((A,), (B,)), f"answer {C} of group {GROUP.id} is not placed"),
        (judged((A,), (B, C), (A,)), f"answer {A} is placed twice"),
        (judged((A,), (B,), (C,), ("made-up",)), f"answer made-up is not in group {GROUP.id}"),
        (Judgment(id="j1", group="elsewhere", rater="r", tiers=((A,),)), "on group elsewhere, which is not there"),
    ],
)
def test_tiers_that_miss_repeat_or_invent(refused: Refused, tmp_path: Path, judgment: Judgment, why: str) -> None:
    said = refused("run", collected(tmp_path, GROUP, judgment), "--out", tmp_path / "run")
    assert why in said and f"{tmp_path / 'j.jsonl'}:2" in said and "j1" in said
    assert nothing_made(tmp_path / "run")


def test_a_judgment_id_with_other_content(refused: Refused, tmp_path: Path) -> None:
    first, second = judged((A,), (B,), (C,)), judged((B,), (A,), (C,))
    said = refused("run", collected(tmp_path, GROUP, first, second), "--out", tmp_path / "run")
    assert "judgment id j1 is repeated with other content" in said
    assert "j.jsonl:3" in said and "j.jsonl:2" in said, "both places are named"
    assert assent("run", collected(tmp_path, GROUP, first, first), "--out", tmp_path / "run") == 0


def test_a_group_id_with_other_content(refused: Refused, tmp_path: Path) -> None:
    other = Group(id=GROUP.id, prompt=GROUP.prompt, answers=GROUP.answers[:2])
    said = refused("run", collected(tmp_path, GROUP, other, judged((A,), (B,), (C,))), "--out", tmp_path / "run")
    assert f"group id {GROUP.id} is repeated with other content" in said


def test_rankings_that_are_all_ties(refused: Refused, tmp_path: Path, model: Path) -> None:
    data = rows(tmp_path / "j.jsonl", GROUP.model_dump(mode="json"), judged((A, B, C)).model_dump(mode="json"))
    path = recipe(
        tmp_path,
        collect={"source": "file", "data": str(data)},
        reward={"from": {"judgments": "collect"}, "model": str(model), "template": "plain"},
    )
    assert "no training pair is left" in refused("run", path, "--out", tmp_path / "run")


def test_scores_that_are_all_the_same(refused: Refused, tmp_path: Path, model: Path) -> None:
    """Or the scale would be divided by zero, and every later reward be NaN."""
    data = rows(tmp_path / "p.jsonl", *PAIRS)
    step = {"model": str(model), "data": str(data), "template": "plain", "epochs": 1, "batch": 4}
    path = recipe(
        tmp_path,
        sft={**step, "optimiser": {"lr": 1e-12}},
        collect={"source": "file", "data": str(data)},
        reward={"from": {"policy": "sft", "judgments": "collect"}, "sampling": {"max_tokens": 4}},
    )
    with pytest.MonkeyPatch.context() as patch:
        score = "assent.steps.reward.score_all"
        from assent.engine import score_all

        def flat(*given: Any, **rest: Any) -> Any:
            found = score_all(*given, **rest)
            return found._replace(reward_N=torch.zeros_like(found.reward_N))

        patch.setattr(score, flat)
        said = refused("run", path, "--out", tmp_path / "run")
    assert "gives every answer the same score" in said


# Models


def test_a_model_without_safetensors(refused: Refused, sft: Callable[..., Path], tmp_path: Path, model: Path) -> None:
    """Pickled weights run code when they are loaded: they never are."""
    pickled = tmp_path / "pickled"
    shutil.copytree(model, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    said = refused("run", sft(*DEMONSTRATIONS, model=str(pickled)), "--out", tmp_path / "run")
    assert str(pickled) in said and "pickled weights are never loaded" in said


def test_what_is_no_model(refused: Refused, sft: Callable[..., Path], tmp_path: Path, model: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "config.json").write_text("{")
    cut = tmp_path / "cut"
    shutil.copytree(model, cut)
    (cut / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:1000])
    for name, why in (
        ("./none", "no such model folder"),
        ("none", "no such model folder"),
        (str(tmp_path / "d.jsonl"), "is a file, but a model is a folder"),
        (str(tmp_path / "empty"), "holds no config.json"),
        (str(broken), "config.json is not JSON"),
        (str(cut), "cannot be loaded"),
    ):
        path = sft(*DEMONSTRATIONS, model=name)
        assert why in refused("run", path, "--out", tmp_path / "run"), name
    assert nothing_made(tmp_path / "run")


def test_a_hub_id_that_cannot_be_reached(
    refused: Refused, sft: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    said = refused("run", sft(*DEMONSTRATIONS, model="no-such-owner/no-such-model"), "--out", tmp_path / "a")
    assert "no-such-owner/no-such-model" in said and "the hub did not give it" in said and "network" in said
    path = recipe(tmp_path, collect={"source": "file", "data": "no-such-owner/no-such-pairs"})
    said = refused("run", path, "--out", tmp_path / "b")
    assert "no-such-owner/no-such-pairs" in said and "network" in said


def test_a_model_without_a_template_is_told_which_there_are(
    refused: Refused, tmp_path: Path, model: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(model, bare)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((bare / "tokenizer_config.json").read_text())
    (bare / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": None}))
    data = rows(tmp_path / "d.jsonl", *DEMONSTRATIONS)
    said = refused("run", recipe(tmp_path, sft={"model": str(bare), "data": str(data)}), "--out", tmp_path / "run")
    assert "has no chat template" in said and "plain" in said


def test_an_architecture_that_cannot_be_built(refused: Refused, tmp_path: Path) -> None:
    for settings, why in (
        ({"hiden_size": 16}, "unknown key `hiden_size`; did you mean `hidden_size`?"),
        ({"hidden_size": 33}, "pretrain.model: is no architecture"),
        ({"num_attention_heads": 0}, "pretrain.model: is no architecture"),
        ({"max_position_embeddings": 32}, "rows of 33 tokens, but the model holds 32"),
    ):
        model = {**toy_run.RECIPE["steps"]["pretrain"]["model"], **settings}
        path = toy_run.write_recipe(tmp_path / "r.yaml", pretrain={"model": model})
        assert why in refused("run", path, "--out", tmp_path / "run", "--until", "pretrain")
    assert nothing_made(tmp_path / "run")


def test_an_unknown_dial(refused: Refused, tmp_path: Path) -> None:
    toy_run.copy(tmp_path / "run", "pretrain", "sft")
    path = toy_run.write_recipe(tmp_path / "r.yaml", collect={"raters": {"dials": {"lenght": 0.1}}})
    said = refused("run", path, "--out", tmp_path / "run", "--until", "collect")
    assert "collect.raters.dials" in said and "lenght" in said


# Recipes, as far as the command line is concerned (the rest: test_config_recipe.py)


def test_unknown_keys_and_wrong_types(refused: Refused, sft: Callable[..., Path], tmp_path: Path) -> None:
    path, out = sft(*DEMONSTRATIONS), tmp_path / "run"
    assert "did you mean `epochs`?" in refused("run", path, "sft.epoch=2", "--out", out)
    assert "got 'two'" in refused("run", path, "sft.epochs=two", "--out", out)
    assert "no such recipe" in refused("run", tmp_path / "none.yaml", "--out", out)
    assert not out.exists()


# Places to write to


def test_a_file_in_place_of_a_folder(refused: Refused, sft: Callable[..., Path], tmp_path: Path) -> None:
    path = sft(*DEMONSTRATIONS)
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        assert f"{tmp_path / 'file'}: is a file" in refused("run", path, "--out", out)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "sft").write_text("mine")
    assert "run/sft: is a file" in refused("run", path, "--out", tmp_path / "run")
    assert (tmp_path / "file").read_text() == (tmp_path / "run" / "sft").read_text() == "mine"


def test_out_on_a_device(refused: Refused, sft: Callable[..., Path]) -> None:
    assert "/dev/full: is a file" in refused("run", sft(*DEMONSTRATIONS), "--out", "/dev/full")
    assert Path("/dev/full").is_char_device()


LIMITED = """
import resource, sys
from assent.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.argv = ["assent", *sys.argv[2:]]
main()
"""


def test_a_file_size_limit(tmp_path: Path, sft: Callable[..., Path]) -> None:
    """The checkpoint does not fit: exit 2, the file is named, no part of it is left; afterwards it goes on."""
    path, run = sft(*DEMONSTRATIONS), tmp_path / "run"
    command = [sys.executable, "-c", LIMITED, "4000", "run", str(path), "--out", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f"cannot write {run}/sft/checkpoint.safetensors: File too large" in done.stderr
    assert nothing_made(run) and not list(run.rglob("*.tmp")) and not list(run.rglob("checkpoint*"))
    assert assent("run", path, "--out", run) == 0


def test_a_full_disk_while_the_model_is_exported(
    refused: Refused, sft: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors and tokenizers report it in exceptions of their own, which are no OSError."""
    path, run = sft(*DEMONSTRATIONS), tmp_path / "run"
    from safetensors import SafetensorError

    def full(folder: Path, *_: object) -> None:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr("assent.steps.export.save", full)
        said = refused("run", path, "--out", run)
    assert f"cannot write {run}/sft/weights: No space left on device" in said
    assert not (run / "sft" / "manifest.json").exists() and (run / "sft" / "checkpoint.safetensors").exists()
    assert assent("run", path, "--out", run) == 0
    assert (run / "sft" / "weights" / "model.safetensors").exists()
