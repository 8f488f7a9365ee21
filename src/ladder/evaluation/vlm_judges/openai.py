"""A judge behind an OpenAI-compatible address, such as GPT-4o or a vLLM server.

Every answer is kept on disk under a hash of server, model, settings, text and pictures, so that a
second run sends nothing; a failure is not kept. What a run would send, and cost, is known before
anything is sent, and before a picture is encoded. openai's client waits and asks again when the
server is busy (429 with Retry-After, 5xx, no connection, no JSON); what fails in the end is a
failure of that one question, and the others go on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAI

from ladder.config.files import write_text
from ladder.evaluation.json_files import dumps
from ladder.evaluation.vlm_judges import Answer, JudgeQuestion
from ladder.evaluation.vlm_judges.completions import read_completion, read_refused_request
from ladder.evaluation.vlm_judges.pictures import JudgePicture, PictureEncoding
from ladder.evaluation.vlm_judges.transport import WholeAnswers, proxy_of

PATH = "/chat/completions"
CHARACTERS_A_TOKEN = 4
"""A rule of thumb for English."""
LONGEST_SIDE, SHORTER_SIDE, TILE, TILE_TOKENS, PICTURE_TOKENS = 2048, 768, 512, 170, 85
"""GPT-4o's count of a picture in high detail: it is fitted into 2048 pixels, then its shorter side
to 768, and cut into tiles (https://platform.openai.com/docs/guides/images-vision)."""
MOST_LIKELY = 20
"""Tokens whose probabilities are asked for; OpenAI gives no more."""
FATAL = {
    401: "so the key is wrong or missing ($LADDER_JUDGE_KEY or $OPENAI_API_KEY)",
    402: "so the account has to be paid for",
    404: "so there is no such model, or --url is not the address up to /v1",
    405: "so --url is not the address up to /v1",
}
"""What concerns every question alike."""
NOBODY_THERE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
"""Failures before a question was sent."""
TokenLimit = Literal["max_completion_tokens", "max_tokens"]


@dataclass(frozen=True)
class Estimate:
    """What a run would send. Tokens are estimates, made for GPT-4o."""

    questions: int
    calls: int
    """Questions without a stored answer."""
    input_tokens: int
    output_tokens: int
    """At most."""
    price: float | None
    """In the currency of the prices that were given; None without."""

    def __str__(self) -> str:
        cost = "price unknown (--price)" if self.price is None else f"{self.price:.2f} at most"
        return (
            f"{self.calls} calls ({self.questions - self.calls} of {self.questions} answers are "
            f"stored), about {self.input_tokens} tokens in, at most {self.output_tokens} out: "
            f"{cost}"
        )


@dataclass
class Endpoint:
    """Asks `model` at `url` (up to and including /v1)."""

    url: str
    model: str
    cache: Path
    """The folder of stored answers."""
    key: str | None = field(default=None, repr=False)
    temperature: float = 0.0
    prompt: str = "{question}"
    max_tokens: int = 512
    """Tokens of an answer."""
    token_limit: TokenLimit = "max_completion_tokens"
    """What the server calls that number; older ones know `max_tokens` only."""
    encoding: PictureEncoding = field(default_factory=PictureEncoding)
    tries: int = 6
    """How often a busy server is asked, with pauses that grow, or as long as it says."""
    jobs: int = 8
    """Questions that are under way at a time."""
    timeout: float = 120.0
    """Seconds that a whole answer may take."""

    def __post_init__(self) -> None:
        for name in ("tries", "jobs", "max_tokens", "timeout"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} of a judge must be above 0, got {getattr(self, name)}")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the url of a judge is http[s]://HOST.., up to /v1, got {self.url}")
        self.name = self.version = self.model
        self._reached, self._lost = False, ""

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "max_tokens": self.max_tokens,
            "format": self.encoding.format,
            "quality": self.encoding.quality if self.encoding.format == "jpeg" else None,
            "longest": self.encoding.longest,
        }

    def estimate(
        self, questions: Iterable[JudgeQuestion], prices: tuple[float, float] | None = None
    ) -> Estimate:
        """What `answer` would send; `prices` are of a million tokens, in and out."""
        asked = calls = tokens = 0
        for question in questions:
            asked += 1
            if self.stored(question) is None:
                calls += 1
                tokens += math.ceil(len(self._text(question)) / CHARACTERS_A_TOKEN)
                sizes = [self.encoding.size(picture) for picture in question.pictures]
                tokens += sum(picture_tokens(*size) for size in sizes)
        longest = calls * self.max_tokens
        price = (tokens * prices[0] + longest * prices[1]) / 1e6 if prices else None
        return Estimate(asked, calls, tokens, longest, price)

    def answer(self, questions: Sequence[JudgeQuestion]) -> list[Answer]:
        """The stored answers, and new ones for the rest; each picture is encoded once.

        Raises ConnectionError where the server doesn't take the key, has no such model, or wants to
        be paid (FATAL): no question could be answered. Raises ValueError for an unusable picture.
        """
        found = {self.question_id(one): self.stored(one) for one in questions}
        new = {self.question_id(q): q for q in questions if found[self.question_id(q)] is None}
        with ThreadPoolExecutor(self.jobs) as workers:
            urls = self.encoded(new.values(), workers)
            asked = {
                name: workers.submit(self._ask, question, urls) for name, question in new.items()
            }
            try:
                found |= {name: answer.result() for name, answer in asked.items()}
            except BaseException:
                workers.shutdown(cancel_futures=True)
                raise
        return [found[self.question_id(question)] for question in questions]

    def encoded(
        self, questions: Iterable[JudgeQuestion], workers: ThreadPoolExecutor
    ) -> dict[str, str]:
        """The `data:` address of every distinct picture, by its digest."""
        pictures: dict[str, JudgePicture] = {
            picture.digest: picture for question in questions for picture in question.pictures
        }
        return dict(zip(pictures, workers.map(self.encoding.url, pictures.values()), strict=True))

    def body(self, question: JudgeQuestion, urls: Mapping[str, str]) -> dict[str, Any]:
        """The request; `urls` are those of the pictures by their digests."""
        content = [
            {"type": "text", "text": self._text(question)},
            *(
                {"type": "image_url", "image_url": {"url": urls[picture.digest]}}
                for picture in question.pictures
            ),
        ]
        before = [{"role": "system", "content": question.system}] if question.system else []
        body = {
            "model": self.model,
            "temperature": self.temperature,
            self.token_limit: self.max_tokens,
            "messages": [*before, {"role": "user", "content": content}],
        }
        if question.probabilities:
            body |= {"logprobs": True, "top_logprobs": MOST_LIKELY}
        return body

    def question_id(self, question: JudgeQuestion) -> str:
        """The name of a question to this judge: a hash of all that its answer depends on."""
        asked = [self.url, self.body(question, {one.digest: "" for one in question.pictures})]
        asked += [self.settings, [picture.digest for picture in question.pictures]]
        return hashlib.sha256(dumps(asked).encode()).hexdigest()

    def stored(self, question: JudgeQuestion) -> Answer | None:
        """The answer that is on disk; none in a file that a crash left empty or in pieces."""
        path = self._path(question)
        try:
            return Answer(**json.loads(path.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError, RecursionError):
            return None

    def store(self, question: JudgeQuestion, answer: Answer) -> None:
        """Keep an answer. A failure is not kept: the next run may have better luck."""
        if not answer.failed:
            row = answer.as_row() | {"version": answer.version}
            write_text(self._path(question), dumps(row), shared=True)

    def _ask(self, question: JudgeQuestion, urls: Mapping[str, str]) -> Answer:
        if self._lost:
            return Answer("", "unreachable", self._lost)
        body = self.body(question, urls)
        try:
            response = self._client.post(PATH, body=body, cast_to=httpx.Response)
            answer = read_completion(response.json(), self.model)
        except APIStatusError as error:
            status, text = error.status_code, self._without_key(error.response.text)
            if status in FATAL:
                said = " ".join(text.split())[:200]
                raise ConnectionError(
                    f"{self.url} refused with status {status}, {FATAL[status]}: {said}"
                ) from None
            answer = read_refused_request(status, text)
        except APIConnectionError as error:
            cause = error.__cause__ or error
            late = isinstance(error, APITimeoutError)
            why = f"over {self.timeout:g} s" if late else f"{type(cause).__name__} {cause}"
            reason = f"no answer in {self.tries} tries, the last time: {self._without_key(why)}"
            answer = Answer("", "unreachable", reason)
            if isinstance(cause, NOBODY_THERE):
                # The other questions needn't find out by themselves.
                self._lost = "" if self._reached else reason
        self._reached |= not answer.failed
        self.store(question, answer)
        return answer

    def _without_key(self, text: str) -> str:
        """What a server or library says, which may repeat the key."""
        return text.replace(self.key, "(the key)") if self.key else text

    @cached_property
    def _client(self) -> OpenAI:
        for library in ("httpx", "openai"):  # they log a line for every request
            logging.getLogger(library).setLevel(logging.WARNING)
        transport = WholeAnswers(self.timeout, self.jobs, self.tries, proxy_of(self.url))
        http = httpx.Client(transport=transport, timeout=self.timeout, follow_redirects=True)
        return OpenAI(
            api_key=self.key or "none",
            base_url=self.url,
            max_retries=self.tries - 1,
            timeout=self.timeout,
            http_client=http,
        )

    def _text(self, question: JudgeQuestion) -> str:
        return self.prompt.replace("{question}", question.text)

    def _path(self, question: JudgeQuestion) -> Path:
        name = self.question_id(question)
        return self.cache / name[:2] / f"{name}.json"


def picture_tokens(width: int, height: int) -> int:
    """Tokens of a picture, by GPT-4o's rule."""
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    scale *= min(1.0, SHORTER_SIDE / (min(width, height) * scale))
    tiles = [math.ceil(side * scale / TILE) for side in (width, height)]
    return PICTURE_TOKENS + TILE_TOKENS * tiles[0] * tiles[1]


def key_of_environment() -> str | None:
    """$LADDER_JUDGE_KEY, or $OPENAI_API_KEY; None where neither is set.

    Raises ValueError, without the key, for one that can't be sent.
    """
    for name in ("LADDER_JUDGE_KEY", "OPENAI_API_KEY"):
        if key := os.environ.get(name, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise ValueError(f"${name} must be printable ASCII without line breaks")
            return key
    return None
