"""Commands that use a trained model: chat, sample, best-of, score, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assent.core.console import log, out
from assent.core.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:
    from assent.core.records import Prompt
    from assent.engine.generate import LocalGenerator

Model = Annotated[str, typer.Argument(help="Model folder, a step of a run (runs/demo/ppo), or a hub id.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the sampling.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0, help="0: the likeliest token each time.")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer.")]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    for command in (chat, sample, best_of, score, compare):
        app.command(command.__name__.replace("_", "-"))(command)


def folder_of(model: str) -> str:
    """The model folder behind a name: a step's `weights`, or the name itself."""
    from assent.artifacts import manifest
    from assent.artifacts.store import RESOLVED

    folder = Path(model)
    done = (folder / manifest.FILE).exists()
    if (folder / RESOLVED).exists() and not done:
        raise ModelError(
            "is a step that has not finished", where=model, fix="run its recipe again: it goes on from there"
        )
    if (folder / "weights").is_dir():
        return str(folder / "weights")
    if done:
        raise ModelError("is a step that made no model", where=model)
    if steps := sorted(f"{model}/{path.parent.name}" for path in folder.glob("*/weights")):
        raise ModelError("is a run, but one model is needed", where=model, fix=f"name a step: {', '.join(steps)}")
    beside = sorted(str(path.parent) for path in folder.parent.glob("*/weights"))
    if beside and not folder.exists() and any(folder.parent.glob(f"*/{RESOLVED}")):  # not a hub id: that is a run
        raise ModelError("no such step in this run", where=model, fix=f"name a step: {', '.join(beside)}")
    return model


def _generator(model: str, temperature: float, max_tokens: int) -> LocalGenerator:
    from assent.config.blocks import Sampling
    from assent.engine.generate import LocalGenerator
    from assent.models.load import load_policy, load_tokenizer

    folder = folder_of(model)
    # Temperature 0 is no way to train, but a way to look: the check of a recipe's `sampling` is passed by.
    sampling = Sampling.model_construct(temperature=temperature, max_tokens=max_tokens)
    return LocalGenerator(load_policy(folder), load_tokenizer(folder), model, sampling)


def chat(model: Model, temperature: Temperature = 0.7, max_tokens: MaxTokens = 256, seed: Seed = 0) -> None:
    """Talk to a model. An empty line or Ctrl-D ends it."""
    from assent.core.records import Message, Prompt

    generator = _generator(model, temperature, max_tokens)
    turns: list[Message] = []
    while True:
        try:
            text = input("you> ").strip()
        except EOFError:
            break
        if not text:
            break
        turns.append(Message(role="user", content=text))
        prompt = Prompt(messages=tuple(turns))
        answer = _with_room(generator, prompt, max_tokens).generate([prompt], 1, seed + len(turns))[0].answers[0]
        out.print(f"model> {answer.text}", markup=False, soft_wrap=True)
        if answer.finish == "length":
            log.print("(cut: --max-tokens, or the model's context is full)", style="dim")
        turns.append(Message(role="assistant", content=answer.text or " "))


def _with_room(generator: LocalGenerator, prompt: Prompt, max_tokens: int) -> LocalGenerator:
    """The generator, its answers short enough to fit behind `prompt`; a conversation that leaves no room is refused."""
    from assent.data.render import encode_prompts
    from assent.models.load import context_length

    (ids,) = encode_prompts([prompt], generator.tokenizer)
    room = context_length(generator.model) - len(ids)
    if room < 1:
        raise DataError("the conversation fills the model's context", where="chat", fix="begin a new one")
    generator.sampling = generator.sampling.model_copy(update={"max_tokens": min(max_tokens, room)})
    return generator


def sample(
    model: Model,
    prompts: Annotated[str, typer.Argument(help="Prompts: file, folder or hub id.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Answers per prompt.")] = 1,
    temperature: Temperature = 1.0,
    max_tokens: MaxTokens = 128,
    seed: Seed = 0,
    to: Annotated[
        Path | None, typer.Option("--to", help="Write groups as JSON lines here instead of printing.")
    ] = None,
) -> None:
    """Sample answers to prompts, as groups in JSON lines."""
    from assent.core.jsonl import write_records
    from assent.formats.read import read_prompts

    asked = read_prompts(prompts)
    groups = _generator(model, temperature, max_tokens).generate(asked, n, seed)
    if to:
        write_records(to, groups)
        log.print(f"{len(groups)} groups of {n} written to {to}")
        return
    for group in groups:
        print(group.model_dump_json(exclude_defaults=True))


