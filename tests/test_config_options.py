"""No option is ignored: each is read whatever else is set, or refused where it is not. A table says which, for every
field of every kind of step; a field that stands in neither half of it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from pydantic import TypeAdapter, ValidationError

from assent.config.blocks import Block, StepConfig
from assent.config.steps import KINDS, Combine, Ensemble, Kl, RewardSource, Value
from test_config_steps import block_of, owner

ONLINE = "rewards data iterations prompts answers epochs minibatches adapter sampling optimiser limits"
CLIPPED = f"{ONLINE} clip_low clip_high aggregation kl"
GROUPED = f"{CLIPPED} truncated overlong resample"
ALWAYS = {
    "Optimiser": "lr schedule warmup weight_decay beta2 eps max_grad_norm",
    "Sampling": "temperature max_tokens stop",
    "Limits": "max_length too_long token_budget activation_checkpointing checkpoint_every log_every",
    "Adapter": "rank alpha targets",
    "Raters": "count per_group dials",
    "Labels": "soft ties weights",
    "Ensemble": "differ",
    "Combine": "how stop_above",
    "RewardSource": "model function json_value regex exact length repetition weight",
    "JsonRule": "keys",
    "RegexRule": "pattern whole",
    "ExactRule": "tag pattern",
    "LengthRule": "target tolerance",
    "RepetitionRule": "words",
    "Kl": "coef place control",
    "GroupKl": "coef place",
    "RewardKl": "coef",
    "Value": "trunk lr clip warmup",
    "pretrain": "data steps batch_rows row_tokens model optimiser limits",
    "sft": "template epochs batch adapter sampling optimiser limits",
    "collect": "source guideline",
    "reward": "template epochs batch centre labels ensemble adapter optimiser limits",
    "dpo": "loss beta pairs template epochs batch labels adapter sampling optimiser limits",
    "ppo": f"{CLIPPED} no_eos_penalty dual_clip gamma lam whiten reward_clip reward_scale entropy_coef early_stop_kl "
    "value",
    "grpo": f"{GROUPED} scale",
    "rloo": f"{GROUPED} whiten",
    "online_dpo": f"{ONLINE} no_eos_penalty loss beta pairs soft",
    "best_of": "rewards data prompts held_out_prompts answers sampling token_budget",
    "audit": "reference data prompts answers sampling token_budget",
    "compare": "data prompts answers sampling token_budget",
}
"""Kind of step, or block -> its fields that are read whatever else is set (an empty one may mean `off`)."""


class When(NamedTuple):
    """A value of an option, settings under which it is read (None: never), and those under which it is refused, each
    with what the refusal names beside the option."""

    value: Any
    read: dict[str, Any] | None
    refused: tuple[tuple[dict[str, Any], str], ...]


BOTH = {"policy": "sft", "judgments": "collect"}
RULE = {"rewards": [{"length": {"target": 8}}]}
NO_MODEL = {"from": {"policy": "sft"}, **RULE}
FILE = {"source": "file", "data": "d.jsonl", "from": {}}
SERVICE = {"source": "service"}
UNASKED = {"source": "service", "from": {}}
SERVED = {
    "db": When("a.db", SERVICE, (({}, "`source: service`"),)),
    "wait": When(True, SERVICE, (({}, "`source: service`"),)),
}
BLOCKS: dict[type[Block], dict[str, When]] = {
    Ensemble: {
        "members": When(4, {"differ": "raters"}, (({"differ": "guideline"}, "`differ: seed` or"),)),
        "attribute": When("team", {"differ": "attribute"}, (({"differ": "seed"}, "`differ: attribute`"),)),
    },
    Combine: {"k": When(2.0, {"how": "lower"}, (({"how": "min"}, "`how: lower`"),))},
    RewardSource: {
        "timeout": When(5, {"function": "a:b"}, (({"model": "m/x"}, "`function`"), ({"exact": {}}, "`function`")))
    },
    Kl: {
        "estimator": When("k3", {"place": "loss"}, (({}, "`place: loss`"),)),
        "target": When(3.0, {"control": "adaptive"}, (({}, "`control: adaptive`"),)),
        "horizon": When(9.0, {"control": "adaptive"}, (({}, "`control: adaptive`"),)),
    },
    Value: {
        "init": When("policy", {}, (({"trunk": "shared"}, "`trunk: separate`"),)),
        "coef": When(1.0, {"trunk": "shared"}, (({}, "`trunk: shared`"),)),
    },
}
"""Options of blocks that are read under a condition."""
WEIGHED = {
    "reward_weight": When(2.0, {}, ((NO_MODEL, "`from: {reward: STEP}`"),)),
    "combine": When({"how": "min"}, {}, ((NO_MODEL, "`from: {reward: STEP}`"),)),
}
LOSSES = {
    "label_smoothing": When(0.2, {"loss": "cdpo"}, (({}, "`loss: cdpo` or `loss: robust`"),)),
    "gamma": When(0.5, {"loss": "simpo"}, (({"loss": "ipo"}, "`loss: simpo`"),)),
    "desirable_weight": When(2.0, {"loss": "kto"}, (({}, "`loss: kto`"),)),
    "undesirable_weight": When(2.0, {"loss": "kto"}, (({"loss": "hinge"}, "`loss: kto`"),)),
}
NO_PENALTY = {"no_eos_penalty": When(2.0, {}, (({"truncated": "mask"}, "`truncated: keep`"),))}
NEVER = "leave it out"
STEPS: dict[str, dict[str, When]] = {
    "pretrain": {
        "documents": When(9, {"data": "lab:sums"}, (({"data": "d.jsonl"}, "`data: lab`"),)),
        "limits.max_length": When(9, None, (({}, NEVER),)),
        "limits.too_long": When("drop", None, (({}, NEVER),)),
    },
    "sft": {
        "model": When("m/x", {"from": {"demonstrations": "best"}}, (({"from": {"model": "base"}}, "{model: STEP}"),)),
        "source": When("service", {}, (({"from": {"demonstrations": "best"}}, "{demonstrations: STEP}"),)),
        "data": When(
            "d.jsonl",
            {},
            (({"from": {"demonstrations": "best"}}, "{demonstrations: STEP}"), (SERVICE, "`source: data`")),
        ),
        **SERVED,
        "demonstrations": When(
            9,
            {},
            (
                ({"data": "d.jsonl"}, "`data: lab`"),
                ({"from": {"demonstrations": "best"}}, "demonstrations: STEP"),
                (SERVICE, "`data: lab`"),
            ),
        ),
    },
    "collect": {
        **SERVED,
        "data": When(
            "d.jsonl", {"source": "file", "from": {}}, (({}, "`source: file`"), (UNASKED, "`from: {policy: STEP}`"))
        ),
        "raters": When({"count": 3}, {}, ((FILE, "`source: lab`"), (SERVICE, "`source: lab`"))),
        "overlap": When(2, SERVICE, (({}, "`source: service`"), (UNASKED, "`from: {policy: STEP}`"))),
        **{
            name: When(value, {}, ((FILE, "`source: lab`"), (UNASKED, "`from: {policy: STEP}`")))
            for name, value in {
                "prompts": 9,
                "held_out_prompts": 9,
                "answers": 3,
                "sampling": {"max_tokens": 3},
                "token_budget": 9,
            }.items()
        },
    },
    "reward": {
        "model": When("m/x", {}, (({"from": {**BOTH, "policy": ["a", "b"]}, "ensemble": {}}, "one trunk"),)),
        "normalise_prompts": When(9, {}, (({"from": {"judgments": "c"}, "model": "m/x"}, "{policy: STEP}"),)),
        "sampling": When(
            {"max_tokens": 3},
            {},
            (
                ({"from": {"judgments": "c"}, "model": "m/x"}, "{policy: STEP}"),
                ({"normalise_prompts": 0}, "`normalise_prompts: 0`"),
            ),
        ),
    },
    "dpo": {
        **LOSSES,
        "model": When("m/x", {"from": {"judgments": "c"}}, (({}, "`policy: STEP`"),)),
        "labels.soft": When(True, {}, (({"loss": "kto"}, "`loss: kto`"),)),
        "labels.ties": When("half", {}, (({"loss": "kto"}, "`loss: kto`"),)),
    },
    "ppo": {**WEIGHED, "value.init": When("reward", {}, ((NO_MODEL, "`from: {reward: STEP}`"),))},
    "grpo": {
        **WEIGHED,
        **NO_PENALTY,
        "kl.place": When("reward", {"kl": {"coef": 0.1}}, (({}, "`coef: 0`"),)),
        "kl.estimator": When(
            "k2",
            {"kl": {"coef": 0.1}},
            (({"kl": {"coef": 0.1, "place": "reward"}}, "`place: loss`"), ({}, "`coef: 0`")),
        ),
    },
    "rloo": {**WEIGHED, **NO_PENALTY},
    "online_dpo": {**WEIGHED, **LOSSES},
    "best_of": {**WEIGHED, "combine.stop_above": When(1.0, None, (({}, NEVER),))},
    "audit": {
        "rewards": When(
            RULE["rewards"],
            {"data": "d.jsonl"},
            (({}, "gold"), ({"data": "d.jsonl", "from": {"sft": "sft", "judge": "r"}}, "`judge`")),
        ),
        "best_of": When(8, {"from": {"sft": "sft", "reward": "r"}}, (({}, "`from: {reward: STEP}`"),)),
    },
}
"""Options of kinds of step, blocks in them included, that are read under a condition."""
LEAST: dict[str, dict[str, Any]] = {
    **{kind: {"from": {"policy": "sft", "reward": "reward"}} for kind in KINDS},
    "pretrain": {},
    "sft": {},
    "collect": {"from": {"policy": "sft"}},
    "reward": {"from": BOTH},
    "dpo": {"from": BOTH},
    "audit": {"from": {"sft": "sft"}},
    "compare": {"from": {"a": "x", "b": "y"}},
}
"""The least a step of each kind must say."""


def nested(path: str, value: Any) -> dict[str, Any]:
    """`{"a": {"b": value}}` of `a.b`."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def given(least: dict[str, Any], settings: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Settings with one option on top, in its block where it stands in one."""
    merged = {**least, **settings}
    head, _, rest = path.partition(".")
    return {**merged, head: {**merged.get(head, {}), **nested(rest, value)} if rest else value}


