"""Collect every text of the rating service, and bring its catalogues up to date.

    python scripts/catalogue.py        # writes messages.pot, and updates every messages.po beside it

Templates are read by Jinja's own extractor. In Python a text is what stands in `_(...)`, `noted(...)` or
`pgettext(...)`, what an error says that reaches a screen, and what the audit log calls an act. Values in an error
become {1}, {2}: such a sentence is found again by `web.language.said`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

SOURCE = Path(__file__).parent.parent / "src" / "assent"
WEB = SOURCE / "web"
POT = WEB / "locales" / "messages.pot"
ELSEWHERE = (*(f"formats/{name}.py" for name in ("load", "native", "shapes", "values")), "stats/learning_curve.py")
"""Files outside web and feedback whose errors a lead sees."""
UNSEEN = {"api.py", "batch.py", "database.py", "endpoints.py", "retention.py", "transfer.py", "uncertainty.py"}
"""Files of web and feedback whose errors only programs and the command line say."""
WITH_FIX = {"curve.py", "learning_curve.py"}
"""Files whose errors are shown with what to do."""
MARKED = {"_", "noted"}
ERRORS = {"AssentError", "DataError", "FeedbackError", "NotAllowed", "NotFound", "LeaseExpired", "BadVerdict"}
HIDDEN = ("POT-", "PO-", "Generated-", "Project-", "Report-", "Last-", "Language-")
"""Lines of the header that say nothing, or something else at every run."""
Found = tuple[str, str | None]
"""A text and its context."""


def collect() -> Catalog:
    """The texts of templates and modules, as a catalogue without translations."""
    found: dict[Found, set[str]] = {}
    for path in sorted((WEB / "templates").glob("*.j2")):
        for text in _of_template(path):
            found.setdefault(text, set()).add(_name(path))
    for path in _modules():
        for text in _of_module(ast.parse(path.read_text(encoding="utf-8")), path.name in WITH_FIX):
            found.setdefault(text, set()).add(_name(path))
    made = Catalog(project="assent", fuzzy=False, header_comment="# Texts of the rating service, as they stand in it.")
    for (text, context), places in sorted(found.items(), key=lambda each: (each[0][0], each[0][1] or "")):
        made.add(text, context=context, locations=[(place, 0) for place in sorted(places)])
    return made


def _modules() -> list[Path]:
    files = [*WEB.glob("*.py"), *(SOURCE / "feedback").glob("*.py"), *(SOURCE / name for name in ELSEWHERE)]
    return sorted(p for p in files if p.name not in UNSEEN)


def _name(path: Path) -> str:
    return path.relative_to(SOURCE.parent.parent).as_posix()


def _of_template(path: Path) -> Iterator[Found]:
    options = {"trim_blocks": "true", "lstrip_blocks": "true", "newstyle_gettext": "true", "silent": "false"}
    keywords = ("_", "gettext", "pgettext")
    for _line, function, message, _comments in babel_extract(BytesIO(path.read_bytes()), keywords, (), options):
        # With values the extractor gives a tuple: the text, then a None for each value.
        texts = [each for each in ((message,) if isinstance(message, str) else message or ()) if each]
        if function == "pgettext":
            yield texts[1], texts[0]
        elif texts:
            yield texts[0], None


def _of_module(tree: ast.Module, with_fix: bool) -> Iterator[Found]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "CHOICES":
            yield from ((each.value, None) for each in ast.walk(node) if _is_text(each) and each is not node.annotation)
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if text := _said(name, node):
            yield text, None
        for keyword in node.keywords if with_fix else ():
            if keyword.arg == "fix" and (text := _sentence(keyword.value)):
                yield text, None


def _said(name: str, call: ast.Call) -> str | None:
    """The text that a call holds, if it is one that a person sees."""
    if name in MARKED | ERRORS or (name == "__init__" and isinstance(call.func, ast.Attribute)):
        return _sentence(call.args[0]) if call.args else None
    if name in ("HTTPException", "_fail") and len(call.args) > 1:
        return _sentence(call.args[1])
    if name == "audit":
        return next((each.value for each in call.args if _is_text(each)), None)
    return None


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _sentence(node: ast.expr) -> str | None:
    """A literal, with its values as {1}, {2}; None of anything else, and where hardly a word stands around values."""
    if _is_text(node):
        return node.value or None
    if not isinstance(node, ast.JoinedStr):
        return None
    text, n = "", 0
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += part.value
        else:
            n += 1
            text += f"{{{n}}}"
    return text if re.search(r"[a-z]{3}", text) else None


def _write(path: Path, catalogue: Catalog) -> None:
    written = BytesIO()
    write_po(written, catalogue, width=120, include_lineno=False, ignore_obsolete=True)
    lines = written.getvalue().decode("utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line[1:].startswith(HIDDEN)), encoding="utf-8")


def main() -> None:
    """Write the template, and bring every language up to date: new texts stand there empty."""
    POT.parent.mkdir(exist_ok=True)
    found = collect()
    _write(POT, found)
    for path in sorted(POT.parent.glob("*/LC_MESSAGES/messages.po")):
        code = path.parts[-3]
        catalogue = read_po(BytesIO(path.read_bytes()), locale=code)
        catalogue.update(found, no_fuzzy_matching=True)
        _write(path, catalogue)
        empty = sum(1 for each in catalogue if each.id and not each.string)
        print(f"{code}: {len(found)} texts, {empty} without translation")


if __name__ == "__main__":
    main()
