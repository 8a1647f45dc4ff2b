"""A user's mistake, met on the command line: exit code 2, one message, no traceback, nothing half-written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch

import tiny
import toy_run
from assent.core.records import Answer, Demonstration, Prompt
from assent.data.render import tokenizer_fingerprint
from toy_data import DEMONSTRATIONS, model_folder, nothing_made, recipe, refused, rows, sft
from toy_run import assent

# Files and rows


def test_the_rows_are_good_to_begin_with(tmp_path: Path) -> None:
    """Or the tests below would pass for another reason."""
    assert assent("run", sft(tmp_path, *DEMONSTRATIONS), "--out", tmp_path / "run") == 0


def test_missing_file_is_found_before_anything_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = rows(tmp_path / "d.jsonl", *DEMONSTRATIONS)
    path = recipe(
        tmp_path,
        sft={"model": str(model_folder()), "data": str(data), "template": "plain"},
        collect={"source": "file", "data": "pairs-to-come.jsonl"},
    )
    said = refused(capsys, "run", path, "--out", tmp_path / "run")
    assert "collect.data: pairs-to-come.jsonl: no such file" in said
    assert not (tmp_path / "run").exists()


def test_missing_guideline_and_missing_reward_function_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    guideline = toy_run.write_recipe(tmp_path / "a.yaml", collect={"guideline": "none.md"})
    assert "collect.guideline: none.md: no such file" in refused(capsys, "run", guideline, "--out", run)
    function = toy_run.write_recipe(tmp_path / "b.yaml", ppo={"rewards": [{"function": "no_such_module:f"}]})
    assert "reward no_such_module:f: cannot be imported" in refused(capsys, "run", function, "--out", run)
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
def test_malformed_row(capsys: pytest.CaptureFixture[str], tmp_path: Path, row: Any, why: str) -> None:
    said = refused(capsys, "run", sft(tmp_path, *DEMONSTRATIONS[:3], row), "--out", tmp_path / "run")
    assert f"{tmp_path / 'd.jsonl'}:4" in said and why in said
    assert nothing_made(tmp_path / "run")


def test_a_bad_row_can_be_mended_and_run_in_the_same_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    refused(capsys, "run", sft(tmp_path, *DEMONSTRATIONS, "nope"), "--out", tmp_path / "run")
    assert assent("run", sft(tmp_path, *DEMONSTRATIONS), "--out", tmp_path / "run") == 0


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_empty_dataset(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str) -> None:
    path = sft(tmp_path)
    (tmp_path / "d.jsonl").write_text(text)
    assert "d.jsonl: is empty" in refused(capsys, "run", path, "--out", tmp_path / "run")


def test_everything_held_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = refused(capsys, "run", sft(tmp_path, DEMONSTRATIONS[0]), "held_out=0.999", "--out", tmp_path / "run")
    assert "no training demonstrations" in said and "held_out" in said


LONG = {"prompt": "w1", "completion": " " + " ".join(["w2"] * 80)}


def test_over_long_rows_are_refused_counted_or_all_there_was(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = sft(tmp_path, *DEMONSTRATIONS, LONG, {**LONG, "prompt": "w3"})
    said = refused(capsys, "run", path, "--out", tmp_path / "a")
    assert "2 of 14 rows are longer than 64 tokens" in said and "too_long: drop" in said
    assert assent("run", path, "sft.limits.too_long=drop", "--out", tmp_path / "b") == 0
    assert "demonstrations 12, dropped 2" in capsys.readouterr().err
    said = refused(capsys, "run", sft(tmp_path, LONG), "sft.limits.too_long=drop", "--out", tmp_path / "c")
    assert "none of 1 demonstrations fits" in said


def test_a_template_that_writes_no_end_of_sequence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Trained on such rows, a model would never stop."""
    endless = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    endless += "{% if add_generation_prompt %}<assistant>{% endif %}"
    (tmp_path / "endless.jinja").write_text(endless)
    path = sft(tmp_path, *DEMONSTRATIONS, template=str(tmp_path / "endless.jinja"))
    said = refused(capsys, "run", path, "--out", tmp_path / "run")
    assert "endless.jinja" in said and "<eos> 0 times in an answer, not once" in said


