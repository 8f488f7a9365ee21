"""The queue: clients in turn, a few places each, none for those that don't listen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

gradio = pytest.importorskip("gradio", reason="gradio is missing: make test-playground installs it")
from gradio.data_classes import PredictBodyInternal  # noqa: E402
from starlette.requests import Request  # noqa: E402

from ladder.playground import fair_queue  # noqa: E402
from ladder.playground.fair_queue import PER_ADDRESS, PER_CLIENT, FairQueue, Mailbox  # noqa: E402


@pytest.fixture
def queue() -> FairQueue:
    """Of a page with one function that runs alone, and has a number and a text."""
    with gradio.Blocks() as page:
        number, text = gradio.Slider(label="Steps"), gradio.Textbox(label="Prompt")
        text.submit(lambda *_: None, [number, text], concurrency_limit=1, concurrency_id="model")
    page.queue()
    return FairQueue(page)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass."""
    now = [1000.0]
    monkeypatch.setattr(fair_queue.time, "monotonic", lambda: now[0])

    def passes(seconds: float) -> None:
        now[0] += seconds

    return passes


def ask(queue: FairQueue, session: str, address: str = "10.0.0.1", data=(1, "a")) -> tuple:
    """A client asks for a drawing; returns what it is answered."""
    body = PredictBodyInternal(fn_index=0, data=[*data], session_hash=session, request=None)
    request = Request({"type": "http", "headers": [], "client": (address, 50000)})
    return asyncio.run(queue.push(body, request, None))


def listen(queue: FairQueue, *sessions: str) -> None:
    """Clients read all that they were sent."""
    for session in sessions:
        box = queue.pending_messages_per_session[session]
        while not box.empty():
            box.get_nowait()


def next_one(queue: FairQueue) -> str | None:
    """Whose request runs next; it ends at once."""
    found = queue.get_events()
    return found[0][0].session_hash if found else None


def test_clients_come_in_turn_whatever_one_of_them_asked_before(queue, clock):
    for session in ("a", "a", "a", "b", "c"):
        ask(queue, session)
    listen(queue, "a", "b", "c")
    order = []
    for _ in range(5):
        clock(1)
        order.append(next_one(queue))
    assert order == ["a", "b", "c", "a", "a"]


def test_an_address_with_many_pages_comes_in_turn_with_one_that_has_one(queue, clock):
    for session in "abc":
        ask(queue, session)
    ask(queue, "d", "10.0.0.2")
    listen(queue, *"abcd")
    order = []
    for _ in range(4):
        clock(1)
        order.append(next_one(queue))
    assert order == ["a", "d", "b", "c"]


def test_a_client_that_does_not_listen_is_not_served(queue, clock):
    ask(queue, "dead")
    ask(queue, "alive")
    listen(queue, "alive")
    assert next_one(queue) == "alive"
    assert next_one(queue) is None
    assert not queue.gone("dead")
    clock(fair_queue.PATIENCE + 1)
    assert queue.gone("dead")
    assert next_one(queue) is None
    assert len(queue) == 0
    # gradio itself forgets the other one, which runs, once it has ended.
    assert [event.session_hash for event in queue.event_ids_to_events.values()] == ["alive"]


def test_a_client_that_listens_late_is_served(queue, clock):
    ask(queue, "late")
    clock(fair_queue.PATIENCE - 1)
    listen(queue, "late")
    assert next_one(queue) == "late"


def test_a_page_has_a_few_places(queue):
    for _ in range(PER_CLIENT):
        assert ask(queue, "a")[0]
        listen(queue, "a")
    said = ask(queue, "a")
    assert said == (
        False,
        f"The queue is full: {PER_CLIENT} requests of this page wait.",
        "queue_full",
    )
    assert ask(queue, "b")[0]


def test_an_address_does_not_fill_the_queue(queue):
    sessions = [str(number) for number in range(PER_ADDRESS)]
    for session in sessions:
        assert ask(queue, session)[0]
    listen(queue, *sessions)
    assert ask(queue, "more")[2] == "queue_full"
    assert ask(queue, "other", "10.0.0.2")[0]


def test_who_does_not_listen_gives_way(queue, clock):
    for session in range(40):
        ask(queue, f"dead {session}")
    assert len(queue) == PER_ADDRESS
    clock(1)
    assert ask(queue, "alive")[0]
    listen(queue, "alive")
    assert len(queue) == PER_ADDRESS
    assert next_one(queue) == "alive"


def test_a_request_without_a_session_gets_one_of_its_own(queue):
    assert ask(queue, None)[0]
    assert ask(queue, None)[0]
    assert len(queue.pending_messages_per_session) == 2


@pytest.mark.parametrize("value", ["7", [7], {"a": 1}, True])
def test_a_number_of_another_type_is_refused_by_name(queue, value):
    said = ask(queue, "a", data=(value, "a"))
    assert said == (False, f"Steps must be a number, got {value!r}", "error")


def test_a_mailbox_knows_for_how_long_it_is_left_unread(clock):
    box = Mailbox()
    clock(50)
    assert box.unread == 0
    box.put_nowait("one")
    clock(2)
    box.put_nowait("two")
    clock(1)
    assert box.unread == 3
    box.get_nowait()
    assert box.unread == 0
    clock(1)
    assert box.unread == 1
    box.get_nowait()
    assert box.unread == 0