def best_of(
    model: Model,
    prompts: Annotated[str, typer.Argument(help="Prompts: file, folder or hub id.")],
    reward: Annotated[str, typer.Option("--reward", help="Reward model that picks: folder, step or hub id.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Answers per prompt.")] = 16,
    temperature: Temperature = 1.0,
    max_tokens: MaxTokens = 128,
    seed: Seed = 0,
    to: Annotated[
        Path | None, typer.Option("--to", help="Write the best answers as JSON lines here instead of printing.")
    ] = None,
) -> None:
    """The best of n answers to each prompt, as demonstrations in JSON lines; and what each n is worth."""
    from assent.core.jsonl import write_records
    from assent.core.records import Demonstration
    from assent.formats.read import read_prompts
    from assent.rewards.ensemble import load_scorer
    from assent.stats.best_of import curve
    from assent.steps import best_of as step

    if not temperature:
        raise ConfigError(
            "is 0: every answer would be the same", where="--temperature", fix="leave it out, or sample with 1"
        )
    asked, folder = read_prompts(prompts), folder_of(reward)
    scorer = load_scorer(reward, folder)
    groups = _generator(model, temperature, max_tokens).generate(asked, n, seed)
    scores = scorer.score(groups)
    picked = [(group, step.best(group, values)) for group, values in zip(groups, scores, strict=True)]
    found = [Demonstration(prompt=g.prompt, answer=a, author=a.source) for g, a in picked if a is not None]
    log.print(step.table(curve(scores, None, [p.subject for p in asked], n, seed=seed), "judge"))
    if len(found) < len(asked):
        log.print(f"{len(asked) - len(found)} of {len(asked)} prompts have no answer with a score", style="yellow")
    if to:
        write_records(to, found)
        log.print(f"the best of {n} answers to {len(found)} prompts written to {to}")
        return
    for demonstration in found:
        print(demonstration.model_dump_json(exclude_defaults=True))


def score(
    reward_model: Model,
    file: Annotated[str, typer.Argument(help="Pairs, groups or demonstrations: file, folder or hub id.")],
) -> None:
    """Score answers with a reward model, one JSON line per answer; accuracy where the file has preferences."""
    import json

    from assent.core.records import preference_pairs
    from assent.formats.read import read_groups, read_judgments
    from assent.rewards.ensemble import load_scorer

    folder = folder_of(reward_model)
    scorer = load_scorer(reward_model, folder)
    groups = read_groups(file)
    rewards = dict(zip((g.id for g in groups), scorer.score(groups), strict=True))
    for group in groups:
        for answer, value in zip(group.answers, rewards[group.id], strict=True):
            print(
                json.dumps(
                    {"group": group.id, "answer": answer.id, "reward": value, "text": answer.text}, ensure_ascii=False
                )
            )
    judgments = read_judgments(file)
    replaced = {j.supersedes for j in judgments}
    found = [j for j in judgments if j.id not in replaced]
    by_id = {group.id: group for group in groups}
    pairs = [
        (rewards[j.group][w], rewards[j.group][l])
        for j in found
        if j.outcome == "ranked"
        for w, l in preference_pairs(j, by_id[j.group])
    ]
    leads = [better - worse for better, worse in pairs if better is not None and worse is not None]
    if leads:
        right = sum(1.0 if lead > 0 else 0.5 if lead == 0 else 0.0 for lead in leads)
        log.print(f"agrees with {right / len(leads):.3f} of {len(leads)} preferences")


def compare(
    a: Model,
    b: Model,
    prompts: Annotated[str, typer.Option("--prompts", help="`lab`, or a file, folder or hub id.")] = "lab",
    judge: Annotated[
        str | None, typer.Option("--judge", help="Reward model; default: gold, with the lab's prompts.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Answers per prompt.")] = 1,
    temperature: Temperature = 1.0,
    max_tokens: MaxTokens = 128,
    seed: Seed = 0,
) -> None:
    """Win rate of A over B with its interval, by gold or by a reward model."""
    from assent.steps.compare import head_to_head

    models = [_generator(m, temperature, max_tokens) for m in (a, b)]
    name, found, prompts_n = head_to_head(models[0], models[1], prompts, folder_of(judge) if judge else None, n, seed)
    if found is None:
        out.print(f"{prompts_n} prompts are not enough data for an interval")
        return
    out.print(
        f"{a} against {b}: win rate {found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}] by {name}, "
        f"{found.n} subjects, {prompts_n} prompts, ties count half",
        markup=False,
    )
