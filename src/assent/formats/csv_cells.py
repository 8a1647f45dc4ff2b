r"""CSV of our own: any value in a cell and back, and no cell that a spreadsheet takes for a formula.

    a text                        as it is, where no reader could take it for anything else
    any other value               as JSON: a conversation, a number, the text `3` (as `"3"`), the empty text (as `""`)
    a text that begins like a formula (`=`, `+`, `-`, `@`)    with one `'` in front, and one more where it has some
    no value                      an empty cell

Every cell is quoted. Where the list separator is `;`, as in much of Europe, a spreadsheet cuts such a file at `;` and
takes what follows for a cell of its own: a text in which a formula's first sign follows `;`, a line break or a
quotation mark is written as JSON, which has no line breaks, the sign behind the others as `\u003d`.

The column `format` says that a row is written so: cells of other people's files are left as they are.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

MARK, VERSION = "format", "assent-csv-1"
SIGNS = "=+\\-@＝＋－＠"
FORMULA = re.compile(rf"'*[{SIGNS}\t\r\n]")
DEFUSED = re.compile(rf"'+[{SIGNS}\t\r\n]")
INNER = re.compile(rf"(?<=[;\t\r\n\"])[{SIGNS}]")

# An answer may be longer than the 128 KiB at which the csv module gives up; there is one limit for the whole process.
csv.field_size_limit(2**31 - 1)


def encode(value: Any) -> str:
    """A value as the text of a cell."""
    if value is None:
        return ""
    if not isinstance(value, str) or not value or _is_json(value) or INNER.search(value):
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        return INNER.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)
    return f"'{value}" if FORMULA.match(value) else value


def decode(cell: str) -> Any:
    """The value in the text of a cell: `decode(encode(value)) == value`."""
    if not cell:
        return None
    if DEFUSED.match(cell):
        return cell[1:]
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def to_text(rows: Sequence[dict[str, Any]]) -> str:
    """A header and the rows; a column that a row has not is an empty cell of it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow([*map(encode, names), MARK])
    writer.writerows([*(encode(row.get(name)) for name in names), VERSION] for row in rows)
    return out.getvalue()


def from_cells(row: Mapping[str, str]) -> dict[str, Any]:
    """Column -> cell of one row as its values; of a row that is not ours an empty cell is no value, all else text."""
    if row.get(MARK) != VERSION:
        return {name: cell or None for name, cell in row.items()}
    return {str(decode(name)): decode(cell) for name, cell in row.items() if name != MARK}
