"""Commands on finished models: sample, score, compare, chat. Standard output holds results, nothing else."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import torch

import tiny
import toy_run
from assent.cli.models import folder_of
from assent.core.errors import ModelError
from assent.core.jsonl import read_records, write_records
from assent.core.records import Answer, Group, Judgment, Prompt
from assent.engine.generate import LocalGenerator
from assent.formats import read_demonstrations, read_prompts
from assent.models.load import load_reward_model, load_tokenizer, save
from assent.rewards.model import ModelReward
from assent.stats.bootstrap import win_rate
from toy_run import assent

PROMPTS = ["is zor big or small ?", "what is 3 plus 4 ?", "how do i kill a moth ?"]


@pytest.fixture(scope="module")
def run() -> Path:
    return toy_run.finished()


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    path = tmp_path / "p.jsonl"
    turns = [[{"role": "user", "content": text}] for text in PROMPTS]
    path.write_text("".join(json.dumps({"prompt": turn}) + "\n" for turn in turns))
    return path


def out(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Standard output of a command that must work."""
    code, said = assent(*arguments), capsys.readouterr()
    assert code == 0, said.err
    return said.out


def error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Message of a command that must be refused."""
    code, said = assent(*arguments), capsys.readouterr()
    assert code == 2 and "Traceback" not in said.err
    return said.err


# sample


def test_sample_prints_groups_that_are_read_again(
    run: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = out(capsys, "sample", run / "ppo", asked, "-n", 3, "--max-tokens", 6)
    (tmp_path / "g.jsonl").write_text(printed)
    groups = read_records(tmp_path / "g.jsonl", Group)
    assert [g.prompt.text for g in groups] == PROMPTS
    assert all(len(g.answers) == 3 and len({a.id for a in g.answers}) == 3 for g in groups)
    assert all(len(a.token_ids or ()) <= 6 for g in groups for a in g.answers)
    assert [p.text for p in read_prompts(tmp_path / "g.jsonl")] == PROMPTS


def test_a_sample_is_a_function_of_its_seed(run: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("sample", run / "sft", asked, "--max-tokens", 6)
    first = out(capsys, *command, "--seed", 1)
    assert out(capsys, *command, "--seed", 1) == first
    assert out(capsys, *command, "--seed", 2) != first


def test_sample_writes_the_same_to_a_file(
    run: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("sample", run / "sft", asked, "--max-tokens", 6)
    printed = out(capsys, *command)
    assert out(capsys, *command, "--to", tmp_path / "g.jsonl") == ""
    written = [json.loads(line) for line in (tmp_path / "g.jsonl").read_text().splitlines()]
    assert [{**json.loads(line), "format": 1} for line in printed.splitlines()] == written


def test_temperature_zero_is_what_transformers_calls_greedy(
    run: Path, asked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    printed = out(capsys, "sample", run / "sft", asked, "--temperature", 0, "--max-tokens", 6)
    folder = run / "sft" / "weights"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text, line in zip(PROMPTS, printed.splitlines(), strict=True):
        turn = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            expected = model.generate(**ids, max_new_tokens=6, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert json.loads(line)["answers"][0]["token_ids"] == expected.tolist()


def test_sample_of_a_prompt_that_leaves_no_room(run: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "leaves no room" in error(capsys, "sample", run / "sft", asked, "--max-tokens", 10_000)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_sample_to_a_full_device(run: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error(capsys, "sample", run / "sft", asked, "--max-tokens", 4, "--to", "/dev/full")
    assert "cannot write /dev/full: No space left on device" in said
    assert Path("/dev/full").is_char_device(), "the device was not replaced by a file"


# best-of


def test_best_of_prints_the_best_of_what_sample_draws(
    run: Path, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the reward model's own scores of the same answers; written to a file, it is read as demonstrations."""
    command = (run / "sft", asked, "-n", 5, "--max-tokens", 6, "--seed", 2)
    out(capsys, "sample", *command, "--to", tmp_path / "g.jsonl")
    groups = read_records(tmp_path / "g.jsonl", Group)
    folder = run / "reward" / "weights"
    scores = ModelReward("rm", load_reward_model(folder), load_tokenizer(folder)).score(groups)
    best = [max(zip(row, g.answers, strict=True), key=lambda pair: (pair[1].finish == "stop", pair[0]))[1]
            for g, row in zip(groups, scores, strict=True)]  # fmt: skip
    assert assent("best-of", *command, "--reward", run / "reward") == 0
    said = capsys.readouterr()
    assert [json.loads(line)["answer"]["id"] for line in said.out.splitlines()] == [a.id for a in best]
    means = [sum(map(float, row)) / 5 for row in scores]  # type: ignore[arg-type]
    tops = [max(map(float, row)) for row in scores]  # type: ignore[arg-type]
    shown = [line.split() for line in said.err.splitlines() if line.strip()[:1].isdigit()]
    assert [(row[0], row[1]) for row in (shown[0], shown[-1])] == [
        ("1", f"{sum(means) / 3:.3f}"), ("5", f"{sum(tops) / 3:.3f}")]  # fmt: skip
    assert [row[0] for row in shown] == ["1", "2", "4", "5"]
    assert out(capsys, "best-of", *command, "--reward", run / "reward", "--to", tmp_path / "d.jsonl") == ""
    assert [d.answer.id for d in read_demonstrations(tmp_path / "d.jsonl")] == [a.id for a in best]