def conditions() -> Iterator[tuple[type[Block], dict[str, Any], str, When]]:
    """Every conditional option with the model that holds it and the least that model must be told."""
    for block, options in BLOCKS.items():
        yield from ((block, {}, path, when) for path, when in options.items())
    for kind, options in STEPS.items():
        yield from ((KINDS[kind], LEAST[kind], path, when) for path, when in options.items())


def names(case: Any) -> str | None:
    return case.__name__ if isinstance(case, type) else case if isinstance(case, str) else None


def rule(kind: str, path: str) -> bool:
    """Whether the table knows a field."""
    block, name = owner(kind, path)
    if path in STEPS.get(kind, {}):
        return True
    if block is None:
        return name in ALWAYS[kind].split()
    return name in ALWAYS[block.__name__].split() or name in BLOCKS.get(block, {})


def walk(model: type[Block], trail: str = "") -> Iterator[str]:
    """Every field of a model and of the blocks in it, but for what all steps have."""
    for name, field in model.model_fields.items():
        if name in StepConfig.model_fields:
            continue
        yield trail + name
        if inner := block_of(field):
            yield from walk(inner, f"{trail}{name}.")


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_knows_every_field(kind: str) -> None:
    assert not [path for path in walk(KINDS[kind]) if not rule(kind, path)], "say when it is read, and refuse it else"


