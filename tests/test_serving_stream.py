"""Streams: what comes in pieces is what comes whole, in proper characters, and as soon as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import data_tokenizers
import served
import tiny
from assent.core.records import Prompt
from assent.serving.codec import UNFINISHED, Codec
from assent.serving.jobs import Done, Event, Job, Piece, Row
from held import Held
from served import CHAT, TEXT, ask, chunks, put_together


def whole(reply: dict[str, Any]) -> list[tuple[str, str]]:
    return [(choice["message"]["content"], choice["finish_reason"]) for choice in reply["choices"]]


@pytest.mark.parametrize(
    "fields", [{}, {"n": 4}, {"temperature": 0}, {"stop": ["w2", " w1"]}, {"max_tokens": 1}], ids=str
)
def test_a_stream_adds_up_to_the_whole_answer(fields: dict[str, Any]) -> None:
    with served.client() as client:
        for seed in range(6):
            body = ask(seed=seed, **fields) if "max_tokens" not in fields else {**ask(seed=seed), **fields}
            reply = client.post(CHAT, json=body).json()
            stream = client.post(CHAT, json={**body, "stream": True})
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert put_together(stream.text) == whole(reply)


def test_broken_characters_add_up_too() -> None:
    """Random bytes, with stop strings in them."""
    with served.client(served.letters()) as client:
        for seed in range(6):
            body = {**ask("Hello there", seed=seed, n=2, stop=["a", "n"]), "max_tokens": 120}
            reply = client.post(CHAT, json=body).json()
            assert put_together(client.post(CHAT, json={**body, "stream": True}).text) == whole(reply)


def test_the_chunks_of_a_chat_have_the_documented_shape() -> None:
    with served.client() as client:
        body = ask(stream=True, stream_options={"include_usage": True})
        found = chunks(client.post(CHAT, json=body).text)
        reply = client.post(CHAT, json=ask()).json()
    first, *pieces, last, count = found
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in found}) == 1
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all(list(chunk["choices"][0]["delta"]) == ["content"] for chunk in pieces)
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in (first, *pieces))
    assert last["choices"][0]["delta"] == {} and last["choices"][0]["finish_reason"] in ("stop", "length")
    assert all(chunk["usage"] is None for chunk in found[:-1])
    assert count["choices"] == [] and count["usage"] == reply["usage"]


def test_the_chunks_of_a_completion_hold_text() -> None:
    body = {"model": served.NAME, "prompt": "w1 w2", "seed": 3}
    with served.client() as client:
        text = client.post(TEXT, json=body).json()["choices"][0]["text"]
        found = chunks(client.post(TEXT, json={**body, "stream": True}).text)
    assert "".join(chunk["choices"][0]["text"] for chunk in found) == text
    assert {chunk["object"] for chunk in found} == {"text_completion"}
    assert "usage" not in found[0]


def test_pieces_come_while_the_answer_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    held, app = Held(monkeypatch, after=3), served.app()

    async def work() -> None:
        call = served.Call(app, CHAT, ask(stream=True))
        assert '"role":"assistant"' in await call.part()
        for _ in range(2):
            assert '"content":"' in await call.part()
        assert not held.go.is_set()
        held.go.set()
        await call.task

    served.running(app, work)


@pytest.mark.parametrize("stream", [False, True])
def test_when_the_client_leaves_its_answer_ends(monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    held, app = Held(monkeypatch, after=3), served.app()

    async def work() -> None:
        call = served.Call(app, CHAT, {**ask(stream=stream), "max_tokens": 40})
        await held.until_reached()
        call.leave()
        await call.task
        held.go.set()

    served.running(app, work)
    assert held.returned.wait(60) and held.tokens == 3, "the model goes on for a client that has left"


def test_who_leaves_while_waiting_is_never_sampled_and_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    held, app = Held(monkeypatch, after=1), served.app()

    async def work() -> None:
        first = served.Call(app, CHAT, ask())
        await held.until_reached()
        second, third = served.Call(app, CHAT, ask(temperature=0.5)), served.Call(app, CHAT, ask(temperature=0.6))
        while (await _state(app))["waiting"] < 2:
            await asyncio.sleep(0)
        second.leave()
        await second.task
        held.go.set()
        await first.task
        await third.task

    served.running(app, work)
    assert [temperature for temperature, _, _ in held.batches] == [1.0, 0.6]


async def _state(app: Any) -> dict[str, Any]:
    import httpx

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=served.HOST) as client:
        return dict((await client.get("/healthz")).json())


# Character by character


TEXTS = "Grüße, 5 € 😀 und 日本語! \N{REPLACEMENT CHARACTER} é"


def row(codec: Codec, *stop: str) -> tuple[Row, list[Event]]:
    events: list[Event] = []
    prompt = Prompt.ask("Hello")
    (ids,) = codec.encode([prompt])
    job = Job(prompt, ids, ("a",), 0, 1.0, 500, stop, True, False, events.append)
    return Row(job, 0, codec), events


def feed(codec: Codec, ids: Sequence[int], *stop: str) -> list[str]:
    """Pieces that are sent while these ids are drawn."""
    made, events = row(codec, *stop)
    for n in range(1, len(ids) + 1):
        if made.take(ids[:n]):
            break
    assert isinstance(events[-1], Done)
    pieces = [event.text for event in events if isinstance(event, Piece)]
    assert "".join(pieces) == events[-1].text
    return pieces


@pytest.fixture
def codec() -> Codec:
    generator = served.letters()
    return Codec(generator.model, generator.tokenizer)


def byte_ids(text: str) -> list[int]:
    """A token for every byte, and the end."""
    tokenizer = data_tokenizers.bpe()
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    ((written, _),) = letters.pre_tokenize_str(text)
    return [*tokenizer.convert_tokens_to_ids(list(written)), tokenizer.eos_token_id]


def test_characters_of_several_tokens_come_whole(codec: Codec) -> None:
    ids = byte_ids(TEXTS)
    assert len(ids) == len(TEXTS.encode()) + 1
    pieces = feed(codec, ids)
    assert "".join(pieces) == TEXTS
    assert sum(UNFINISHED in piece for piece in pieces) == 1, "only the one that was written as such"
    assert len(pieces) >= len(TEXTS) - 1, "characters are kept back longer than they need be"


def test_a_character_that_is_never_finished_comes_at_the_end(codec: Codec) -> None:
    ids = byte_ids("a€")
    assert feed(codec, [*ids[:-2], ids[-1]]) == ["a", UNFINISHED]


def test_no_part_of_a_stop_string_is_sent(codec: Codec) -> None:
    assert "".join(feed(codec, byte_ids("abcabcdabcde"), "abcde")) == "abcabcd"
    assert "".join(feed(codec, byte_ids("one €uro"), "€u")) == "one "
    assert feed(codec, byte_ids("xab"), "abc") == ["x", "ab"], "what only began one is sent at the end"


def test_blanks_that_a_tokenizer_takes_back_are_not_sent() -> None:
    """Tokenizers of words may write `go '` and then `s` as `go's`."""
    names = ["<pad>", "<bos>", "<eos>", "<unk>", "do", "n't", "stop", ",", "go", ".", "'", "s", "it"]
    core = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>", clean_up_tokenization_spaces=True)
    tokenizer.chat_template = tiny.TEMPLATE
    ids = [*tokenizer("do n't stop , go ' s . it")["input_ids"], tokenizer.eos_token_id]
    assert "".join(feed(Codec(tiny.policy(), tokenizer), ids)) == "don't stop, go's. it"


def test_a_long_answer_is_decoded_in_rarer_steps(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, text = [], codec.text
    monkeypatch.setattr(codec, "text", lambda *arguments: decoded.append(len(arguments[2])) or text(*arguments))
    pieces = feed(codec, byte_ids("w" * 480))
    assert "".join(pieces) == "w" * 480
    assert len(decoded) < 128 + 480 / 2 and max(map(len, pieces)) <= 480 // 128 + 1
