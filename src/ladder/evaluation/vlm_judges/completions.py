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
MOST = 1.01
"""Sum of the probabilities of tokens."""
FINISHED = ("", "none", "stop", "end_turn", "eos", "eos_token", "stop_sequence")
"""Why an answer that is whole ends: OpenAI's word, and those of servers that take its place."""
CUT = ("length", "max_tokens", "model_length")
STOPPED = ("content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii")
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
    text, finish = text_of(message.get("content")), str(choice.get("finish_reason"))[:SHOWN]
    if len(text) > LONGEST_TEXT:
        reason = f"at most {LONGEST_TEXT} characters are an answer, got {len(text)}"
        return Answer(text[:SHOWN], "malformed", reason, version)
    if (refusal := message.get("refusal")) or finish.lower() == "refusal":
        said = str(refusal or "finish_reason refusal")[:SHOWN]
        return Answer(text, "refused", f"the server's refusal: {said}", version)
    if finish.lower() in STOPPED:
        return Answer(text, "filtered", f"finish_reason {finish}", version)
    if finish.lower() in CUT:
        reason = f"finish_reason {finish}: raise --max-tokens"
        return Answer(text, "truncated", reason, version)
    if not text.strip() or finish.lower() not in FINISHED:
        what = "a tool call" if message.get("tool_calls") else "text" if text.strip() else "no text"
        return Answer(text, "malformed", f"{what}, finish_reason {finish}", version)
    return Answer(text, version=version, probabilities=first_token(choice))


def text_of(content: Any) -> str:
    """The text of a message: a string, or a list of parts; empty for anything else."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def first_token(choice: Mapping[str, Any]) -> dict[str, float] | None:
    """The probabilities of the likeliest first tokens, where the server gives them; None where
    what it gives are none."""
    try:
        first = choice["logprobs"]["content"][0]
        found: dict[str, float] = {}
        for one in first.get("top_logprobs") or [first]:
            token, probability = str(one["token"]), math.exp(one["logprob"])
            found[token] = found.get(token, 0.0) + probability
    except (ArithmeticError, AttributeError, LookupError, TypeError):
        return None
    # Written so that NaN is none either. Rounding may make a sum a little more than 1.
    return found if 0 <= sum(found.values()) <= MOST else None


def read_refused_request(status: int, text: str) -> Answer:
    """The failure of a request that the server answered with an error.

    Busy servers (429, 5xx) and those that have moved (3xx) were out of reach; other errors are
    about this very request.
    """
    reason = f"status {status}: {' '.join(text.split())[:200]}"
    if status in (408, 409, 425, 429) or not 400 <= status < 500:
        return Answer("", "unreachable", reason)
    stopped = any(word in text.lower() for word in FILTERED)
    return Answer("", "filtered" if stopped else "refused", reason)