def test_the_table_knows_nothing_else() -> None:
    paths = {kind: list(walk(model)) for kind, model in KINDS.items()}
    assert set(ALWAYS) >= set(KINDS) >= set(STEPS)
    assert all(path in paths[kind] for kind, options in STEPS.items() for path in options)
    for kind, found in paths.items():
        own = [path for path in found if "." not in path]
        assert sorted(own) == sorted({*ALWAYS[kind].split(), *(p for p in STEPS.get(kind, {}) if "." not in p)})


def test_a_field_that_is_new_would_be_missed() -> None:
    class Grown(KINDS["ppo"]):  # type: ignore[misc, name-defined]
        """PPO with a further option."""

        wager: float = 0.0

    assert [path for path in walk(Grown) if not rule("ppo", path)] == ["wager"]


@pytest.mark.parametrize(("model", "least", "path", "when"), conditions(), ids=names)
def test_what_is_not_read_is_refused_with_a_name_for_both(
    model: type[Block], least: dict[str, Any], path: str, when: When
) -> None:
    for settings, named in when.refused:
        if least or settings:  # without the option the same settings are fine, or the refusal would prove nothing
            model.model_validate({**least, **settings})
        with pytest.raises(ValidationError) as error:
            model.model_validate(given(least, settings, path, when.value))
        said = str(error.value)
        assert named in said and path.split(".")[-1] in said, said


