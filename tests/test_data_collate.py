"""Padding: prompts left, answers right, positions from the attention mask, padding known by length."""

import torch

from assent.data.collate import TokenGroup, collate, pad_left, pad_right

GROUPS = [
    TokenGroup("g", (5, 6, 7), ((8, 2), (9, 9, 9, 2)), ("a", "b")),
    TokenGroup("h", (4,), ((3,),), ("c",)),
]


def test_rows_by_hand() -> None:
    rows = collate(GROUPS)
    assert rows.ids_NS.tolist() == [[5, 6, 7, 8, 2, 0, 0], [5, 6, 7, 9, 9, 9, 2], [0, 0, 4, 3, 0, 0, 0]]
    assert rows.attention_NS.tolist() == [[1, 1, 1, 1, 1, 0, 0], [1] * 7, [0, 0, 1, 1, 0, 0, 0]]
    assert rows.answer_ids_NT.tolist() == [[8, 2, 0, 0], [9, 9, 9, 2], [3, 0, 0, 0]]
    assert rows.answer_mask_NT.tolist() == [
        [True, True, False, False],
        [True] * 4,
        [True, False, False, False],
    ]
    assert rows.prompt_width == 3
    assert rows.answer_mask_NT.dtype == torch.bool and rows.ids_NS.dtype == torch.int64


def test_a_token_has_the_same_position_alone_and_in_a_batch() -> None:
    together, alone = collate(GROUPS), collate(GROUPS[1:])
    seen = together.positions_NS[2][together.attention_NS[2] == 1]
    assert seen.tolist() == alone.positions_NS[0].tolist() == [0, 1]
    assert together.positions_NS[1].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_padding_is_known_by_length_when_its_id_is_a_token() -> None:
    """Padding is written as 0; here 0 is also a real token, first and last (as with pad == EOS)."""
    ids, mask = pad_right([(7, 0), (7, 8, 0)])
    assert ids.tolist() == [[7, 0, 0], [7, 8, 0]]
    assert mask.tolist() == [[True, True, False], [True, True, True]]
    ids, mask = pad_left([(0, 7), (0, 0, 7)])
    assert ids.tolist() == [[0, 0, 7], [0, 0, 7]]
    assert mask.tolist() == [[False, True, True], [True, True, True]]


def test_an_answer_without_tokens_pads_to_nothing() -> None:
    _, mask = pad_right([(), (1,)])
    assert mask.tolist() == [[False], [True]]


def test_rows_move_as_a_whole() -> None:
    rows = collate(GROUPS).to("meta")
    assert {t.device.type for t in rows if isinstance(t, torch.Tensor)} == {"meta"} and rows.prompt_width == 3
