"""What an endpoint answers: the model's own text, the same for the same request, in the shapes OpenAI documents."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

import data_tokenizers
import served
import tiny
from assent.config.blocks import Sampling
from assent.core.records import Message, Prompt
from assent.data.render import encode_prompts
from assent.engine.generate import LocalGenerator
from assent.serving import answer
from served import CHAT, TEXT, ask, texts


def greedy(generator: LocalGenerator, prompt: Prompt, max_tokens: int) -> str:
    """The likeliest answer, by the generator itself."""
    sampling = Sampling.model_construct(temperature=0, max_tokens=max_tokens)
    alone = LocalGenerator(generator.model, generator.tokenizer, "alone", sampling)
    return alone.generate([prompt], 1, 0)[0].answers[0].text


def finishing(client: TestClient, finish: str, **fields: Any) -> dict[str, Any]:
    """A request whose one answer ends so."""
    for seed in range(40):
        body = ask(seed=seed, **fields)
        if client.post(CHAT, json=body).json()["choices"][0]["finish_reason"] == finish:
            return body
    raise AssertionError(f"no answer of 40 ends with {finish}")


# The model's own answers


def test_a_conversation_goes_through_the_models_own_template() -> None:
    turns = [("system", "w9"), ("user", "w1 w2"), ("assistant", "w3"), ("user", "w4")]
    prompt = Prompt(messages=tuple(Message(role=role, content=text) for role, text in turns))
    generator = served.words()
    (ids,) = encode_prompts([prompt], generator.tokenizer)
    body = ask(messages=[{"role": role, "content": text} for role, text in turns], temperature=0)
    with served.client(generator) as client:
        reply = client.post(CHAT, json=body).json()
        untold = client.post(CHAT, json={**body, "messages": body["messages"][1:]}).json()
    assert texts(reply) == [greedy(generator, prompt, 12)]
    assert reply["usage"]["prompt_tokens"] == len(ids) == untold["usage"]["prompt_tokens"] + 2
    assert texts(untold) != texts(reply)


@pytest.mark.parametrize("template", ["qwen2.5-instruct", "smollm2-instruct"])
def test_published_templates_write_system_message_and_turns(template: str) -> None:
    generator = served.letters(str(data_tokenizers.TEMPLATES / f"{template}.jinja"))
    turns = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi!"), ("user", "Human there?")]
    messages = [{"role": role, "content": text} for role, text in turns]
    written = generator.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    n = len(generator.tokenizer(written, add_special_tokens=False)["input_ids"])
    with served.client(generator) as client:
        reply = client.post(CHAT, json=ask(messages=messages)).json()
    assert reply["usage"]["prompt_tokens"] == n


def test_a_completion_goes_on_from_plain_text() -> None:
    generator = served.words()
    with served.client(generator) as client:
        body = {"model": served.NAME, "prompt": "w1 w2", "temperature": 0, "max_tokens": 9}
        reply = client.post(TEXT, json=body).json()
    assert reply["choices"][0]["text"] == greedy(generator, Prompt.of("w1 w2"), 9)
    assert reply["object"] == "text_completion" and reply["id"].startswith("cmpl-")
    assert reply["usage"]["prompt_tokens"] == 2


def test_several_prompts_are_answered_in_their_order() -> None:
    generator, prompts = served.words(), ["w1", "w2 w3", "w4"]
    with served.client(generator) as client:
        body = {"model": served.NAME, "prompt": prompts, "n": 2, "temperature": 0, "max_tokens": 5}
        reply = client.post(TEXT, json=body).json()
    wanted = [greedy(generator, Prompt.of(text), 5) for text in prompts for _ in range(2)]
    assert [choice["text"] for choice in reply["choices"]] == wanted
    assert [choice["index"] for choice in reply["choices"]] == list(range(6))
    assert reply["usage"]["prompt_tokens"] == 4


def test_parts_of_text_and_the_newer_names_mean_the_same() -> None:
    parts = [{"type": "text", "text": "w1 "}, {"type": "text", "text": "w2"}]
    newer = {"role": "developer", "content": "w9"}
    with served.client() as client:
        old = client.post(CHAT, json=ask(messages=[{"role": "system", "content": "w9"}, ask("w1 w2")["messages"][0]]))
        body = ask(messages=[newer, {"role": "user", "content": parts, "name": None}])
        body["max_completion_tokens"] = body.pop("max_tokens")
        new = client.post(CHAT, json=body)
    assert texts(new.json()) == texts(old.json())


# Shapes


def test_a_chat_has_the_documented_shape() -> None:
    with served.client() as client:
        reply = client.post(CHAT, json=ask(n=2)).json()
    assert reply["object"] == "chat.completion" and reply["id"].startswith("chatcmpl-")
    assert reply["model"] == served.NAME and isinstance(reply["created"], int)
    for index, choice in enumerate(reply["choices"]):
        assert choice["index"] == index and choice["logprobs"] is None
        assert choice["message"]["role"] == "assistant"
        assert choice["finish_reason"] in ("stop", "length")
    used = reply["usage"]
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]


def test_models_are_listed_and_found_by_name() -> None:
    generator = LocalGenerator(tiny.policy(), tiny.tokenizer(), "runs/demo/ppo", Sampling())
    with served.client(generator) as client:
        (card,) = client.get("/v1/models").json()["data"]
        assert card["id"] == "runs/demo/ppo" and card["object"] == "model"
        assert client.get("/v1/models/runs/demo/ppo").json() == card
        assert client.get("/v1/models/other").status_code == 404
        assert client.get("/healthz").json() == {"status": "ok", "waiting": 0, "running": 0}


# How an answer ends


def test_a_finish_reason_tells_a_cut_from_an_end() -> None:
    with served.client() as client:
        whole = client.post(CHAT, json=finishing(client, "stop")).json()
        cut = client.post(CHAT, json=finishing(client, "length")).json()
    assert whole["usage"]["completion_tokens"] <= 12 and "<eos>" not in texts(whole)[0]
    assert cut["usage"]["completion_tokens"] == 12


def test_a_longer_limit_goes_on_where_a_shorter_one_ended() -> None:
    with served.client() as client:
        body = finishing(client, "length")
        long = texts(client.post(CHAT, json=body).json())[0].split()
        short = texts(client.post(CHAT, json={**body, "max_tokens": 5}).json())[0].split()
        free = client.post(CHAT, json={**body, "max_tokens": None}).json()
    assert len(short) == 5 and long[:5] == short
    assert texts(free)[0].split()[:12] == long, "without a limit an answer may fill the context"


@pytest.mark.parametrize("listed", [False, True])
def test_text_ends_before_a_stop_string(listed: bool) -> None:
    with served.client() as client:
        body = finishing(client, "length")
        (text,) = texts(client.post(CHAT, json=body).json())
        stop = text[8:11]  # in the middle of words
        reply = client.post(CHAT, json={**body, "stop": ["no such text", stop] if listed else stop}).json()
    assert texts(reply) == [text[: text.index(stop)]]
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"]["completion_tokens"] < 12, "the model goes on although nobody reads it"


def test_the_earliest_of_several_stop_strings_counts() -> None:
    with served.client() as client:
        body = finishing(client, "length")
        words = texts(client.post(CHAT, json=body).json())[0].split(" ")
        reply = client.post(CHAT, json={**body, "stop": [words[5], words[2]]}).json()
    assert texts(reply)[0].split() == words[: words.index(min(words[5], words[2], key=words.index))]


# Determinism


def test_the_same_seed_gives_the_same_answers_and_another_gives_others() -> None:
    with served.client() as client:
        first, again, other = (texts(client.post(CHAT, json=ask(n=3, seed=s)).json()) for s in (1, 1, 2))
        assert first == again != other
        assert len(set(first)) == 3, "the answers of one request are one another's copies"
        assert texts(client.post(CHAT, json=ask(n=1, seed=1)).json()) == first[:1]


def test_without_a_seed_answers_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request draws a seed of its own: here the numbers from 0."""
    seeds = count()
    monkeypatch.setattr(answer, "secrets", SimpleNamespace(randbits=lambda bits: next(seeds)))
    with served.client() as client:
        told = [texts(client.post(CHAT, json=ask(seed=seed)).json())[0] for seed in range(4)]
        found = [texts(client.post(CHAT, json=ask(seed=None)).json())[0] for _ in range(4)]
    assert found == told and len(set(found)) == 4