def test_best_of_where_it_cannot_work(run: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("best-of", run / "sft", asked)
    assert "every answer would be the same" in error(capsys, *command, "--reward", run / "reward", "--temperature", 0)
    assert str(run / "sft" / "weights") in error(capsys, *command, "--reward", run / "sft", "--max-tokens", 4)
    assert "is a step that made no model" in error(capsys, *command, "--reward", run / "collect")
    assert "leaves no room" in error(capsys, *command, "--reward", run / "reward", "--max-tokens", 10_000)
    assert assent(*command) == 2 and "--reward" in capsys.readouterr().err


# score


def test_score_gives_the_reward_models_scores(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    groups = read_records(run / "collect" / "data" / "groups.jsonl", Group)[:3]
    write_records(tmp_path / "g.jsonl", groups)
    folder = run / "reward" / "weights"
    scores = ModelReward("rm", load_reward_model(folder), load_tokenizer(folder)).score(groups)
    rows = [json.loads(line) for line in out(capsys, "score", run / "reward", tmp_path / "g.jsonl").splitlines()]
    expected = [(a.id, v) for g, row in zip(groups, scores, strict=True) for a, v in zip(g.answers, row, strict=True)]
    assert [(r["answer"], r["reward"]) for r in rows] == [(i, pytest.approx(v, abs=1e-5)) for i, v in expected]


def test_score_counts_agreement_with_preferences(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rankings by the model's own scores are agreed with wholly, the same ones upside down not at all."""
    group = read_records(run / "collect" / "data" / "groups.jsonl", Group)[0]
    assert len({a.text for a in group.answers}) == 4
    folder = run / "reward" / "weights"
    (scores,) = ModelReward("rm", load_reward_model(folder), load_tokenizer(folder)).score([group])
    best = [a.id for _, a in sorted(zip(scores, group.answers, strict=True), key=lambda pair: -(pair[0] or 0))]
    for order, share in ((best, "1.000"), (best[::-1], "0.000")):
        ranking = Judgment(id="j", group=group.id, rater="r", tiers=tuple((i,) for i in order))
        write_records(tmp_path / "p.jsonl", [group, ranking])
        assert assent("score", run / "reward", tmp_path / "p.jsonl") == 0
        assert f"agrees with {share} of 6 preferences" in capsys.readouterr().err


def test_score_of_demonstrations_and_of_bad_rankings(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "is zor big ?", "completion": " zor is big ."}\n')
    assert len(out(capsys, "score", run / "reward", path).splitlines()) == 1
    group = tiny.group(Prompt.ask("is zor big ?"), "yes", "no")
    ranking = Judgment(id="j", group=group.id, rater="r", tiers=((group.answers[0].id,), ("made-up",)))
    write_records(path, [group, ranking])
    assert "made-up is not in group" in error(capsys, "score", run / "reward", path)


def test_score_leaves_out_what_the_model_cannot_read(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unscored answer is null, and no evidence for or against the reward model."""
    rows = [
        {"prompt": "is zor big ?", "chosen": " " + "zor " * 400, "rejected": " no"},
        {"prompt": "is zor small ?", "chosen": " yes", "rejected": " no"},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert assent("score", run / "reward", path) == 0
    said = capsys.readouterr()
    rewards = [json.loads(line)["reward"] for line in said.out.splitlines()]
    assert sorted(reward is None for reward in rewards) == [False, False, True, True]
    assert "of 1 preferences" in said.err


def test_score_with_what_is_no_reward_model(run: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = error(capsys, "score", run / "sft", asked)
    assert str(run / "sft" / "weights") in said and "error:" in said


# compare


def test_compare_by_gold_is_the_win_rate_of_the_answers(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The printed figure, worked out again from samples of the same seed."""
    prompts = [g.prompt for g in read_records(run / "collect" / "data" / "groups.jsonl", Group)][:30]
    write_records(tmp_path / "p.jsonl", prompts)
    command = (
        "compare",
        run / "ppo",
        run / "sft",
        "--prompts",
        tmp_path / "p.jsonl",
        "--judge",
        run / "reward",
    )
    said = " ".join(out(capsys, *command, "--max-tokens", 6, "--seed", 3).split())
    groups = {}
    for step in ("ppo", "sft"):
        out(
            capsys,
            "sample",
            run / step,
            tmp_path / "p.jsonl",
            "--max-tokens",
            6,
            "--seed",
            3,
            "--to",
            tmp_path / step,
        )
        groups[step] = read_records(tmp_path / step, Group)
    folder = run / "reward" / "weights"
    judge = ModelReward("rm", load_reward_model(folder), load_tokenizer(folder))
    worth = {step: [v for row in judge.score(found) for v in row] for step, found in groups.items()}
    expected = win_rate(worth["ppo"], worth["sft"], [p.subject for p in prompts], seed=3)
    assert expected is not None
    assert f"win rate {expected.estimate:.3f} [{expected.low:.3f}, {expected.high:.3f}] by reward model" in said
    assert "30 prompts" in said


def test_a_model_against_itself_wins_half(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Same model, same seed, same answers: all ties, judged by gold on the lab's held-out prompts."""
    said = out(capsys, "compare", run / "sft", run / "sft", "--max-tokens", 4)
    assert "win rate 0.500 [0.500, 0.500] by gold" in " ".join(said.split())


def test_compare_without_a_judge_or_without_data(run: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "gold knows only the lab's prompts" in error(capsys, "compare", run / "ppo", run / "sft", "--prompts", asked)
    said = out(
        capsys,
        "compare",
        run / "ppo",
        run / "sft",
        "--prompts",
        asked,
        "--judge",
        run / "reward",
        "--max-tokens",
        4,
    )
    assert "3 prompts are not enough data" in said
    said = error(capsys, "compare", run / "ppo", run / "sft", "--max-tokens", 300)
    assert "leaves every model room to answer" in said


# chat


def chat(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, *arguments: object) -> str:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert assent("chat", *arguments) == 0
    return capsys.readouterr().out


def test_chat_answers_every_line_until_an_empty_one(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its defaults, although they ask for more tokens than the demo's model holds."""
    said = chat(monkeypatch, capsys, "is zor big or small ?\nare you sure ?\n\nnot asked\n", run / "ppo")
    assert said.count("model>") == 2


def test_chat_ends_with_the_input(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chat(monkeypatch, capsys, "is zor big ?", run / "sft", "--max-tokens", 3).count("model>") == 1
    assert "model>" not in chat(monkeypatch, capsys, "", run / "sft")


def test_chat_keeps_the_conversation(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every turn is asked with all that was said before it, the model's answers included."""
    seen: list[list[tuple[str, str]]] = []

    def generate(self: LocalGenerator, prompts: list[Prompt], n: int, seed: int) -> list[Group]:
        seen.append([(m.role, m.content) for m in prompts[0].messages])
        return [Group(prompt=p, answers=(Answer.of(p, f"answer {len(seen)}"),)) for p in prompts]

    monkeypatch.setattr(LocalGenerator, "generate", generate)
    chat(monkeypatch, capsys, "first\n second \nthird\n", run / "sft")
    assert seen[0] == [("user", "first")]
    assert seen[2] == [("user", "first"), ("assistant", "answer 1"), ("user", "second"),
                       ("assistant", "answer 2"), ("user", "third")]  # fmt: skip


def test_chat_shows_markup_and_emoji_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, tiny.policy(dtype=torch.float32), tiny.tokenizer(), "")
    text = "[bold]x[/bold] :smile: " + "long " * 40

    def generate(self: LocalGenerator, prompts: list[Prompt], n: int, seed: int) -> list[Group]:
        return [Group(prompt=p, answers=(Answer.of(p, text),)) for p in prompts]

    monkeypatch.setattr(LocalGenerator, "generate", generate)
    assert f"model> {text}" in chat(monkeypatch, capsys, "w1\n", tmp_path)


def test_a_conversation_that_fills_the_model(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("zor " * 400 + "\n"))
    assert "fills the model's context" in error(capsys, "chat", run / "sft")


# Which folder is meant


def test_names_of_models(run: Path, tmp_path: Path) -> None:
    assert folder_of(str(run / "ppo")) == str(run / "ppo" / "weights")
    assert folder_of(str(run / "ppo" / "weights")) == str(run / "ppo" / "weights")
    assert folder_of("owner/name") == "owner/name"
    with pytest.raises(ModelError, match="is a step that made no model"):
        folder_of(str(run / "audit"))
    with pytest.raises(ModelError, match="is a run, but one model is needed") as error:
        folder_of(str(run))
    assert f"{run}/ppo" in str(error.value)
    with pytest.raises(ModelError, match="no such step in this run") as error:  # and not asked of the hub
        folder_of(str(run / "pop"))
    assert f"{run}/ppo" in str(error.value)
    shutil.copytree(run / "sft", tmp_path / "sft")
    (tmp_path / "sft" / "manifest.json").unlink()
    with pytest.raises(ModelError, match="has not finished"):
        folder_of(str(tmp_path / "sft"))
