"""What both sides of a row work on: one model folder, one list of token ids, written once and read by both.

Importable in every environment: standard library, torch, transformers and tokenizers only, nothing of Assent.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

PAD, BOS, EOS, FIRST = 0, 1, 2, 3
"""Special ids; ordinary tokens start at FIRST. Pad differs from EOS, or EOS would drop out of some losses."""

SMALL: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 288,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "intermediate_size": 768,
    "max_position_embeddings": 4096,
}
QWEN: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "rope_theta": 1000000.0,
}
"""The architecture of Qwen2.5-0.5B; with its vocabulary of 151,936 it has 494M parameters."""
ARCHITECTURES = {"small": SMALL, "qwen2.5-0.5b": QWEN}
SPREAD = 0.05
"""Deviation of the random weights. Hugging Face's 0.02 would give nearly uniform answers, whose loss hardly
depends on the ids: two sides could then agree by mistake."""


class Ids(NamedTuple):
    """A prompt and its answers as token ids; every answer ends in EOS."""

    prompt: list[int]
    answers: list[list[int]]


@dataclass(frozen=True)
class Work:
    """Sizes of a row's data and model. `prompt` and `answer` are the shortest and longest length in tokens,
    EOS counted; lengths are drawn uniformly."""

    groups: int
    prompt: tuple[int, int]
    answers: int
    answer: tuple[int, int]
    vocabulary: int = 8192
    architecture: str = "small"
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """What a worker is asked to do, as it reads it from task.json."""

    row: str
    folder: str
    work: dict[str, Any]
    threads: int = 2
    device: str = "cpu"
    dtype: str = "float32"
    settings: dict[str, Any] = field(default_factory=dict)
    """Hyper-parameters of the row, the same on both sides."""
    variant: dict[str, Any] = field(default_factory=dict)
    """How this side does the work (micro-batch size, packing, ...); the fastest is kept."""

    @property
    def groups(self) -> list[Ids]:
        """The token ids of the row."""
        text = (Path(self.folder) / "data.json").read_text(encoding="utf-8")
        return [Ids(**group) for group in json.loads(text)]

    def model(self, name: str) -> str:
        """Folder of `policy`, `reference`, `reward` or `critic`; it also holds the tokenizer."""
        return str(Path(self.folder) / name)

    def save(self, path: Path) -> None:
        """Write task.json."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def read_task(path: str | Path) -> Task:
    """The task a worker was started with."""
    return Task(**json.loads(Path(path).read_text(encoding="utf-8")))


def draw(work: Work) -> list[Ids]:
    """Random token ids of the lengths that `work` asks for, the same for the same seed."""
    source = random.Random(work.seed)

    def ids(low: int, high: int) -> list[int]:
        return [source.randrange(FIRST, work.vocabulary) for _ in range(source.randint(low, high))]

    def answer() -> list[int]:
        return [*ids(work.answer[0] - 1, work.answer[1] - 1), EOS]

    return [Ids(ids(*work.prompt), [answer() for _ in range(work.answers)]) for _ in range(work.groups)]


def word(token: int) -> str:
    """The text of an ordinary token. Words between blanks, so that text gives back exactly these ids."""
    return f"t{token}"


def text(ids: list[int]) -> str:
    """Ids as text; EOS as `<eos>`."""
    return " ".join("<eos>" if token == EOS else word(token) for token in ids)


def build(folder: Path, work: Work, models: tuple[str, ...]) -> None:
    """Write data.json and the model folders that a row needs (`policy`, `reference`, `reward`, `critic`).

    The reference has other weights than the policy: with equal ones DPO's loss would be log 2 whatever the data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups = [ids._asdict() for ids in draw(work)]
    (folder / "data.json").write_text(json.dumps(groups), encoding="utf-8")
    done = folder / "built.json"
    wanted = json.dumps([asdict(work), sorted(models), 1])
    if done.exists() and done.read_text(encoding="utf-8") == wanted:
        return
    for name in models:
        _save_model(folder / name, work, name)
    done.write_text(wanted, encoding="utf-8")


def _save_model(folder: Path, work: Work, name: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    one_number = name in ("reward", "critic")
    config = AutoConfig.for_model(
        **ARCHITECTURES[work.architecture],
        vocab_size=work.vocabulary,
        tie_word_embeddings=True,
        initializer_range=SPREAD,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        **({"num_labels": 1} if one_number else {}),
    )
    kind = AutoModelForSequenceClassification if one_number else AutoModelForCausalLM
    torch.manual_seed(work.seed + ("policy", "reference", "reward", "critic").index(name))
    model = kind.from_config(config)
    model.save_pretrained(str(folder))
    _tokenizer(work.vocabulary).save_pretrained(str(folder))


def _tokenizer(vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<bos>", "<eos>", *(word(token) for token in range(FIRST, vocabulary))]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", padding_side="left"
    )
