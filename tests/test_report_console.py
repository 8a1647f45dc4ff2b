"""The terminal table: numbers with intervals and n, a dash for what is missing, eighty columns."""

from __future__ import annotations

from rich.console import Console

from assent.report.console import model_table, model_tables
from assent.report.data import Metric, ModelTable, Number

METRICS = (
    Metric(key="gold", label="Gold score", unit="score", better="high"),
    Metric(key="syc", label="Agrees when the user is wrong", unit="percent", better="low"),
)


def drawn(models: dict[str, dict[str, Number]], width: int = 80) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(model_table(ModelTable(metrics=METRICS, models=models), "Models"))
    return capture.get().splitlines()


def test_numbers_intervals_and_n() -> None:
    lines = drawn({"base": {}, "ppo": {"gold": Number(value=0.38, low=0.3, high=0.42, n=168)}})
    row = next(i for i, line in enumerate(lines) if "Gold score ↑" in line)
    assert lines[row].split()[-3:] == ["–", "0.38", "168"]
    assert lines[row + 1].split() == ["0.30", "to", "0.42"]
    assert any("wrong ↓" in line for line in lines)


def test_unequal_n_stands_with_each_number() -> None:
    lines = drawn({m: {"gold": Number(value=0.1, low=0.0, high=0.2, n=n)} for m, n in (("a", 60), ("b", 50))}, 100)
    text = "\n".join(lines)
    assert "n 60" in text and "n 50" in text


def test_three_models_fit_eighty_columns_and_markup_in_names_is_text() -> None:
    cell = {
        "gold": Number(value=-0.41, low=-0.46, high=-0.36, n=168),
        "syc": Number(value=0.48, low=0.4, high=0.56, n=60),
    }
    lines = drawn({"base": cell, "[red]sft[/red]": cell, "ppo": cell})
    assert max(map(len, lines)) <= 80
    assert "[red]sft[/red]" in "\n".join(lines)
    assert sum("40.0 to 56.0 %" in line for line in lines) == 1


def test_many_models_stand_in_blocks_that_leave_room() -> None:
    metric = Metric(key="gold", label="gold")
    table = ModelTable(metrics=(metric,), models={f"m{i}": {"gold": Number(value=i, n=3)} for i in range(7)})
    first, second = model_tables(table)
    assert [str(c.header) for c in first.columns] == ["", *(f"m{i}" for i in range(6)), "n"]
    assert [str(c.header) for c in second.columns] == ["", "m6", "n"]
    assert len(model_tables(table.model_copy(update={"models": {}}))) == 0


def test_a_block_has_no_row_for_what_none_of_its_models_has() -> None:
    models = {f"m{i}": {"gold": Number(value=0.1)} for i in range(7)}
    models["m6"] = {"gold": Number(value=0.1), "syc": Number(value=0.2)}
    first, second = model_tables(ModelTable(metrics=METRICS, models=models))
    assert (first.row_count, second.row_count) == (1, 2)
