"""Where rows come from: files, folders, hub ids; each bad one named by its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from assent.core.errors import DataError
from assent.formats.load import read

ROWS: list[dict[str, Any]] = [{"prompt": "one", "n": 1}, {"prompt": 'two, "quoted"\nlines', "n": 2}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def columns(source: Any) -> list[dict[str, Any]]:
    return [row.columns for row in read(source)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES.encode()),
        ("a.jsonl.gz", gzip.compress(("\n" + LINES).encode(), mtime=0)),
        ("a.json", json.dumps(ROWS, indent=1).encode()),
        ("a.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
        ("lines.json", LINES.encode()),
    ],
)
def test_json_files(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert columns(tmp_path / name) == columns(str(tmp_path)) == ROWS


def test_csv(tmp_path: Path) -> None:
    """With a byte-order mark, as spreadsheets write it; cells are text, empty ones are missing."""
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffprompt,n\none,1\n"two, ""quoted""\r\nlines",\n'.encode())
    assert [tuple(row) for row in read(path)] == [
        (f"{path}:2", {"prompt": "one", "n": "1"}),
        (f"{path}:4", {"prompt": 'two, "quoted"\r\nlines'}),
    ]


def test_parquet_and_saved_datasets(tmp_path: Path) -> None:
    import datasets

    expected = [{"m": [{"role": "user", "content": row["prompt"]}], "n": row["n"]} for row in ROWS]
    table = datasets.Dataset.from_list(expected)
    table.to_parquet(str(tmp_path / "a.parquet"))
    table.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "splits"))
    assert columns(tmp_path / "a.parquet") == columns(tmp_path / "saved") == expected
    assert columns(tmp_path / "splits") == expected * 2
    assert [row.where for row in read(tmp_path / "a.parquet")][1] == f"{tmp_path}/a.parquet: row 2"


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.jsonl").write_text('{"n": 2}\n')
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n')
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.jsonl").write_text("not data")
    assert columns(tmp_path) == [{"n": 1}, {"n": 2}]


BAD = {
    "json line": ("a.jsonl", b'{"n": 1}\n{"n": \n', r"a.jsonl:2: not JSON"),
    "list line": ("a.jsonl", b"[1]\n", r"a.jsonl:1: a list, but each line must be a JSON object"),
    "json": ("a.json", b'[{"n": 1},\n{"n": }]', r"a.json:2: not JSON"),
    "json number": ("a.json", b"5", "must hold a list of objects"),
    "json list of numbers": ("a.json", b"[5]", "row 1: a int, but each row must be an object"),
    "latin-1": ("a.jsonl", '{"n": "é"}'.encode("latin-1"), "is not a UTF-8 JSON-lines file"),
    "latin-1 json": ("a.json", '[{"n": "é"}]'.encode("latin-1"), "is not a UTF-8 JSON file"),
    "cut gzip": ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-9], "is not a UTF-8 JSON-lines file"),
    "no gzip": ("a.json.gz", b"[]", "is not a UTF-8 JSON file"),
    "long csv row": ("a.csv", b"a,b\n1,2\n1,2,3\n", r"a.csv:3: the header has 2 cells"),
    "short csv row": ("a.csv", b"a,b\n1\n", r"a.csv:2: the header has 2 cells"),
    "open quote": ("a.csv", b'a,b\n1,"2\n', "is not a UTF-8 CSV file"),
    "no parquet": ("a.parquet", b"PAR1", "is not a Parquet file"),
    "kind": ("a.txt", b"text", "is no kind of file that can be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name: str, tmp_path: Path) -> None:
    file, data, reason = BAD[name]
    (tmp_path / file).write_bytes(data)
    with pytest.raises(DataError, match=reason):
        columns(tmp_path / file)


def test_missing_and_empty(tmp_path: Path) -> None:
    from assent.formats import read_prompts

    for source in ("nothing.jsonl", "./some/where", "/no/such/file", "name", tmp_path / "x.csv"):
        with pytest.raises(DataError, match="no such file"):
            columns(source)
    with pytest.raises(DataError, match=r"holds no \.jsonl"):
        columns(tmp_path)
    for name, data in (("a.jsonl", ""), ("b.json", "[]"), ("c.csv", "prompt\n"), ("d.csv", "")):
        (tmp_path / name).write_text(data)
        with pytest.raises(DataError, match="is empty"):
            read_prompts(tmp_path / name)


def test_hub_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(name: str, config: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((name, config, split))
        return [{"prompt": "p", "chosen": None}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert [tuple(row) for row in read("owner/name")] == [("owner/name: row 1", {"prompt": "p"})]
    assert columns("owner/na-me.v2:main#test") == [{"prompt": "p"}]
    assert asked == [("owner/name", None, "train"), ("owner/na-me.v2", "main", "test")]


def test_no_hub_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load_dataset(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub (LocalEntryNotFoundError)\nlong details")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as caught:
        columns("owner/name")
    message = str(caught.value)
    assert message.startswith("owner/name: is no local file or folder, and the hub did not give its split `train`")
    assert "Couldn't reach" in message and "long details" not in message and "data=PATH" in message


def test_reading_local_files_imports_neither_torch_nor_datasets(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "a.jsonl").write_text(LINES)
    code = (
        "import sys; from assent.formats import read_prompts; "
        f"assert len(read_prompts({str(tmp_path)!r})) == 2; "
        "print([m for m in ('torch', 'datasets', 'transformers', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
