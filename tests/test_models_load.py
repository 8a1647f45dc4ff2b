"""Model folders in and out: what plain transformers makes of ours, what we refuse of others'."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import tiny
from assent.core.errors import ModelError
from assent.data.render import encode
from assent.models.load import context_length, load_policy, load_reward_model, load_tokenizer, save, stop_ids

FAMILIES = list(tiny.FAMILIES)
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_saved_policy_is_a_plain_folder(family: str, tmp_path: Path) -> None:
    model = tiny.policy(family, dtype=torch.float32)
    save(tmp_path, model, tiny.tokenizer(), "# card\n")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(plain(IDS).logits, model(IDS).logits, rtol=0, atol=1e-5)  # ours norms in fewer passes
    torch.testing.assert_close(load_policy(tmp_path).cpu()(IDS).logits, plain(IDS).logits, rtol=0, atol=1e-5)
    assert (tmp_path / "README.md").read_text() == "# card\n"
    assert not [p.name for p in tmp_path.iterdir() if p.suffix in (".bin", ".pt", ".pkl")]


def test_the_chat_template_travels_with_it(tmp_path: Path) -> None:
    ours = tiny.tokenizer()
    save(tmp_path, tiny.policy(dtype=torch.float32), ours, "")
    plain = AutoTokenizer.from_pretrained(tmp_path)
    turns = [{"role": "user", "content": "w1 w2"}]
    ids = plain.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    (prompt,) = tiny.prompts(1)
    same_turns = [{"role": "user", "content": prompt.text}]
    expected = encode(ours, prompt, "w3").prompt_ids
    assert tuple(plain.apply_chat_template(same_turns, add_generation_prompt=True, return_dict=False)) == expected
    assert plain.decode(ids) == ours.decode(ids)
    assert load_tokenizer(tmp_path).chat_template == tiny.TEMPLATE


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_saved_reward_model_is_a_plain_folder(family: str, tmp_path: Path) -> None:
    model = tiny.reward_model(family, dtype=torch.float32, shift=0.25)
    save(tmp_path, model, tiny.tokenizer(), "")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(plain(IDS).logits, model(IDS).logits, rtol=0, atol=1e-5)  # ours norms in fewer passes
    assert plain.config.num_labels == 1
    assert plain.config.pad_token_id != plain.config.eos_token_id
    assert load_reward_model(tmp_path).config.reward_shift == 0.25


def test_dropout_is_off_whatever_the_config_says(tmp_path: Path) -> None:
    """Two passes in *training* mode agree bit for bit, and eval mode is set as well."""
    for family, changes in (
        ("gpt2", {"resid_pdrop": 0.5, "embd_pdrop": 0.5, "attn_pdrop": 0.5}),
        ("llama", {"attention_dropout": 0.5}),
    ):
        folder = tmp_path / family
        tiny.policy(family, dtype=torch.float32, **changes).save_pretrained(folder)
        noisy = AutoModelForCausalLM.from_pretrained(folder).train()
        assert not noisy(IDS).logits.equal(noisy(IDS).logits)  # the fault is really there
        model = load_policy(folder).cpu()
        assert not model.training
        model.train()
        assert model(IDS).logits.equal(model(IDS).logits)


def test_stop_ids_of_tokenizer_and_generation_config() -> None:
    model, tokenizer = tiny.policy(), tiny.tokenizer()
    for configured, expected in (
        ([1, 2], (2, 1)),
        (2, (2,)),
        (None, (2,)),
        (5, (2, 5)),
        (0, (2, 0)),
        ([0], (2, 0)),
    ):
        model.generation_config.eos_token_id = configured
        assert stop_ids(model, tokenizer) == expected


def test_context_length() -> None:
    assert context_length(tiny.policy("llama", max_position_embeddings=48)) == 48
    assert context_length(tiny.policy("gpt2", n_positions=40)) == 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, tiny.policy(dtype=torch.float32), tiny.tokenizer(), "")
    return tmp_path


def refused(load, path, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message and "Traceback" not in message
    for word in words:
        assert word in message, message


def test_pickled_weights_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    refused(load_policy, folder, "safetensors", "pickled")


def test_a_file_a_missing_folder_a_folder_that_is_no_model(folder: Path) -> None:
    refused(load_policy, folder / "config.json", "is a file")
    refused(load_tokenizer, folder / "config.json", "is a file")
    refused(load_policy, folder / "nowhere", "no such model folder")
    (folder / "config.json").unlink()
    refused(load_policy, folder, "no config.json")


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"model_type": "no-such-thing"}', "\xff"])
def test_a_config_that_cannot_be_used(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    refused(load_policy, folder)


def test_damaged_weights(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    refused(load_policy, folder, "cannot be loaded")


def test_weights_that_lack_a_tensor_are_refused_not_made_up(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(load_policy, folder, "model.layers.1.mlp.up_proj.weight")


def test_a_language_model_is_no_reward_model_and_the_other_way_round(folder: Path, tmp_path: Path) -> None:
    refused(load_reward_model, folder, "score.weight")
    save(tmp_path / "reward", tiny.reward_model(dtype=torch.float32), tiny.tokenizer(), "")
    refused(load_policy, tmp_path / "reward", "lm_head.weight")


def test_a_reward_model_has_one_label(tmp_path: Path) -> None:
    config = tiny.policy().config
    config.num_labels = 3
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    refused(load_reward_model, tmp_path, "3 labels")


def test_a_folder_without_a_tokenizer(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()
    refused(load_tokenizer, folder)


def test_a_tokenizer_without_eos(folder: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    refused(load_tokenizer, folder, "no end-of-sequence token")
