"""`assent new`: whole projects that Assent itself can read, or nothing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from assent.config import recipe as recipes
from assent.core.errors import ConfigError
from assent.core.hashing import is_held_out
from assent.core.jsonl import read_rows, write_records
from assent.core.records import Answer, Group, preference_pairs
from assent.formats import read_demonstrations, read_preferences, read_prompts
from assent.stats.bootstrap import MIN_UNITS
from assent.steps import project

ROWS = ("prompts.jsonl", "demonstrations.jsonl", "pairs.jsonl")


@pytest.fixture(params=project.GOALS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    project.create(tmp_path / "mine", request.param)
    return tmp_path / "mine"


def test_the_files_and_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my [first] project"
    project.create(folder, "tone")
    said = capsys.readouterr().out
    assert sorted(p.name for p in folder.iterdir()) == sorted(project.FILES)
    assert all(name in said for name in project.FILES)
    assert f"cd {shlex.quote(str(folder))}\n  assent run recipe.yaml" in said
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]


def test_recipe_runs_the_loop_on_the_files_of_the_project(made: Path) -> None:
    loaded = recipes.load(made / "recipe.yaml")
    assert list(loaded.steps) == ["sft", "collect", "reward", "ppo", "audit"]
    assert loaded.steps["audit"].inputs == {"sft": "sft", "ppo": "ppo", "judge": "reward"}
    assert loaded.model == loaded.steps["sft"].model
    named = [getattr(step, key, None) for step in loaded.steps.values() for key in ("data", "guideline")]
    assert {name for name in named if name} <= set(project.FILES)


def test_model_is_one_line(made: Path) -> None:
    text = (made / "recipe.yaml").read_text()
    (line,) = re.findall(r"^\s*model: .*$", text, re.MULTILINE)
    (made / "recipe.yaml").write_text(text.replace(line, "model: some/other"))
    steps = recipes.load(made / "recipe.yaml").steps
    assert [getattr(step, "model", None) for step in steps.values()] == ["some/other", None, None, None, None]


def test_recipe_explains_every_setting(made: Path) -> None:
    """Where a setting first has a line of its own, a comment stands on that line or right above it."""
    lines = (made / "recipe.yaml").read_text().splitlines()
    seen = set()
    for above, line in zip(["", *lines], lines, strict=False):
        key = re.match(r"\s*(\w+):", line)
        if key and key[1] not in seen:
            seen.add(key[1])
            assert "#" in line or above.lstrip().startswith("#") or line.endswith(":"), line
    assert len(seen) > 30


def test_rows_are_read_as_conversations(made: Path) -> None:
    prompts = read_prompts(made / ROWS[0])
    demonstrations = read_demonstrations(made / ROWS[1])
    preferences = read_preferences(made / ROWS[2])
    assert len(prompts) >= 40 and len(demonstrations) >= 12 and len(preferences.judgments) >= 24
    everything = [*prompts, *(d.prompt for d in demonstrations), *(g.prompt for g in preferences.groups)]
    assert not any(prompt.plain for prompt in everything)
    assert all({"kind", "subject"} <= prompt.tags.keys() for prompt in everything)
    assert all(len(judgment.tiers) == 2 for judgment in preferences.judgments)


def test_no_prompt_stands_on_both_sides(made: Path) -> None:
    """The subject decides: one prompt under two subjects could be both trained on and tested."""
    subjects: dict[str, str] = {}
    for name in ROWS:
        for prompt in read_prompts(made / name):
            assert subjects.setdefault(prompt.id, prompt.subject) == prompt.subject, prompt.text


def test_audit_of_the_examples_has_enough_to_measure(made: Path) -> None:
    share = recipes.load(made / "recipe.yaml").held_out
    subjects = {p.subject for p in read_prompts(made / "prompts.jsonl")}
    held_out = {s for s in subjects if is_held_out(s, share)}
    assert len(held_out) >= MIN_UNITS
    pairs = [g.prompt.subject for g in read_preferences(made / "pairs.jsonl").groups]
    assert 0 < sum(is_held_out(subject, share) for subject in pairs) < len(pairs) / 2


def test_pairs_and_guideline_name_the_same_rules(made: Path) -> None:
    rules = set(re.findall(r"^### ([A-Z]\d)\. ", (made / "guideline.md").read_text(), re.MULTILINE))
    shown = {row["rule"] for _, row in read_rows(made / "pairs.jsonl")}
    assert len(rules) >= 7 and shown == rules


def test_pairs_do_not_teach_length(made: Path) -> None:
    rows = [row for _, row in read_rows(made / "pairs.jsonl")]
    longer = sum(len(row["chosen"][0]["content"]) > len(row["rejected"][0]["content"]) for row in rows)
    assert 1 / 3 <= longer / len(rows) <= 2 / 3


def test_no_placeholder_is_left(made: Path) -> None:
    for name in project.SHARED:
        assert "$" not in (made / name).read_text(), name


def test_commands_in_the_readme_parse(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assent.cli.main import app

    monkeypatch.chdir(made)
    command = typer.main.get_command(app)
    blocks = re.findall(r"```sh\n(.*?)```", (made / "README.md").read_text(), re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert len(lines) >= 8
    for program, name, *rest in lines:
        assert program == "assent"
        given = command.commands[name].make_context(name, list(rest))  # type: ignore[attr-defined]
        if name == "run":
            steps = recipes.load(given.params["recipe"], given.params["overrides"]).steps
            assert given.params["until"] in (None, *steps)


def test_rows_in_the_readme_are_read(made: Path, tmp_path: Path) -> None:
    """The pair and the ranking that the README shows, with real ids in place of its words."""
    pair, ranking = re.findall(r"```json\n(.*?)```", (made / "README.md").read_text(), re.DOTALL)
    (tmp_path / "pairs.jsonl").write_text(pair.replace('"..."}], "rejected"', '"better"}], "rejected"'))
    assert len(read_preferences(tmp_path / "pairs.jsonl").judgments) == 1
    prompt = read_prompts(made / "prompts.jsonl")[0]
    ids = ("best", "middle", "as good", "worst")
    group = Group(prompt=prompt, answers=tuple(Answer(id=i, text=f"an answer: {i}") for i in ids))
    (tmp_path / "judged").mkdir()
    write_records(tmp_path / "judged" / "groups.jsonl", [group])
    (tmp_path / "judged" / "judgments.jsonl").write_text(ranking.replace('"..."', f'"{group.id}"'))
    (judgment,) = read_preferences(tmp_path / "judged").judgments
    assert judgment.rater == "anna" and len(preference_pairs(judgment, group)) == 5


def test_goals_differ_where_it_matters_and_nowhere_else() -> None:
    first, *others = ({n: c.decode() for n, c in project.contents(g).items()} for g in project.GOALS)
    for other in others:
        assert all(first[name] != other[name] for name in project.FILES)
        assert not set(first["prompts.jsonl"].splitlines()) & set(other["prompts.jsonl"].splitlines())
    shared = "## How to judge" + first["guideline.md"].split("## How to judge")[1]
    assert all(other["guideline.md"].endswith(shared) for other in others)


def test_second_call_is_refused_and_changes_nothing(made: Path) -> None:
    (made / "recipe.yaml").write_text("mine")
    before = {p.name: p.read_bytes() for p in made.iterdir()}
    with pytest.raises(ConfigError, match="not empty") as caught:
        project.create(made, "harm")
    assert caught.value.exit_code == 2 and caught.value.where == str(made)
    assert {p.name: p.read_bytes() for p in made.iterdir()} == before


@pytest.mark.parametrize("below", ["", "new", "new/er"])
def test_file_in_place_of_a_folder(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(ConfigError, match="is a file") as caught:
        project.create(file / below, "tone")
    assert caught.value.where == str(file) and file.read_text() == "kept"


@pytest.mark.parametrize(("goal", "meant"), [("assistent", "assistant"), ("harms", "harm"), ("polishing", "polish")])
def test_unknown_goal_gets_a_suggestion(tmp_path: Path, goal: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean `{meant}`") as caught:
        project.create(tmp_path / "x", goal)
    assert "assistant, tone, harm, polish" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_empty_folder_is_filled_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`mkdir x; cd x; assent new .` must not pull the folder away from under the shell."""
    monkeypatch.chdir(tmp_path)
    inode = tmp_path.stat().st_ino
    project.create(Path(), "polish")
    assert tmp_path.stat().st_ino == inode
    assert sorted(p.name for p in Path().iterdir()) == sorted(project.FILES)
    assert "cd " not in capsys.readouterr().out


@pytest.mark.parametrize("place", ["new", "a/b/new", "empty"])
@pytest.mark.parametrize("failing", range(1, len(project.FILES) + 1))
def test_nothing_is_left_when_a_write_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, failing: int
) -> None:
    (tmp_path / "empty").mkdir()
    write, calls = project.write_atomic, []

    def full(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(project, "write_atomic", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        project.create(tmp_path / place, "tone")
    assert len(calls) == failing
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["empty"]


@pytest.mark.parametrize("failing", [1, 4])
def test_nothing_is_left_when_moving_into_an_empty_folder_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    rename, calls = Path.rename, []

    def broken(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == failing:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(ConfigError, match="Input/output error"):
        project.create(tmp_path, "tone")
    assert len(calls) == failing and not list(tmp_path.iterdir())


def test_name_too_long_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        project.create(tmp_path / ("x" * 300), "tone")
