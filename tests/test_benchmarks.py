"""The benchmark harness, without any peer: counting, order, ratios, refusal, table, bad input, a worker's life."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks import __main__ as command
from benchmarks import ceiling, environments, flops, paired, results, session, side, workload
from benchmarks.flops import ATTENTION, LM, REWARD, VALUE, Shape
from benchmarks.rows import ROWS
from benchmarks.workload import Ids, Task, Work

TOY = Shape(hidden=2, layers=1, query=2, key=1, mlp=3, vocabulary=5)
GROUP = Ids(prompt=[7, 7, 7], answers=[[8, 2], [8, 8, 2]])


# Useful arithmetic, by hand


def test_flops_of_one_group_by_hand() -> None:
    """Prompt of 3, answers of 2 and 3. For the LM the last token of each is no input: 3 + 1 + 2 tokens.

    A layer has 2x2 query, two 2x1 key and value, 2x2 output, two 2x3 and one 3x2: 30 weights, 60 FLOPs a token.
    Keys seen: prompt 1+2+3, first answer 4, second 4+5: 19; each costs 2 FLOPs x query 2 x (scores and sum).
    The head is needed at the prompt's end (once) and after 1 and 2 answer tokens: 4 times 2x5.
    """
    mix = flops.forward(TOY, [GROUP], LM)
    assert mix[ATTENTION] == 19 * 8
    assert mix[2, 5] == 4 * 20
    assert sum(mix.values()) == 6 * 60 + 19 * 8 + 4 * 20
    assert mix[2, 2] == 6 * 2 * 8 and mix[2, 1] == 6 * 2 * 4 and mix[3, 2] == 6 * 12


def test_a_reward_reads_the_last_token_and_a_value_every_position() -> None:
    reward, value = flops.forward(TOY, [GROUP], REWARD), flops.forward(TOY, [GROUP], VALUE)
    assert reward[3, 2] == 8 * 12  # all 3 + 2 + 3 tokens
    # (2, 1) is the head here, too: its FLOPs come on top of key and value.
    assert reward[2, 1] - 8 * 2 * 4 == 2 * 4
    assert value[2, 1] - 8 * 2 * 4 == 4 * 4


def test_training_is_three_forwards_and_a_shared_prompt_is_counted_once() -> None:
    once = sum(flops.forward(TOY, [GROUP]).values())
    assert sum(flops.useful(TOY, [GROUP], {"lm": 3}).values()) == 3 * once
    alone = [Ids(GROUP.prompt, [answer]) for answer in GROUP.answers]
    # Apart, the prompt's 3 tokens, its 6 keys and one head position are computed a second time.
    assert sum(flops.forward(TOY, alone).values()) == once + 3 * 60 + 6 * 8 + 20


def test_sizes_come_from_the_config(tmp_path: Path) -> None:
    config = {
        "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 16, "vocab_size": 40,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert flops.shape_of(tmp_path) == Shape(8, 3, 8, 4, 16, 40)
    (tmp_path / "config.json").write_text(json.dumps({**config, "head_dim": 5}))
    assert flops.shape_of(tmp_path).query == 20


def test_efficiency_weighs_each_matrix_by_its_own_rate() -> None:
    """100 FLOPs at 10/s and 100 at 50/s take 12 s; attention's 50 at the mean rate 3 s more; done in 30 s."""
    mix = {(2, 2): 100.0, (2, 5): 100.0, ATTENTION: 50.0}
    found = ceiling.summary(mix, [[2, 2, 10.0], [2, 5, 50.0], [9, 9, 1.0]], 30.0)
    assert found["floor_seconds"] == pytest.approx(15.0)
    assert found["efficiency"] == pytest.approx(0.5)
    assert found["ceiling_gflops"] == pytest.approx(250 / 15 / 1e9)
    assert ceiling.faster([[2, 2, 1.0], [2, 5, 4.0]], [[2, 2, 3.0], [2, 5, 2.0]]) == [[2, 2, 3.0], [2, 5, 4.0]]


# Order, ratios, exponents


def test_turns_alternate() -> None:
    assert [session.order(i) for i in range(3)] == [("ours", "theirs"), ("theirs", "ours"), ("ours", "theirs")]


class Scripted:
    """A side whose steps take given seconds; `calls` is shared, so that the order is seen."""

    def __init__(self, name: str, seconds: list[float], calls: list[str], loss: float = 1.0) -> None:
        self.name, self.seconds, self.calls, self.first = name, iter(seconds), calls, loss

    def __call__(self, do: str) -> dict[str, Any]:
        self.calls.append(self.name)
        return {"loss": self.first} if do == "loss" else {"seconds": next(self.seconds), "loss": 1.0}


