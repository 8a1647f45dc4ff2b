"""Conversations with two models in the store, on both databases: draws, votes once, what a vote becomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from assent.core.records import Answer, Message
from assent.feedback import chats
from assent.feedback.chats import Chat
from assent.feedback.errors import AlreadyAnswered, BadVerdict, NotFound
from assent.feedback.records import Person, Verdict, Wait
from assent.feedback.store import Store
from feedback_store import fresh_url, given, groups, open_store, person

BOTH = [[0, 1]]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with fresh_url(request.param, tmp_path) as url, open_store(url) as made:
        yield made


def start(store: Store, who: Person, key: str = "c", mode: chats.Mode = "ordinary", n: int = 3) -> Chat:
    names = [f"m{i}" for i in range(n)]
    found = store.write(lambda db, now: chats.start(db, now, who, key, mode, names))
    assert isinstance(found, Chat), found
    return found


def say(store: Store, who: Person, chat: Chat, key: str, text: str = "hello") -> Chat:
    found = store.write(lambda db, now: chats.say(db, now, who, chat.id, key, text))
    assert isinstance(found, Chat), found
    return found


def answer(store: Store, who: Person, chat: Chat, key: str, one: str = "one", two: str = "two") -> Chat:
    made = (
        Answer.of(chat.prompt, one, source="first", index=0),
        Answer.of(chat.prompt, two, source="second", index=1),
    )
    return store.write(lambda db, now: chats.answer(db, now, who, chat.id, key, made))


def vote(store: Store, who: Person, chat: Chat, key: str, places: list[list[int]], strength: int | None = 2) -> Chat:
    verdict = Verdict(strength=strength) if places else Verdict(outcome="both_bad")
    return store.write(lambda db, now: chats.vote(db, now, who, chat.id, chat.turn, key, verdict, places))


def asked(store: Store, who: Person, **more: str) -> Chat:
    """A conversation whose first two answers wait."""
    chat = say(store, who, start(store, who), "s1")
    return answer(store, who, chat, "s1", **more)


def test_a_vote_is_a_judgment_and_the_better_answer_goes_on(store: Store) -> None:
    who = person(store, "Ada")
    version = store.add_guideline("Be kind.", "Rules")
    store.read_guideline(who, version)
    chat = asked(store, who)
    assert chat.pending
    better = chat.pending.shown_order[1]
    after = vote(store, who, chat, "v1", [[1], [0]], 3)
    (group,), (judgment,) = store.groups(), store.judgments()
    texts = {each.id: each.text for each in group.answers}
    assert [m.role for m in after.messages] == ["user", "assistant"] and after.messages[1].content == texts[better]
    assert (judgment.tiers[0], judgment.strength) == ((better,), 3)
    assert (judgment.shown_order, judgment.guideline) == (chat.pending.shown_order, version)
    assert judgment.group == group.id and judgment.rater == who.rater.id and not judgment.reasons
    assert [each.source for each in group.answers] == ["first", "second"] and texts == {
        group.answers[0].id: "one",
        group.answers[1].id: "two",
    }
    assert group.prompt.tags == {"origin": "chat", "polarity": "ordinary"}
    progress = store.progress()
    assert (progress.items, progress.judged, progress.done) == (1, 1, 1)
    # The next question is asked after the chosen answer, and is of the same subject for splits.
    more = say(store, who, after, "s2", "and then?")
    assert [m.content for m in more.prompt.messages] == ["hello", texts[better], "and then?"]
    assert more.prompt.subject == group.prompt.subject
    assert len({*chat.seeds, *more.seeds}) == 4


def test_sides_and_models_are_drawn_evenly(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    who = person(store, "Ada")
    seeds = count(1)
    monkeypatch.setattr(chats.secrets, "randbits", lambda bits: next(seeds))
    first_left, pairs = 0, Counter[tuple[str, str]]()
    for i in range(60):
        chat = say(store, who, start(store, who, f"c{i}"), f"s{i}")
        chat = answer(store, who, chat, f"s{i}")
        assert chat.pending
        first_left += chat.pending.shown_order[0] == chat.pending.answers[0].id
        pairs[chat.models] += 1
    assert 20 <= first_left <= 40  # three standard deviations of a fair coin are 12
    assert len(pairs) == 6 and all(a != b for a, b in pairs)
    alone = start(store, who, "alone", n=1)
    assert alone.models == ("m0", "m0") and alone.seeds[0] != alone.seeds[1]


@pytest.mark.parametrize(("places", "outcome"), [(BOTH, "ranked"), ([], "both_bad")])
def test_where_no_answer_is_better_one_is_drawn(store: Store, places: list[list[int]], outcome: str) -> None:
    who = person(store, "Ada")
    chat = asked(store, who)
    after = vote(store, who, chat, "v", places, 0)
    assert after.outcome == "drawn" and after.messages[1].content in ("one", "two")
    (judgment,) = store.judgments()
    assert judgment.outcome == outcome and len(judgment.tiers) == bool(places)


def test_equal_answers_need_no_vote(store: Store) -> None:
    who = person(store, "Ada")
    chat = asked(store, who, one="same", two=" same\n")
    assert chat.outcome == "same" and chat.turn == 1 and chat.pending is None
    assert store.judgments() == [] and store.groups() == []


def test_everything_happens_once(store: Store) -> None:
    who = person(store, "Ada")
    chat = asked(store, who)
    assert start(store, who) == chat
    assert say(store, who, chat, "s1", "something else") == chat
    assert answer(store, who, chat, "s1", "late one", "late two") == chat
    after = vote(store, who, chat, "v", [[0], [1]])
    assert vote(store, who, chat, "v", [[1], [0]]) == after
    with pytest.raises(AlreadyAnswered):
        vote(store, who, chat, "another", [[1], [0]])
    assert len(store.judgments()) == 1
    assert say(store, who, chat, "s1") == after  # a very late repetition says nothing twice


def test_two_tabs_race_for_one_vote(store: Store) -> None:
    who = person(store, "Ada")
    chat = asked(store, who)

    def cast(i: int) -> str:
        try:
            vote(store, who, chat, f"v{i}", [[i % 2], [1 - i % 2]])
            return "kept"
        except AlreadyAnswered:
            return "second"

    with ThreadPoolExecutor(4) as pool:
        said = sorted(pool.map(cast, range(4)))
    assert said == ["kept", "second", "second", "second"]
    (judgment,) = store.judgments()
    now = store.read(lambda db: chats.current(db, who))
    assert now and now.turn == 1 and now.messages[1].content in ("one", "two")
    texts = {each.id: each.text for each in store.groups()[0].answers}
    assert now.messages[1].content == texts[judgment.tiers[0][0]]


def test_red_team_is_said_in_the_data_and_turns_nothing_round(store: Store) -> None:
    who = person(store, "Ada")
    chat = say(store, who, start(store, who, mode="red_team"), "s")
    chat = answer(store, who, chat, "s")
    assert chat.pending
    vote(store, who, chat, "v", [[0], [1]])
    (judgment,), (group,) = store.judgments(), store.groups()
    assert judgment.tiers[0] == (chat.pending.shown_order[0],) and judgment.reasons == ("red_team",)
    assert group.prompt.tags == {"origin": "chat", "polarity": "red_team", "sensitive": "red team"}
    assert store.work_of(who).exposure == {"red team": 1}


def test_a_vote_taken_back_comes_again_in_the_queue(store: Store) -> None:
    who = person(store, "Ada")
    chat = asked(store, who)
    vote(store, who, chat, "v", [[0], [1]])
    store.undo(who, "u")
    item = given(store, who)
    assert chat.pending and item.shown_order == chat.pending.shown_order
    store.submit(who, item.id, "again", Verdict(tiers=item.tiers([[1], [0]]), strength=1))
    assert [each.strength for each in store.work_of(who).judgments] == [1]


def test_what_stands_before_work_stands_before_chats(store: Store) -> None:
    who = person(store, "Ada")
    chat = start(store, who)

    def why() -> object:
        return store.write(lambda db, now: chats.say(db, now, who, chat.id, "s", "hello"))

    version = store.add_guideline("Be kind.", "Rules")
    assert why() == Wait(reason="guideline", detail=version)
    again = store.write(lambda db, now: chats.start(db, now, who, "c2", "ordinary", ["m"]))
    assert again == why()
    store.read_guideline(who, version)
    (test,) = groups(1)
    store.add_groups([test], "compare", gold={test.id: [[a.id] for a in test.answers]}, quiz=True)
    assert why() == Wait(reason="quiz")
    item = given(store, who)
    store.submit(who, item.id, "q", Verdict(tiers=tuple((a.id,) for a in test.answers), strength=1))
    store.set_limits(who, daily_cap=1)
    assert why() == Wait(reason="cap")
    store.set_limits(who, daily_cap=2)
    assert isinstance(why(), Chat)


def test_one_conversation_is_open_and_it_is_its_rater_s_own(store: Store) -> None:
    ada, ben = person(store, "Ada"), person(store, "Ben")
    chat = asked(store, ada)
    for deed in (
        lambda: say(store, ben, chat, "b"),
        lambda: vote(store, ben, chat, "b", BOTH, 0),
        lambda: store.write(lambda db, now: chats.stop(db, now, ben, chat.id)),
    ):
        with pytest.raises(NotFound):
            deed()
    with pytest.raises(BadVerdict):
        say(store, ada, chat, "s2")  # two answers wait
    second = start(store, ada, "c2")
    assert store.read(lambda db: chats.current(db, ada)) == second
    with pytest.raises(NotFound):
        vote(store, ada, chat, "v", BOTH, 0)  # the first one ended, its answers are forgotten
    store.write(lambda db, now: chats.stop(db, now, ada, second.id))
    assert store.read(lambda db: chats.current(db, ada)) is None and store.judgments() == []


def test_a_message_without_answers_can_be_changed(store: Store) -> None:
    who = person(store, "Ada")
    chat = say(store, who, start(store, who), "s1", "too long for the model")
    chat = say(store, who, chat, "s2", "short")
    stale = answer(store, who, chat, "s1")
    assert stale == chat and chat.prompt.messages == (Message(role="user", content="short"),)
    for text in (" ", "x" * (chats.MOST_CHARACTERS + 1)):
        with pytest.raises(BadVerdict):
            say(store, who, chat, "s3", text)