def test_a_row_whose_mask_is_all_zero(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A sampled answer without a token leaves nothing to train on: 0 / 0 in the loss."""
    prompt = Prompt.ask("w1")
    answer = Answer(id="nothing", text="", token_ids=(), tokenizer=tokenizer_fingerprint(tiny.tokenizer()))
    row = Demonstration(prompt=prompt, answer=answer).model_dump(mode="json")
    said = refused(capsys, "run", sft(tmp_path, *DEMONSTRATIONS, row), "--out", tmp_path / "run")
    assert "answer nothing holds no token" in said


# Models


def test_a_model_without_safetensors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Pickled weights run code when they are loaded: they never are."""
    pickled = tmp_path / "pickled"
    shutil.copytree(model_folder(), pickled)
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    said = refused(capsys, "run", sft(tmp_path, *DEMONSTRATIONS, model=str(pickled)), "--out", tmp_path / "run")
    assert str(pickled) in said and "pickled weights are never loaded" in said


def test_what_is_no_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken"
    shutil.copytree(model_folder(), broken)
    (broken / "config.json").write_text("{")
    cut = tmp_path / "cut"
    shutil.copytree(model_folder(), cut)
    (cut / "model.safetensors").write_bytes((model_folder() / "model.safetensors").read_bytes()[:1000])
    for name, why in (
        ("./none", "no such model folder"),
        ("none", "no such model folder"),
        (str(tmp_path / "d.jsonl"), "is a file, but a model is a folder"),
        (str(tmp_path / "empty"), "holds no config.json"),
        (str(broken), "config.json is not JSON"),
        (str(cut), "cannot be loaded"),
    ):
        path = sft(tmp_path, *DEMONSTRATIONS, model=name)
        assert why in refused(capsys, "run", path, "--out", tmp_path / "run"), name
    assert nothing_made(tmp_path / "run")


def test_a_hub_id_that_cannot_be_reached(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    said = refused(
        capsys,
        "run",
        sft(tmp_path, *DEMONSTRATIONS, model="no-such-owner/no-such-model"),
        "--out",
        tmp_path / "a",
    )
    assert "no-such-owner/no-such-model" in said and "the hub did not give it" in said and "network" in said
    path = recipe(tmp_path, collect={"source": "file", "data": "no-such-owner/no-such-pairs"})
    said = refused(capsys, "run", path, "--out", tmp_path / "b")
    assert "no-such-owner/no-such-pairs" in said and "network" in said


def test_a_model_without_a_template_is_told_which_there_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(model_folder(), bare)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((bare / "tokenizer_config.json").read_text())
    (bare / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": None}))
    data = rows(tmp_path / "d.jsonl", *DEMONSTRATIONS)
    said = refused(
        capsys,
        "run",
        recipe(tmp_path, sft={"model": str(bare), "data": str(data)}),
        "--out",
        tmp_path / "run",
    )
    assert "has no chat template" in said and "plain" in said


def test_an_architecture_that_cannot_be_built(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for settings, why in (
        ({"hiden_size": 16}, "unknown key `hiden_size`; did you mean `hidden_size`?"),
        ({"hidden_size": 33}, "pretrain.model: is no architecture"),
        ({"num_attention_heads": 0}, "pretrain.model: is no architecture"),
        ({"max_position_embeddings": 32}, "rows of 33 tokens, but the model holds 32"),
    ):
        model = {**toy_run.RECIPE["steps"]["pretrain"]["model"], **settings}
        path = toy_run.write_recipe(tmp_path / "r.yaml", pretrain={"model": model})
        assert why in refused(capsys, "run", path, "--out", tmp_path / "run", "--until", "pretrain")
    assert nothing_made(tmp_path / "run")


def test_an_unknown_dial(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    toy_run.copy(tmp_path / "run", "pretrain", "sft")
    path = toy_run.write_recipe(tmp_path / "r.yaml", collect={"raters": {"dials": {"lenght": 0.1}}})
    said = refused(capsys, "run", path, "--out", tmp_path / "run", "--until", "collect")
    assert "collect.raters.dials" in said and "lenght" in said


# Recipes, as far as the command line is concerned (the rest: test_config_recipe.py)


def test_unknown_keys_and_wrong_types(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, out = sft(tmp_path, *DEMONSTRATIONS), tmp_path / "run"
    assert "did you mean `epochs`?" in refused(capsys, "run", path, "sft.epoch=2", "--out", out)
    assert "got 'two'" in refused(capsys, "run", path, "sft.epochs=two", "--out", out)
    assert "no such recipe" in refused(capsys, "run", tmp_path / "none.yaml", "--out", out)
    assert not out.exists()


# Places to write to


def test_a_file_in_place_of_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = sft(tmp_path, *DEMONSTRATIONS)
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        assert f"{tmp_path / 'file'}: is a file" in refused(capsys, "run", path, "--out", out)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "sft").write_text("mine")
    assert "run/sft: is a file" in refused(capsys, "run", path, "--out", tmp_path / "run")
    assert (tmp_path / "file").read_text() == (tmp_path / "run" / "sft").read_text() == "mine"


def test_out_on_a_device(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "/dev/full: is a file" in refused(capsys, "run", sft(tmp_path, *DEMONSTRATIONS), "--out", "/dev/full")
    assert Path("/dev/full").is_char_device()


LIMITED = """
import resource, sys
from assent.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.argv = ["assent", *sys.argv[2:]]
main()
"""


def test_a_file_size_limit(tmp_path: Path) -> None:
    """The checkpoint does not fit: exit 2, the file is named, no part of it is left; later it goes on."""
    path, run = sft(tmp_path, *DEMONSTRATIONS), tmp_path / "run"
    command = [sys.executable, "-c", LIMITED, "4000", "run", str(path), "--out", str(run)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f"cannot write {run}/sft/checkpoint.safetensors: File too large" in done.stderr
    assert nothing_made(run) and not list(run.rglob("*.tmp")) and not list(run.rglob("checkpoint*"))
    assert assent("run", path, "--out", run) == 0


def test_a_full_disk_while_the_model_is_exported(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors and tokenizers report it in exceptions of their own, which are no OSError."""
    path, run = sft(tmp_path, *DEMONSTRATIONS), tmp_path / "run"
    from safetensors import SafetensorError

    def full(folder: Path, *_: object) -> None:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr("assent.steps.export.save", full)
        said = refused(capsys, "run", path, "--out", run)
    assert f"cannot write {run}/sft/weights: No space left on device" in said
    assert not (run / "sft" / "manifest.json").exists() and (run / "sft" / "checkpoint.safetensors").exists()
    assert assent("run", path, "--out", run) == 0
    assert (run / "sft" / "weights" / "model.safetensors").exists()