def test_rounds_warm_up_once_and_pair_in_turns() -> None:
    calls: list[str] = []
    sides: Any = {"ours": Scripted("a", [99, 1, 2, 3], calls), "theirs": Scripted("b", [99, 4, 5, 6], calls)}
    seconds, _ = paired.rounds(a_session(rounds=3), sides)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert seconds == {"ours": [1, 2, 3], "theirs": [4, 5, 6]}


def test_ratio_is_the_median_of_paired_ratios() -> None:
    """4/1, 5/2, 30/3: the median is 4, while the medians' ratio would be 2.5."""
    assert session.ratios([1, 2, 3], [4, 5, 30]) == {"value": 4, "low": 2.5, "high": 10}


def test_exponent_of_known_growth() -> None:
    sizes = [1, 2, 4, 8]
    assert session.exponent(sizes, [3 * s for s in sizes]) == pytest.approx(1)
    assert session.exponent(sizes, [0.5 * s**1.5 for s in sizes]) == pytest.approx(1.5)
    assert session.exponent(sizes, [7, 7, 7, 7]) == pytest.approx(0)


# Agreement


def test_sides_that_disagree_are_refused() -> None:
    agreed = session.check_agreement({"loss": 2.0, "grad_norm": 1.0}, {"loss": 2.0001, "grad_norm": 1.5})
    assert agreed["relative_difference"] == pytest.approx(5e-5, rel=1e-3)
    assert agreed["grad_norm_difference"] == pytest.approx(1 / 3)
    for wrong in (2.001, float("nan")):
        with pytest.raises(side.Refused, match="losses differ"):
            session.check_agreement({"loss": 2.0}, {"loss": wrong})


def test_a_refused_row_exits_1_before_anything_is_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []

    def side_of(name: str, loss: float) -> Any:
        return lambda *_: Opened(Scripted(name, [], calls, loss))

    monkeypatch.setattr(session.Session, "build", lambda self: Path("nowhere"))
    monkeypatch.setattr(session.Session, "ours", side_of("a", 2.0))
    monkeypatch.setattr(session.Session, "theirs", side_of("b", 2.01))
    assert command.main(["sft", "--reduced"]) == 1
    assert "losses differ by 5.0e-03" in capsys.readouterr().err
    assert calls == ["a", "b"]


class Opened:
    """A scripted side as a context manager."""

    def __init__(self, asked: Scripted) -> None:
        self.asked = asked

    def __enter__(self) -> Scripted:
        return self.asked

    def __exit__(self, *_: object) -> None:
        pass


