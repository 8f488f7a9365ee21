"""What a server's chat completion says: an answer, or a failure of a named kind."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ladder.evaluation.vlm_judges import Answer

LONGEST_TEXT = 100_000
"""Characters of an answer; no rule of a benchmark needs a hundredth of it."""
SHOWN = 2000
"""Characters that are kept of a longer one."""
FILTERED = ("content_filter", "content_policy", "content filter", "content management policy",
            "responsibleaipolicy", "safety system", "moderation")  # fmt: skip
"""What servers write into the refusal of a request (400) that their filter stopped."""


def read_completion(found: Mapping[str, Any], model: str) -> Answer:
    """The first choice of a chat completion; `model` is who was asked."""
    version = found.get("model")
    version = version if isinstance(version, str) and version else model
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        said = json.dumps(found)[:200]
        return Answer("", "malformed", f"no choices[0].message in the answer: {said}", version)
    text, finish = text_of(message.get("content")), choice.get("finish_reason")
    if refusal := message.get("refusal"):
        return Answer(text, "refused", f"the server's refusal: {refusal}", version)
    if finish == "content_filter":
        return Answer(text, "filtered", "finish_reason content_filter", version)
    if finish == "length":
        return Answer(text, "truncated", "finish_reason length: raise --max-tokens", version)
    if not text.strip():
        calls = "a tool call" if message.get("tool_calls") else "no text"
        return Answer(text, "malformed", f"{calls}, finish_reason {finish}", version)
    if len(text) > LONGEST_TEXT:
        reason = f"at most {LONGEST_TEXT} characters are an answer, got {len(text)}"
        return Answer(text[:SHOWN], "malformed", reason, version)
    return Answer(text, version=version, probabilities=first_token(choice))


def text_of(content: Any) -> str:
    """The text of a message: a string, or a list of parts; empty for anything else."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def first_token(choice: Mapping[str, Any]) -> dict[str, float] | None:
    """The probabilities of the likeliest first tokens, where the server gives them."""
    tokens = (choice.get("logprobs") or {}).get("content")
    if not tokens:
        return None
    found: dict[str, float] = {}
    for one in tokens[0].get("top_logprobs") or [tokens[0]]:
        found[one["token"]] = found.get(one["token"], 0.0) + math.exp(one["logprob"])
    return found


def read_refused_request(status: int, text: str) -> Answer:
    """The failure of a request that the server answered with an error.

    Busy servers (429, 5xx) were out of reach; other errors are about this very request.
    """
    reason = f"status {status}: {' '.join(text.split())[:200]}"
    if status in (408, 409, 429) or status >= 500:
        return Answer("", "unreachable", reason)
    stopped = any(word in text.lower() for word in FILTERED)
    return Answer("", "filtered" if stopped else "refused", reason)
