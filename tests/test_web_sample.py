"""Sampling answers for the queue: varied, whole or not at all, named where it fails, passed over where it was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from asked_models import Models, by_model, endpoint
from assent.core.records import Prompt
from assent.feedback.records import Role
from assent.feedback.store import Store
from assent.web.sampling import Job, Plan
from web_tools import client, join, open_store

XYZ = (endpoint("x"), endpoint("y"), endpoint("z"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as made:
        yield made


def prompts(n: int) -> tuple[Prompt, ...]:
    return tuple(Prompt.ask(f"Question {i}?") for i in range(n))


def run(plan: Plan, store: Store, models: Models) -> Job:
    job = Job(plan)
    job.run(store, models.client)
    return job


@pytest.mark.parametrize(("answers", "kind"), [(2, "compare"), (3, "rank"), (4, "rank")])
def test_answers_come_into_the_queue_whole(answers: int, kind: str, store: Store) -> None:
    job = run(Plan(prompts(6), XYZ, answers=answers, overlap=3), store, Models(by_model))
    assert (job.state, job.added, job.known, job.problems) == ("done", 6, 0, [])
    groups = store.groups()
    assert sorted(g.prompt.text for g in groups) == sorted(p.text for p in prompts(6))
    assert all(len(g.answers) == answers and [a.index for a in g.answers] == list(range(answers)) for g in groups)
    assert (store.progress().items, store.progress().places) == (6, 18)
    for group in groups:
        for each in group.answers:  # stamped with the model and the seed that made it
            assert each.text == f"{each.source.split()[0][-1].upper()} after 1, {each.seed}"
    lead = store.accept(store.invite(Role.lead, None), "Ada", "a long password")
    assert store.next(lead).kind == kind  # type: ignore[union-attr]


def test_models_and_temperatures_vary_from_prompt_to_prompt() -> None:
    plan = Plan(prompts(200), XYZ, temperatures=(0.2, 1.0), answers=2)
    pairs = Counter(tuple((d.endpoint.name, d.temperature) for d in plan.draws(prompt)) for prompt in plan.prompts)
    assert len(pairs) == 30 and all(a != b for a, b in pairs)  # every ordered pair of the six ways
    alone = Plan(prompts(1), XYZ[:1], answers=4).draws(prompts(1)[0])
    assert len({draw.seed for draw in alone}) == len({draw.id for draw in alone}) == 4


def test_what_fails_is_named_and_nothing_of_it_is_in_the_queue(store: Store) -> None:
    def answer(body: dict[str, Any]) -> str | httpx.Response:
        said = body["messages"][0]["content"]
        if said == "Question 1?" and body["model"] == "secret-y":
            return httpx.Response(400, json={"error": {"message": "too long"}})
        if said == "Question 2?":
            return " the same\n" if body["model"] == "secret-x" else "the same"
        return by_model(body)

    models = Models(answer)
    job = run(Plan(prompts(4), XYZ[:2]), store, models)
    assert job.state == "done" and job.added == 2
    assert sorted(job.problems) == [
        ("Question 1?", "end-y answered 400: too long (1 try)"),
        ("Question 2?", "all 2 answers are the same"),
    ]
    assert sorted(g.prompt.text for g in store.groups()) == ["Question 0?", "Question 3?"]
    # Again: what is there is not asked again, what failed is, and now it works.
    models.answer = by_model
    models.asked.clear()
    job = run(Plan(prompts(4), XYZ[:2]), store, models)
    assert (job.added, job.known, job.problems) == (2, 2, []) and len(models.asked) == 4
    assert len(store.groups()) == store.progress().items == 4
    # Another seed is another question.
    assert run(Plan(prompts(4), XYZ[:2], seed=1), store, models).added == 4


def test_equal_answers_are_dropped_and_the_rest_is_asked_about(store: Store) -> None:
    models = Models(lambda body: "x says" if body["model"] == "secret-x" else by_model(body))
    plan = Plan(prompts(1), (XYZ[0], XYZ[1]), answers=3)
    names = [draw.endpoint.name for draw in plan.draws(plan.prompts[0])]
    models.answer = lambda body: "twice" if f"end-{body['model'][-1]}" == names[0] else by_model(body)
    assert run(plan, store, models).added == 1
    (group,) = store.groups()
    assert [a.text == "twice" for a in group.answers] == [True, False]  # the third was the first again
    assert run(plan, store, models).known == 1


def test_a_stopped_job_goes_on_where_it_was(store: Store) -> None:
    plan = Plan(prompts(30), XYZ[:2])
    job = Job(plan)

    def answer(body: dict[str, Any]) -> str:
        if job.added >= 3:
            job.stop()
        return by_model(body)

    models = Models(answer)
    job.run(store, models.client)
    assert job.state == "stopped" and 3 <= job.added < 30 and job.problems == []
    assert len(store.groups()) == job.added
    models.answer = by_model
    rest = run(plan, store, models)
    assert rest.state == "done" and rest.known == job.added and rest.added == 30 - job.added


def test_a_fault_of_our_own_does_not_hang_the_job(store: Store) -> None:
    def broken(body: dict[str, Any]) -> str:
        raise KeyError("a bug")

    job = run(Plan(prompts(5), XYZ[:1]), store, Models(broken))
    assert job.state == "done" and len(job.problems) == 5 and "a bug" not in str(job.problems)


class Lead:
    """A lead at the page."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.http: TestClient = client(store, folder, endpoints=XYZ)
        self.state = self.http.app.state  # type: ignore[attr-defined]
        self.state.models = Models(by_model).client
        self.token = join(store, self.http, Role.lead, "Ada")

    def post(self, file: tuple[str, bytes] | None = None, **fields: Any) -> httpx.Response:
        form = {"csrf": self.token, "answers": "2", "overlap": "2", "seed": "0", "endpoint": ["end-x", "end-y"]}
        files = {"file": file} if file else {}
        answer = self.http.post("/lead/sample", data={**form, **fields}, files=files)
        if self.state.sampling.thread:
            self.state.sampling.thread.join()
        return answer  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "Why?\n\n  How? \nWhy?\n".encode("utf-8-sig")),
        ("p.jsonl", b'{"prompt": "Why?"}\n{"prompt": [{"role": "user", "content": "How?"}]}\n'),
        ("p.csv", b"prompt\nWhy?\nHow?\n"),
    ],
)
def test_prompts_are_pasted_or_come_in_a_file(name: str, content: bytes, store: Store, tmp_path: Path) -> None:
    lead = Lead(store, tmp_path)
    assert lead.post((name, content), prompts="Why?\r\nWhen?\r\n").status_code == 303
    assert sorted(g.prompt.text for g in store.groups()) == ["How?", "When?", "Why?"]
    assert not any(g.prompt.plain for g in store.groups())  # as the models were asked
    page = lead.http.get("/lead/sample").text
    assert "Sampled" in page and "Go on with the rest" not in page
    assert lead.http.get("/api/sample").json() == {"state": "done", "done": 3, "total": 3}
    again = {"csrf": lead.token}
    assert lead.http.post("/lead/sample/again", data=again).status_code == 303
    lead.state.sampling.thread.join()
    assert lead.state.sampling.job.known == 3 and len(store.groups()) == 3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompts": " \n"}, "Paste prompts"),
        ({"prompts": "a", "endpoint": []}, "at least one model"),
        ({"prompts": "a", "endpoint": ["http://169.254.169.254/"]}, "no model"),
        ({"prompts": "a", "answers": "5"}, "from 2 to 4"),
        ({"prompts": "a", "overlap": "0"}, "from 1 to 50"),
        ({"prompts": "a", "temperatures": "0.5, hot"}, "Temperatures"),
        ({"prompts": "a", "temperatures": "nan"}, "Temperatures"),
        ({"prompts": "a\n" + "\n".join(map(str, range(2000)))}, "2000 are the most"),
        ({"file": ("p.exe", b"a")}, "must end in"),
        ({"file": ("p.txt", b"\xff\xfe\x00")}, "UTF-8"),
        ({"file": ("p.jsonl", b'{"prompt": "a"}\nnot json\n')}, "line 2"),
        ({"file": ("p.jsonl", b'{"prompt": [{"role": "assistant", "content": "a"}]}\n')}, ""),
    ],
)
def test_what_cannot_be_sampled_is_refused_before_anybody_is_asked(
    fields: dict[str, Any], said: str, store: Store, tmp_path: Path
) -> None:
    lead = Lead(store, tmp_path)
    answer = lead.post(**fields)
    assert answer.status_code == 400 and said in answer.text
    assert lead.state.sampling.job is None and store.groups() == []


def test_one_job_at_a_time(store: Store, tmp_path: Path) -> None:
    lead = Lead(store, tmp_path)
    lead.state.sampling.job = Job(Plan(prompts(1), XYZ))
    assert lead.post(prompts="a").status_code == 409
    assert 'src="/static/sample.js"' in lead.http.get("/lead/sample").text
