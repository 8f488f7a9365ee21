"""Who runs the model next: clients in turn, and none that doesn't listen.

gradio's own queue serves requests in the order in which they come, lets one client fill it, and
keeps requests of clients that never fetch what they are sent. Here each client has a few places,
the one that was served longest ago comes next, and a client that leaves its messages unread isn't
served, gives way when the queue is full, and is dropped after `PATIENCE`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import fastapi
import gradio as gr
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Event, EventQueue, Queue
from gradio.utils import LRUCache

PLACES = 32
"""Requests that wait; a further one is refused."""
PER_ADDRESS = PLACES // 2
"""Of these from one network address."""
PER_CLIENT = 4
"""Of these from one page."""
PATIENCE = 8.0
"""Seconds after which a client that leaves its messages unread has gone."""
GRACE = 0.5
"""Seconds after which it gives way to others. A page begins to listen right after its request."""
REMEMBERED = 2000
"""Clients and addresses of which is known when they were served."""


class Mailbox(asyncio.Queue):
    """Messages to a client, which knows for how long they are left unread."""

    since = 0.0
    """When the box was empty for the last time, or something was taken out of it."""

    def _put(self, item: Any) -> None:
        if self.empty():
            self.since = time.monotonic()
        super()._put(item)

    def _get(self) -> Any:
        self.since = time.monotonic()
        return super()._get()

    @property
    def unread(self) -> float:
        """Seconds for which there was something to read and nothing was read."""
        return 0.0 if self.empty() else time.monotonic() - self.since


class FairQueue(Queue):
    """gradio's queue with places and turns for each client."""

    def __init__(self, page: gr.Blocks) -> None:
        super().__init__(
            live_updates=True,
            concurrency_count=page.max_threads,
            update_intervals=1,
            max_size=None,  # `push` has rules of its own
            blocks=page,
        )
        self._served: LRUCache[str, float] = LRUCache(REMEMBERED)
        """When an address, or a page, was served for the last time."""

    async def push(
        self, body: PredictBodyInternal, request: fastapi.Request, username: str | None
    ) -> tuple[bool, Any, Any]:
        """Let a request wait, unless it is wrongly typed or its client has too many waiting."""
        if wrong := wrongly_typed(self.blocks, body):
            return False, wrong, "error"
        body.session_hash = body.session_hash or uuid4().hex
        places = (
            (PER_CLIENT, "of this page", lambda one: one.session_hash == body.session_hash),
            (PER_ADDRESS, "from this address", lambda one: _address(one) == _host(request)),
            (PLACES, "altogether", lambda one: True),
        )
        for most, whose, counts in places:
            waiting = [one for _, one in self._waiting() if counts(one)]
            if len(waiting) >= most and not self._give_way(waiting):
                return False, f"The queue is full: {most} requests {whose} wait.", "queue_full"
        self.pending_messages_per_session.setdefault(body.session_hash, Mailbox())
        return await super().push(body, request, username)

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """The next request to run: of those that listen, of the client served longest ago."""
        for line, event in self._waiting():
            if self.gone(event.session_hash):
                self._drop(line, event)
        for name, line in self.event_queue_per_concurrency_id.items():
            listening = [one for one in line.queue if self._listens(one.session_hash)]
            if listening and line.current_concurrency != line.concurrency_limit:
                event = min(listening, key=self._last_served)
                line.queue.remove(event)
                for client in (_address(event), event.session_hash):
                    self._served[client] = time.monotonic()
                return [event], False, name
        return None

    def gone(self, session: str | None) -> bool:
        """Whether a client has closed its page, or doesn't read what it is sent."""
        return self._unread(session) > PATIENCE

    def _listens(self, session: str | None) -> bool:
        """Whether a client has read all that it was sent."""
        box = self.pending_messages_per_session.get(session)
        return box is not None and box.empty()

    def _unread(self, session: str | None) -> float:
        """For how long a client has left its messages unread; for ever if it has no mailbox."""
        box = self.pending_messages_per_session.get(session)
        return float("inf") if box is None else box.unread

    def _last_served(self, event: Event) -> tuple[float, float]:
        return self._served.get(_address(event), 0.0), self._served.get(event.session_hash, 0.0)

    def _waiting(self) -> list[tuple[EventQueue, Event]]:
        lines = self.event_queue_per_concurrency_id.values()
        return [(line, event) for line in lines for event in line.queue]

    def _give_way(self, waiting: list[Event]) -> bool:
        """Drop the first of the waiting that doesn't listen; False if all do."""
        for line, event in self._waiting():
            if event in waiting and self._unread(event.session_hash) > GRACE:
                self._drop(line, event)
                return True
        return False

    def _drop(self, line: EventQueue, event: Event) -> None:
        """Forget a request, and the messages that its client doesn't read."""
        line.queue.remove(event)
        self.event_ids_to_events.pop(event._id, None)
        self.pending_event_ids_session.pop(event.session_hash, None)
        self.pending_messages_per_session.pop(event.session_hash, None)


def wrongly_typed(page: gr.Blocks, body: PredictBodyInternal) -> str:
    """The rule that a value breaks which must be a number; empty if none does.

    gradio compares a value with its bounds first, and fails on the comparison.
    """
    inputs = page.fns[body.fn_index].inputs if body.fn_index in page.fns else []
    for part, value in zip(inputs, body.data, strict=False):
        if isinstance(part, gr.Number | gr.Slider) and not (
            value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        ):
            return f"{part.label} must be a number, got {value!r:.100}"
    return ""


def _host(request: fastapi.Request) -> str:
    return request.client.host if request.client else ""


def _address(event: Event) -> str:
    return _host(event.request)
