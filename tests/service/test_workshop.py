"""What takes a while: made once, one at a time, waited for a little."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import HTTPException

from prewarm.errors import LakeError
from prewarm.service.workshop import KEPT, Workshop


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Work that waits for it ends with the test at the latest."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_an_answer_is_made_once() -> None:
    """Also when many ask at the same moment."""
    workshop, made = Workshop(patience=60), []
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(workshop.answer, "q", lambda: made.append(1) or "a") for _ in range(4)]
        assert [each.result() for each in asked] == ["a"] * 4
    assert made == [1]
    workshop.close()


def test_who_waits_too_long_is_told_to_come_back(gate: threading.Event) -> None:
    """The work goes on, and the next one who asks has its answer."""
    workshop = Workshop(patience=0.01)

    with pytest.raises(HTTPException) as refused:
        workshop.answer("q", lambda: gate.wait(60) and "a")
    assert refused.value.status_code == 503
    assert refused.value.headers == {"Retry-After": "3"}

    gate.set()
    patient = Workshop(patience=60)
    patient._made, patient._thread = workshop._made, workshop._thread
    assert patient.answer("q", lambda: "another") == "a"
    workshop.close()


def test_no_more_than_a_few_pieces_of_work_wait(gate: threading.Event) -> None:
    """A thousand different questions fill neither memory nor threads."""
    workshop = Workshop(patience=0.0, most=3)
    for number in range(10):
        with pytest.raises(HTTPException):
            workshop.answer(number, lambda: gate.wait(60))

    assert workshop.made == 3
    workshop.close()


def test_a_refusal_is_passed_on_and_not_kept() -> None:
    """A lake that could not be read may be readable now."""
    workshop = Workshop(patience=60)

    def refuse() -> str:
        raise LakeError("gone")

    with pytest.raises(LakeError):
        workshop.answer("q", refuse)
    assert workshop.answer("q", lambda: "back") == "back"
    workshop.close()


def test_a_time_out_of_the_work_itself_is_no_wait() -> None:
    """It is passed on as any other, and the next one who asks tries again."""
    workshop = Workshop(patience=60)

    def time_out() -> str:
        raise TimeoutError("the lake's disk does not answer")

    with pytest.raises(TimeoutError, match="does not answer"):
        workshop.answer("q", time_out)
    assert workshop.answer("q", lambda: "back") == "back"
    workshop.close()


def test_the_last_few_answers_are_kept() -> None:
    """The oldest go."""
    workshop = Workshop(patience=60)
    for number in range(2 * KEPT):
        workshop.answer(number, lambda: "a")

    assert workshop.made <= KEPT + 1
    workshop.close()


def test_the_latest_answer_of_a_kind_stands_until_the_next_is_made(gate: threading.Event) -> None:
    """Nobody waits: there is none at first, and an old one while a new question is worked on."""
    workshop = Workshop(patience=60)
    assert workshop.latest("k", 1, lambda before: f"first after {before}") is None
    workshop.answer("after it", lambda: "")
    assert (
        workshop.latest("k", 2, lambda before: gate.wait(60) and f"second after {before}")
        == "first after None"
    )
    assert workshop.latest("k", 3, lambda before: "never begun") == "first after None"
    gate.set()
    workshop.answer("after that", lambda: "")
    assert workshop.latest("k", 2, lambda before: "never begun") == "second after first after None"
    workshop.close()


def test_a_measure_that_failed_leaves_the_one_before_it() -> None:
    workshop = Workshop(patience=60)
    workshop.latest("k", 1, lambda before: f"first after {before}")
    workshop.answer("after it", lambda: "")
    workshop.latest("k", 2, lambda before: 1 / 0)
    workshop.answer("after that", lambda: "")
    assert workshop.latest("k", 2, lambda before: "never begun") == "first after None"
    workshop.close()
