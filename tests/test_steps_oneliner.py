"""`assent train`: what it is given is checked first, then written as a recipe that loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from assent.config import recipe as recipes
from assent.core.errors import ArtifactError, AssentError, ConfigError, DataError, ModelError
from assent.steps import oneliner


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    return tmp_path / "pairs.jsonl"


def test_ppo_recipe(tmp_path: Path, model: Path, pairs: Path) -> None:
    path = oneliner.write(tmp_path / "out", str(model), str(pairs), "ppo", "chatml")
    assert path == tmp_path / "out" / "recipe.yaml"
    loaded = recipes.load(path)
    assert list(loaded.steps) == ["sft", "collect", "reward", "ppo", "audit"]
    assert loaded.steps["sft"].model == str(model.resolve())  # type: ignore[attr-defined]
    assert loaded.steps["sft"].template == "chatml"  # type: ignore[attr-defined]
    data = {name: step.data for name, step in loaded.steps.items() if hasattr(step, "data")}
    assert data == dict.fromkeys(("sft", "collect", "ppo", "audit"), str(pairs.resolve()))


@pytest.mark.parametrize("method", [name for name in oneliner.METHODS if name != "none"])
def test_every_method_has_a_recipe(method: str, tmp_path: Path, model: Path, pairs: Path) -> None:
    loaded = recipes.load(oneliner.write(tmp_path / "out", str(model), str(pairs), method, "chatml"))
    assert list(loaded.steps) == ["sft", "collect", "reward", method, "audit"]
    learns = loaded.steps[method].inputs
    assert learns == {"policy": "sft", **({"judgments": "collect"} if method == "dpo" else {"reward": "reward"})}
    assert loaded.steps["audit"].inputs == {"sft": "sft", method: method, "judge": "reward"}


def test_none_stops_at_the_reward_model(tmp_path: Path, model: Path, pairs: Path) -> None:
    loaded = recipes.load(oneliner.write(tmp_path / "out", str(model), str(pairs), "none", "tokenizer"))
    assert list(loaded.steps) == ["sft", "collect", "reward"]


def test_relative_paths_become_absolute(
    tmp_path: Path, model: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my.jinja").write_text("{{ messages }}")
    monkeypatch.chdir(model)
    path = oneliner.write(Path("out"), "../model", "../pairs.jsonl", "none", "../my.jinja")
    monkeypatch.chdir("/")
    loaded = recipes.load(model / path)
    assert (loaded.model, loaded.data) == (str(model.resolve()), str(pairs.resolve()))
    assert loaded.steps["sft"].template == str((tmp_path / "my.jinja").resolve())  # type: ignore[attr-defined]


def test_a_step_of_a_run_stands_for_its_weights(tmp_path: Path, model: Path, pairs: Path) -> None:
    (model / "weights").mkdir()
    loaded = recipes.load(oneliner.write(tmp_path / "out", str(model), str(pairs), "none", "tokenizer"))
    assert loaded.model == str((model / "weights").resolve())


def test_hub_ids_stay_as_they_are(tmp_path: Path) -> None:
    loaded = recipes.load(oneliner.write(tmp_path, "owner/model-1.5", "owner/pairs:main#test", "ppo", "tokenizer"))
    assert (loaded.model, loaded.data) == ("owner/model-1.5", "owner/pairs:main#test")


@pytest.mark.parametrize(
    "name",
    [
        "a: b",
        "a # b",
        'quo"te',
        "quo'te",
        "- $x",
        "{}",
        "tab\t",
        "ä 日本 🎉",
        "line\nbreak",
        "a" * 200,
        "null",
    ],
)
def test_odd_file_names_come_back(tmp_path: Path, name: str) -> None:
    odd = tmp_path / name
    odd.mkdir()
    loaded = recipes.load(oneliner.write(tmp_path / "out", str(odd), str(odd), "ppo", "tokenizer"))
    assert loaded.model == loaded.data == str(odd.resolve())


def test_same_again_is_fine_and_other_content_is_not_overwritten(tmp_path: Path, model: Path, pairs: Path) -> None:
    def write(method: str) -> Path:
        return oneliner.write(tmp_path / "out", str(model), str(pairs), method, "plain")

    path = write("ppo")
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert write("ppo") == path
    with pytest.raises(ConfigError, match="--out"):
        write("none")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_folder_named_like_the_recipe(tmp_path: Path, model: Path, pairs: Path) -> None:
    (tmp_path / "out" / "recipe.yaml").mkdir(parents=True)
    with pytest.raises(ConfigError, match="--out"):
        oneliner.write(tmp_path / "out", str(model), str(pairs), "ppo", "plain")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"method": "poo"}, ConfigError, "did you mean `ppo`"),
        ({"method": "sac"}, ConfigError, "one of: ppo, grpo, rloo, online_dpo, dpo, none"),
        ({"template": "chatlm"}, ConfigError, "did you mean `chatml`"),
        ({"template": "missing.jinja"}, ConfigError, "no chat template"),
        ({"model": "nowhere"}, ModelError, "no such model folder"),
        ({"model": "./owner/model"}, ModelError, "no such model folder"),
        ({"model": "owner/model#split"}, ModelError, "no such model folder"),
        ({"model": "{pairs}"}, ModelError, "is a file"),
        ({"pairs": "nowhere.jsonl"}, DataError, "no such file"),
        ({"pairs": "data/nowhere.jsonl"}, DataError, "no such file"),
        ({"pairs": "data/nowhere.csv.gz"}, DataError, "no such file"),
        ({"pairs": "lab"}, DataError, "no such file"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(
    tmp_path: Path, model: Path, pairs: Path, change: dict[str, str], error: type[AssentError], words: str
) -> None:
    good = {"model": str(model), "pairs": str(pairs), "method": "ppo", "template": "tokenizer"}
    given = good | {key: value.format(pairs=pairs) for key, value in change.items()}
    with pytest.raises(error, match=words) as caught:
        oneliner.write(tmp_path / "out", **given)
    assert caught.value.exit_code == 2 and caught.value.fix
    assert not (tmp_path / "out").exists()


def test_out_that_is_a_file(model: Path, pairs: Path) -> None:
    with pytest.raises(ArtifactError, match="is a file"):
        oneliner.write(pairs, str(model), str(pairs), "ppo", "tokenizer")
