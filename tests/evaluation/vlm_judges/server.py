"""A local server that answers as it is told, one request after the other."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


class JudgeServer:
    """`replies` are its next answers; then it says `content` for ever."""

    def __init__(self) -> None:
        self.url = ""
        self.replies: list[Reply] = []
        self.forever: Reply = said("Yes.")
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []


def answered(
    handler: BaseHTTPRequestHandler,
    status: int,
    content: bytes,
    kind: str = "application/json",
    **headers: str,
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(content)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def completion(message: Any, finish: str = "stop", model: str = "toy-2026", **more: Any) -> Reply:
    """An answer of the form of OpenAI's; `more` stands in the choice."""
    choice = {"index": 0, "message": message, "finish_reason": finish} | more
    return lambda handler, _: answered(
        handler, 200, json.dumps({"model": model, "choices": [choice]}).encode()
    )


def said(text: str | None, finish: str = "stop", **more: Any) -> Reply:
    return completion({"role": "assistant", "content": text}, finish, **more)


def status(code: int, error: str = "no", **headers: str) -> Reply:
    content = json.dumps({"error": {"message": error, "code": error}}).encode()
    return lambda handler, _: answered(handler, code, content, **headers)


@contextmanager
def serving() -> Iterator[JudgeServer]:
    state = JudgeServer()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                state.bodies.append(body)
                state.keys.append(self.headers["Authorization"])
                reply = state.replies.pop(0) if state.replies else state.forever
            reply(self, body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{running.server_port}/v1"
        yield state
        running.shutdown()
