"""What events of one user, or of one outcome, share is written once, and never taken for another's."""

from __future__ import annotations

import json
import os
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flagmw import UserContext
from flagmw.core import event_texts
from flagmw.core.event_texts import NameTexts, OutcomeTexts, Pieces, UserTexts, json_text, quoted
from flagmw.core.records import Exposure
from flagmw.core.snapshot import Outcome
from flagmw.dialects.hackle import insert_id
from flagmw.evaluation import Reason

ANA, BEN = UserContext("ana"), UserContext("ben")


class Told:
    """Writes exposures and remembers which."""

    def __init__(self) -> None:
        self.written: list[Exposure] = []

    def __call__(self, exposure: Exposure) -> Pieces:
        self.written.append(exposure)
        return (exposure.flag_key, str(exposure.outcome.value), repr(exposure.default))


def outcome(value: Any = 1) -> Outcome:
    return Outcome(reason=Reason.STATIC, value=value)


def exposure(served: Outcome, key: str = "a", *, revision: str = "r", default: Any = None) -> Exposure:
    return Exposure(key, ANA, served, revision, 0.0, default)


# --- users ------------------------------------------------------------------------------------------------------


def test_a_user_is_written_once_as_long_as_it_is_the_same() -> None:
    asked: list[UserContext] = []

    def write(context: UserContext) -> str:
        asked.append(context)
        return str(context.key)

    texts = UserTexts(write)
    assert [texts(user) for user in (ANA, ANA, BEN, BEN, ANA)] == ["ana", "ana", "ben", "ben", "ana"]
    assert asked == [ANA, BEN, ANA]


def test_an_equal_user_is_another_one() -> None:
    texts = UserTexts(lambda context: json_text(dict(context.attributes)))
    assert texts(UserContext("u", attributes={"n": 1})) == '{"n": 1}'
    assert texts(UserContext("u", attributes={"n": True})) == '{"n": true}'


def test_a_user_who_cannot_be_written_is_tried_again_and_not_taken_for_the_one_before() -> None:
    def write(context: UserContext) -> str:
        if context is BEN:
            raise ValueError("ben")
        return str(context.key)

    texts = UserTexts(write)
    assert texts(ANA) == "ana"
    for _ in range(2):
        with pytest.raises(ValueError, match="ben"):
            texts(BEN)
    assert texts(ANA) == "ana"


def test_threads_with_users_of_their_own_never_get_anothers_text() -> None:
    texts = UserTexts(lambda context: str(context.key))
    users = [UserContext(f"u-{number}") for number in range(8)]

    def wrong(user: UserContext) -> int:
        return sum(texts(user) != user.key for _ in range(5_000))

    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(len(users)) as pool:
            assert sum(pool.map(wrong, users)) == 0
    finally:
        sys.setswitchinterval(before_s)


# --- outcomes ---------------------------------------------------------------------------------------------------


def test_an_outcome_is_written_once_whoever_is_served_it() -> None:
    told, served = Told(), outcome()
    texts = OutcomeTexts(told)
    first = texts(exposure(served, default="x"))
    assert texts(Exposure("a", BEN, served, "r", 5.0, "y")) is first
    assert len(told.written) == 1


def test_an_equal_outcome_is_another_one() -> None:
    texts = OutcomeTexts(Told())
    assert texts(exposure(outcome(1)))[1] == "1"
    assert texts(exposure(outcome(value=True)))[1] == "True"


def test_an_outcome_that_flags_share_is_written_for_each() -> None:
    texts, served = OutcomeTexts(Told()), outcome()
    assert [texts(exposure(served, key))[0] for key in ("a", "b", "a")] == ["a", "b", "a"]


def test_no_outcome_is_taken_for_one_that_is_gone() -> None:
    texts = OutcomeTexts(lambda exposure: (str(exposure.outcome.value),))
    for number in range(1_000):  # each dies at once, unless it is kept: its identity is the next one's
        assert texts(exposure(outcome(number))) == (str(number),)


def test_what_was_written_of_earlier_flags_is_let_go() -> None:
    told, served = Told(), outcome()
    texts = OutcomeTexts(told)
    for revision in ("r1", "r1", "r2", "r2"):
        texts(exposure(served, revision=revision))
    assert len(told.written) == 2


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_texts, "MAX_KEPT_CHARS", 100)
    told, served = Told(), outcome()
    texts = OutcomeTexts(told)
    texts(exposure(served))
    texts(exposure(outcome("x" * 100)))
    texts(exposure(served))
    assert len(told.written) == 3


@pytest.mark.parametrize("default", ["x", 5, 1.5, True, None], ids=repr)
def test_a_default_that_counts_is_written_once(default: Any) -> None:
    told, served = Told(), outcome()
    texts = OutcomeTexts(told, by_default=True)
    assert texts(exposure(served, default=default)) is texts(exposure(served, default=default))


def test_another_default_is_written_anew() -> None:
    texts, served = OutcomeTexts(Told(), by_default=True), outcome()
    shown = [texts(exposure(served, default=default))[2] for default in (1, True, 1.0, "1", None, 1)]
    assert shown == ["1", "True", "1.0", "'1'", "None", "1"]


def test_a_default_that_can_change_is_written_each_time() -> None:
    texts, served = OutcomeTexts(Told(), by_default=True), outcome()
    default = ["x"]
    assert texts(exposure(served, default=default))[2] == "['x']"
    default.append("y")
    assert texts(exposure(served, default=default))[2] == "['x', 'y']"


# --- names ------------------------------------------------------------------------------------------------------


def test_a_name_is_written_once() -> None:
    asked: list[str] = []

    def write(name: str) -> str:
        asked.append(name)
        return name.upper()

    texts = NameTexts(write)
    assert [texts[name] for name in ("a", "b", "a")] == ["A", "B", "A"]
    assert asked == ["a", "b"]


def test_names_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_texts, "MAX_KEPT_NAMES", 3)
    texts = NameTexts(str.upper)
    assert [texts[name] for name in "abcdefga"] == list("ABCDEFGA")
    assert len(texts) <= 3


# --- JSON -------------------------------------------------------------------------------------------------------


def test_a_text_is_written_as_the_standard_library_writes_it() -> None:
    every = "".join(map(chr, range(0x3000))) + "\ud800\U0001f389"
    assert quoted(every) == json.dumps(every)


# --- ids --------------------------------------------------------------------------------------------------------


def test_an_insert_id_is_a_random_uuid_as_text() -> None:
    for _ in range(1_000):
        text = insert_id()
        known = uuid.UUID(text)
        assert (known.version, known.variant, str(known)) == (4, uuid.RFC_4122, text)


def test_insert_ids_are_spread_over_all_digits_that_a_uuid_leaves_open() -> None:
    ids = [insert_id() for _ in range(2_000)]
    assert len(set(ids)) == len(ids)
    seen = [len({text[place] for text in ids}) for place in range(36)]
    assert seen == [1 if place in {8, 13, 14, 18, 23} else 4 if place == 19 else 16 for place in range(36)]


def test_a_forked_child_never_repeats_its_parents_insert_ids() -> None:
    insert_id()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, " ".join(insert_id() for _ in range(20)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 4096).decode().split()
    os.close(reader)
    os.close(writer)
    assert len(theirs) == 20
    assert not {insert_id() for _ in range(20)} & set(theirs)