def test_requests_that_are_answered_together_get_what_they_get_alone() -> None:
    bodies = [ask(f"w{i} w{i + 1}", seed=i % 3, max_tokens=4 + i, n=1 + i % 2) for i in range(8)] + [
        ask("w0 w1", seed=0)
    ]
    n = sum(body.get("n", 1) for body in bodies)
    with served.client() as client:
        alone = [texts(client.post(CHAT, json=body).json()) for body in bodies]
    # The batch begins when all are there.
    with served.client(gather=60, max_answers=n) as client, ThreadPoolExecutor(len(bodies)) as pool:
        together = list(pool.map(lambda body: texts(client.post(CHAT, json=body).json()), bodies))
    assert together == alone


# Log-probs


def test_log_probs_are_the_models_own() -> None:
    generator = served.words()
    with served.client(generator) as client:
        body = ask(logprobs=True, temperature=0.7)
        (choice,) = client.post(CHAT, json=body).json()["choices"]
    found = choice["logprobs"]["content"]
    assert [each["token"] for each in found if not each["token"].startswith("<")] == choice["message"][
        "content"
    ].split()
    assert all(bytes(each["bytes"]).decode() == each["token"] for each in found)
    (ids,) = encode_prompts([Prompt.ask("w1 w2 w3")], generator.tokenizer)
    drawn = generator.tokenizer.convert_tokens_to_ids([each["token"] for each in found])
    oracle_TV = tiny.alone(generator.model, ids, drawn, 0.7)
    wanted = oracle_TV[torch.arange(len(drawn)), torch.tensor(drawn)]
    torch.testing.assert_close(torch.tensor([each["logprob"] for each in found], dtype=torch.float64), wanted)
