"""Hashes, the held-out split and seeds: functions of their arguments, pinned, evenly spread."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from assent.core.errors import AssentError, ConfigError, Interrupted
from assent.core.hashing import content_id, file_hash, hash_int, is_held_out, tree_hash
from assent.core.seeds import derive, generator, order


def test_equal_content_equal_id() -> None:
    assert content_id({"a": 1, "b": [2, "ü"]}) == content_id({"b": [2, "ü"], "a": 1})
    assert content_id("a", "b") != content_id("ab") != content_id(["a", "b"])
    assert content_id(1) != content_id("1")
    assert len(content_id("x", length=32)) == 32


def test_ids_are_pinned() -> None:
    """`printf '["a",1]' | sha256sum`. Another scheme would orphan every run and judgment on disk."""
    assert content_id("a", 1) == "135f17a475a61afd"
    assert hash_int("a", 1) == int("135f17a475a61afd", 16) >> 1


def test_hash_int_fits_an_int64() -> None:
    values = [hash_int(i) for i in range(1000)]
    assert all(0 <= value < 2**63 for value in values)
    assert len(set(values)) == 1000


def test_split_is_a_function_of_the_key_alone_and_has_the_share() -> None:
    keys = [f"subject {i}" for i in range(4000)]
    for share in (0.0, 0.1, 0.5, 1.0):
        held = sum(is_held_out(key, share) for key in keys) / len(keys)
        # four standard deviations of a binomial share
        assert abs(held - share) <= 4 * (share * (1 - share) / len(keys)) ** 0.5, share


def test_a_larger_share_keeps_what_a_smaller_one_held_out() -> None:
    keys = [str(i) for i in range(500)]
    small = {key for key in keys if is_held_out(key, 0.1)}
    assert small <= {key for key in keys if is_held_out(key, 0.3)}


def test_hash_of_a_folder_sees_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1")
    (tmp_path / "y").write_bytes(b"1")
    found = tree_hash(tmp_path)
    assert list(found) == ["a/x", "y"]
    assert found["a/x"] == found["y"] == file_hash(tmp_path / "y")
    (tmp_path / "y").write_bytes(b"2")
    assert tree_hash(tmp_path)["y"] != found["y"]
    # sha256 of "1", from any other tool
    assert found["a/x"] == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"


def test_seeds_of_different_purposes_are_independent() -> None:
    assert derive(0, "order") != derive(1, "order") != derive(0, "noise")
    assert derive(0, "a", 1) == derive(0, "a", "1"), "names are read as text"
    draws = np.array([generator(seed, "x").standard_normal() for seed in range(400)])
    assert abs(draws.mean()) < 4 / 20 and 0.85 < draws.std() < 1.15


def test_order_is_a_permutation_of_its_own_epoch() -> None:
    assert sorted(order(50, 0, 1)) == list(range(50))
    assert order(50, 0, 1) == order(50, 0, 1)
    assert order(50, 0, 1) != order(50, 0, 2) != order(50, 1, 2)


def test_an_error_says_what_where_and_how_to_mend_it() -> None:
    error = ConfigError("unknown key", where="r.yaml: sft", fix="write `epochs`")
    assert str(error) == "r.yaml: sft: unknown key\n  -> write `epochs`"
    assert str(AssentError("only this")) == "only this"
    assert (error.exit_code, Interrupted("stop").exit_code) == (2, 130)
