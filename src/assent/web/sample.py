"""The lead's page that samples answers: prompts in, models chosen, progress, what failed."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePath
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.datastructures import FormData, UploadFile
from starlette.responses import RedirectResponse, Response

from assent.core.records import Prompt
from assent.formats import load
from assent.web.auth import Form, Lead
from assent.web.auth import field as form_field
from assent.web.data import Preview, preview
from assent.web.endpoints import Endpoint
from assent.web.page import render
from assent.web.sampling import Job, Plan, Sampling

router = APIRouter()
PLAIN = (".txt", ".text")
MOST_PROMPTS = 2000
MOST_TEMPERATURES = 8


@router.get("/lead/sample")
def page(request: Request, person: Lead) -> Response:
    """The form, or the job that runs."""
    endpoints = request.app.state.settings.endpoints
    return render(request, "lead_sample.html.j2", endpoints=endpoints, job=_sampling(request).job)


@router.post("/lead/sample")
def start(request: Request, person: Lead, form: Form) -> Response:
    """Begin to sample."""
    plan = Plan(
        prompts=_prompts(form),
        endpoints=_chosen(form, request.app.state.settings.endpoints),
        temperatures=_temperatures(form_field(form, "temperatures")),
        answers=_number(form, "answers", 2, 4, "Answers per prompt"),
        overlap=_number(form, "overlap", 1, 50, "Judgments per item"),
        seed=_number(form, "seed", 0, 2**31 - 1, "Seed"),
        by=person.id,
    )
    return _begin(request, plan)


@router.post("/lead/sample/again")
def again(request: Request, person: Lead) -> Response:
    """The latest plan once more: what is in the queue is passed over, what failed is tried again."""
    job = _sampling(request).job
    if job is None:
        raise HTTPException(409, "There is nothing to go on with. Send the prompts again.")
    return _begin(request, job.plan)


@router.post("/lead/sample/stop")
def stop(request: Request, person: Lead) -> Response:
    """Stop after the answers that are on their way; what is in the queue stays."""
    if (job := _sampling(request).job) is not None:
        job.stop()
    return RedirectResponse("/lead/sample", 303)


@router.get("/api/sample")
def state(request: Request, person: Lead) -> dict[str, Any]:
    """How far the job is."""
    job: Job | None = _sampling(request).job
    if job is None:
        return {"state": "none"}
    return {"state": job.state, "done": job.done, "total": job.total}


def _sampling(request: Request) -> Sampling:
    found: Sampling = request.app.state.sampling
    return found


def _begin(request: Request, plan: Plan) -> Response:
    if not _sampling(request).start(plan, request.app.state.store, request.app.state.models):
        raise HTTPException(409, "Answers are being sampled already. Wait for the end, or stop it.")
    return RedirectResponse("/lead/sample", 303)


def _number(form: FormData, name: str, least: int, most: int, label: str) -> int:
    text = form_field(form, name, 12)
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise HTTPException(400, f"{label}: a number from {least} to {most}.")
    return int(text)


def _temperatures(text: str) -> tuple[float, ...]:
    try:
        found = tuple(dict.fromkeys(float(part) for part in text.replace(";", ",").split(",") if part.strip()))
    except ValueError:
        found = (-1.0,)
    if len(found) > MOST_TEMPERATURES or not all(0 <= each <= 2 for each in found):
        raise HTTPException(400, f"Temperatures: up to {MOST_TEMPERATURES} numbers from 0 to 2, with commas between.")
    return found


def _chosen(form: FormData, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    names = {name for name in form.getlist("endpoint") if isinstance(name, str)}
    if unknown := names - {each.name for each in endpoints}:
        raise HTTPException(400, f"There is no model {min(unknown)[:40]} here.")
    if not names:
        raise HTTPException(400, "Choose at least one model.")
    return tuple(each for each in endpoints if each.name in names)


def _prompts(form: FormData) -> tuple[Prompt, ...]:
    """What was pasted and what was uploaded, each prompt once. Raises HTTPException."""
    found = [Prompt.ask(line.strip()) for line in form_field(form, "prompts", 200_000).splitlines() if line.strip()]
    sent = form.get("file")
    if isinstance(sent, UploadFile) and sent.filename:
        found += _uploaded(sent)
    once = list({prompt.id: prompt for prompt in found}.values())
    if not once:
        raise HTTPException(400, "Paste prompts, one a line, or choose a file.")
    if len(once) > MOST_PROMPTS:
        raise HTTPException(400, f"{len(once)} prompts; {MOST_PROMPTS} are the most at a time.")
    return tuple(once)


def _uploaded(sent: UploadFile) -> list[Prompt]:
    suffix = PurePath(str(sent.filename).replace("\\", "/")).suffix.lower()
    content = sent.file.read()
    if suffix in PLAIN:
        try:
            lines = content.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise HTTPException(400, "The file is not UTF-8 text.") from None
        return [Prompt.ask(line.strip()) for line in lines if line.strip()]
    if suffix not in load.KINDS:
        raise HTTPException(400, f"The file must end in one of {', '.join((*PLAIN, *load.KINDS))}.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload{suffix}"
        path.write_bytes(content)
        return _asked(preview(path, str(sent.filename)))


def _asked(found: Preview) -> list[Prompt]:
    """Prompts as chat models are asked them. A file with a fault is refused whole: nothing was asked yet."""
    if found.refused:
        row, why = found.refused[0]
        raise HTTPException(400, f"{len(found.refused)} rows cannot be read. The first, {row}: {why}.")
    made = [Prompt.ask(g.prompt.text, **g.prompt.tags) if g.prompt.plain else g.prompt for g in found.groups]
    for prompt in made:
        if prompt.messages[-1].role != "user" or not prompt.text.strip():
            raise HTTPException(400, f"A prompt does not end with a question: {prompt.text[:60]!r}.")
    return made