# The command line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sfft"], "no row `sfft`; did you mean `sft`?"),
        ([], "name a row: sft"),
        (["sft", "--peer", "vllm"], "`sft` has no peer `vllm` (it has: trl)"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(words) == 2
    assert says in capsys.readouterr().err


def test_without_a_gpu_cuda_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert command.main(["sft", "--device", "cuda"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_every_row_has_what_it_needs() -> None:
    for name, row in ROWS.items():
        for peer in row.peers.values():
            assert peer.goal >= peer.minimum and peer.variants, name
            assert peer.env is None or (environments.PINS / f"{peer.env}.txt").exists(), name
            for module in filter(None, (peer.module, row.ours, f"benchmarks.{row.measure}")):
                path = session.ROOT / (module.replace(".", "/") + ".py")
                assert path.exists(), f"{name} names {module}"
        assert set(row.models) <= {"policy", "reference", "reward", "critic"}, name


def test_an_unknown_environment_is_named() -> None:
    with pytest.raises(side.BenchError, match="no pins for the environment `none`"):
        environments.python_of("none")
    assert environments.python_of(None) == Path(sys.executable)


# The work


def test_data_are_seeded_ragged_and_end_in_eos() -> None:
    work = Work(groups=40, prompt=(3, 6), answers=2, answer=(1, 4), vocabulary=9, seed=5)
    groups = workload.draw(work)
    assert groups == workload.draw(work) != workload.draw(replace(work, seed=6))
    answers = [answer for group in groups for answer in group.answers]
    assert {len(g.prompt) for g in groups} == {3, 4, 5, 6} and {len(a) for a in answers} == {1, 2, 3, 4}
    assert all(a[-1] == workload.EOS and workload.EOS not in a[:-1] for a in answers)
    assert {t for g in groups for t in g.prompt} == set(range(workload.FIRST, 9))


def test_text_gives_back_the_ids(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    workload._tokenizer(50).save_pretrained(str(tmp_path))
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path))
    ids = [3, 49, 17, workload.EOS]
    assert tokenizer(workload.text(ids))["input_ids"] == ids


# A worker process

ECHO = '''
"""A side for a test: prints where it must not, knows its loss, fails when asked for memory."""
print("chatter at import")


class Echo:
    def __init__(self, task):
        self.task = task

    def loss(self):
        print("chatter")
        return {"loss": float(len(self.task.groups))}

    def step(self):
        return {"loss": 0.5, "seconds": 7.0}


def build(task):
    return Echo(task)
'''


def test_a_worker_answers_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echo_side.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    work = Work(groups=3, prompt=(2, 2), answers=1, answer=(2, 2), vocabulary=9)
    workload.build(tmp_path, work, ())
    task = Task(row="x", folder=str(tmp_path), work=vars(work), threads=1)
    with side.start("test", Path(sys.executable), "echo_side", task) as ask:
        assert ask("loss") == {"loss": 3.0}
        assert ask("step") == {"loss": 0.5, "seconds": 7.0}
        assert ask("peak")["peak_mb"] < 1000
        assert "torch" in ask.versions
        with pytest.raises(side.BenchError, match="unknown request `fly`"):
            ask("fly")
        assert ask.process.wait() == 1, "it ends by itself"
    assert "chatter at import" in (tmp_path / "test.log").read_text()


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    task = Task(row="x", folder=str(tmp_path), work={}, threads=1)
    with pytest.raises(side.BenchError, match="No module named 'no_such_side'"):
        side.start("test", Path(sys.executable), "no_such_side", task)


# Results


def a_session(rounds: int = 5) -> session.Session:
    return session.Session("sft", ROWS["sft"], ROWS["sft"].peers["trl"], session.Options(rounds=rounds, threads=1))


def a_record(**changes: Any) -> dict[str, Any]:
    cost = {"median": 1.5, "tokens_per_second": 2200.4, "peak_mb": 812.6, "efficiency": 0.61}
    measured = {"value": 2.5, "low": 2.25, "high": 3.0, "ours": cost, "theirs": {**cost, "efficiency": 0.2}}
    record = results.finish(a_session(), {**measured, **changes}, "trl")
    where = {"cpu": "a chip", "threads": 2, "device": "cpu"}
    return {**record, "machine": where, "revision": "abc", "date": "2026-01-02T03:04:05+00:00", **changes}


def test_the_table_is_made_from_the_files(tmp_path: Path) -> None:
    results.save(a_record(), tmp_path)
    results.save(a_record(row="efficiency", peer_key="self", unit="share", value=0.4, minimum=0.5), tmp_path)
    results.save(a_record(reduced=True, value=99.0), tmp_path)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n")
    results.fill(page, tmp_path)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text and "99" not in text
    assert (
        "| SFT step, ragged | TRL 1.16 | **2.50x**, 2.25x to 3.00x | – | 2.00x | 3.00x "
        "| 1.50 s, 2,200 tokens/s, 813 MB | 1.50 s, 2,200 tokens/s, 813 MB | 61 % / 20 % |" in text
    )
    assert "| 40 % (below), " in text
    assert "Measured on a chip, 2 threads, cpu; revision abc; 2026-01-02." in text
    page.write_text("no markers")
    with pytest.raises(side.BenchError, match="markers"):
        results.fill(page, tmp_path)


def test_the_peer_in_one_batch_is_its_first_variant() -> None:
    """3 s at once against our 1.5: 2x. With one way only there is nothing to tell; memory counts megabytes."""
    record = a_record(theirs={"tried": {"one batch": {"seconds": 3.0}, "pieces": {"seconds": 2.0}}})
    assert results._as_it_comes(record) == "2.0x"
    assert results._as_it_comes(a_record(theirs={"tried": {"one batch": {"seconds": 3.0}}})) == "–"
    ours = {"peaks_mb": [100.0], "peak_mb": 100.0, "median": 1.0}
    tried = {"one batch": {"seconds": 9.0, "peak_mb": 800.0}, "pieces": {"peak_mb": 200.0}}
    assert results._as_it_comes(a_record(ours=ours, theirs={"tried": tried})) == "8.0x"


def test_an_exponent_is_met_from_above() -> None:
    record = a_record(unit="exponent", minimum=1.0, goal=1.0, value=1.2)
    assert results.verdict(record) == "exponent 1.20 (above)"
    assert results.verdict({**record, "value": 0.9}) == "**exponent 0.90**"


def test_the_plot_shows_ratios_only(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    results.plot([a_record(unit="share")], path)
    assert not path.exists()
    results.plot([a_record(), a_record(unit="share")], path)
    assert path.read_text().count('id="patch_') > 3