@pytest.mark.parametrize(("model", "least", "path", "when"), conditions(), ids=names)
def test_what_is_read_is_taken(model: type[Block], least: dict[str, Any], path: str, when: When) -> None:
    if when.read is None:
        return
    found: Any = model.model_validate(given(least, when.read, path, when.value))
    for name in path.split("."):
        found = getattr(found, name)
    if isinstance(found, Block):
        assert when.value.items() <= found.model_dump().items()
    else:
        assert found == when.value or found == [RewardSource.model_validate(rule) for rule in when.value]


def conditional() -> dict[type[Block], set[str]]:
    """Options that `NEEDS` or a step's inputs make conditional."""
    found: dict[type[Block], set[str]] = {}
    models = [*KINDS.values(), *BLOCKS, *(block for kind in KINDS.values() for block in _blocks(kind))]
    for model in dict.fromkeys(models):
        asked = {*model.NEEDS}
        if issubclass(model, StepConfig):
            asked |= {*model.WITH, *model.INSTEAD, *model.UNREAD}
        found[model] = asked
    return found


def _blocks(model: type[Block]) -> Iterator[type[Block]]:
    for field in model.model_fields.values():
        if inner := block_of(field):
            yield inner
            yield from _blocks(inner)


@pytest.mark.parametrize("model", conditional(), ids=names)
def test_every_condition_names_a_field_and_is_tested(model: type[Block]) -> None:
    tested = {(held, path) for held, _, path, _ in conditions()}
    for path in conditional()[model]:
        assert path.split(".")[0] in model.model_fields
        kinds = [kind for kind, held in KINDS.items() if any(block is model for block in _blocks(held))]
        within = {(KINDS[kind], full) for kind in kinds for full in STEPS.get(kind, {}) if full.endswith(f".{path}")}
        assert (model, path) in tested or within, f"{model.__name__}.{path}"
    for other, values in model.NEEDS.values():
        assert other in model.model_fields
        for value in values:  # a misspelt one would refuse the option everywhere
            TypeAdapter(model.model_fields[other].annotation).validate_python(value)


@pytest.mark.parametrize("model", [*KINDS.values(), *BLOCKS], ids=names)
def test_no_default_sets_an_option_that_depends_on_another(model: type[Block]) -> None:
    """What a step's default sets counts as said by the user as soon as he sets another option of that block."""
    for name, field in model.model_fields.items():
        if isinstance(field.default, Block):
            assert not field.default.model_fields_set & {*field.default.NEEDS}, name
            unread = {p.split(".")[1] for p in getattr(model, "UNREAD", ()) if p.startswith(f"{name}.")}
            assert not field.default.model_fields_set & unread, name


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_and_every_single_block_load(kind: str) -> None:
    """One setting of a block at a time, each at its default: no default is refused but where the table says so."""
    KINDS[kind].model_validate(LEAST[kind])
    for path in walk(KINDS[kind]):
        block, name = owner(kind, path)
        if path.count(".") != 1 or block is None or path in STEPS.get(kind, {}) or name in BLOCKS.get(block, {}):
            continue
        head = path.split(".")[0]
        if head in STEPS.get(kind, {}) or not isinstance(KINDS[kind].model_fields[head].default, Block):
            continue
        default = getattr(KINDS[kind].model_fields[head].default, name)
        dumped = default.model_dump() if isinstance(default, Block) else default
        KINDS[kind].model_validate(given(LEAST[kind], {}, path, dumped))


def test_the_message_says_what_is_not_read_and_what_it_goes_with() -> None:
    with pytest.raises(ValidationError) as error:
        KINDS["ppo"].model_validate({**LEAST["ppo"], "kl": {"estimator": "k3"}})
    expected = "`estimator` is not read with `place: reward`; it goes with `place: loss`"
    assert re.search(re.escape(expected), str(error.value))
