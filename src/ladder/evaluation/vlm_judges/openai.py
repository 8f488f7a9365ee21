"""A judge behind an OpenAI-compatible address, such as GPT-4o or a vLLM server.

Every answer is kept on disk under a hash of model, temperature, prompt and pictures, so that a
second run sends nothing. What a run would send, and cost, is known before anything is sent. A
server that is busy is asked again a few times, with longer and longer pauses, and then given up.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from PIL import Image
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential

from ladder.evaluation.vlm_judges import Question

BUSY = {408, 409, 429}
"""Answers of a server, besides 500 and above, after which it is asked again."""
CHARACTERS_A_TOKEN = 4
"""A rule of thumb for English."""
LONGEST_SIDE, SHORTER_SIDE, TILE, TILE_TOKENS, PICTURE_TOKENS = 2048, 768, 512, 170, 85
"""GPT-4o's count of a picture in high detail: it is fitted into 2048 pixels, then its shorter side
to 768, and cut into tiles (https://platform.openai.com/docs/guides/images-vision)."""


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


class BusyError(Exception):
    """The server gave no answer this time; the text says why."""


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
    longest: int = 512
    """Tokens of an answer."""
    tries: int = 6
    """How often a busy server is asked."""
    pause: float = 1.0
    """Seconds before the second try; each later pause is twice as long, up to a minute."""
    jobs: int = 8
    """Questions that are under way at a time."""
    timeout: float = 120.0
    """Seconds that an answer may take."""

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise ValueError(f"a judge must be asked at least once, got tries={self.tries}")
        self.name = self.model
        self._versions: set[str] = set()
        self._lock = threading.Lock()

    @property
    def version(self) -> str:
        """What the server called the model in its answers so far; before, what it was asked for."""
        return "+".join(sorted(self._versions)) or self.model

    def estimate(
        self, questions: Iterable[Question], prices: tuple[float, float] | None = None
    ) -> Estimate:
        """What `answer` would send; `prices` are of a million tokens, in and out."""
        asked = calls = tokens = 0
        for question in questions:
            asked += 1
            if not self._path(self._body(question)).is_file():
                calls += 1
                tokens += math.ceil(len(self._text(question)) / CHARACTERS_A_TOKEN)
                tokens += sum(picture_tokens(*picture.size) for picture in question.pictures)
        longest = calls * self.longest
        price = (tokens * prices[0] + longest * prices[1]) / 1e6 if prices else None
        return Estimate(asked, calls, tokens, longest, price)

    def answer(self, questions: Sequence[Question]) -> list[str]:
        """The stored answers, and new ones for the rest.

        Raises ConnectionError when the server stays busy or out of reach, or refuses; what was
        answered until then is stored.
        """
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        with (
            httpx.Client(headers=headers, timeout=self.timeout) as client,
            ThreadPoolExecutor(self.jobs) as workers,
        ):
            asked = [workers.submit(self._one, client, question) for question in questions]
            try:
                return [answer.result() for answer in asked]
            except BaseException:
                workers.shutdown(cancel_futures=True)
                raise

    def _one(self, client: httpx.Client, question: Question) -> str:
        body = self._body(question)
        path = self._path(body)
        if path.is_file():
            stored = json.loads(path.read_text())
        else:
            stored = self._ask(client, body)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{threading.get_ident()}.part")
            part.write_text(json.dumps(stored))
            part.replace(path)
        with self._lock:
            self._versions.add(stored["version"])
        return stored["answer"]

    def _ask(self, client: httpx.Client, body: dict) -> dict[str, str]:
        retrying = Retrying(
            stop=stop_after_attempt(self.tries),
            wait=wait_exponential(multiplier=self.pause, max=60),
            retry=retry_if_exception_type(BusyError),
        )
        try:
            return retrying(self._send, client, body)
        except RetryError as error:
            attempt = error.last_attempt
            raise ConnectionError(
                f"{self.url} gave no answer in {attempt.attempt_number} tries, the last time: "
                f"{attempt.exception()}"
            ) from attempt.exception()

    def _send(self, client: httpx.Client, body: dict) -> dict[str, str]:
        try:
            response = client.post(f"{self.url.rstrip('/')}/chat/completions", json=body)
        except httpx.TransportError as error:
            raise BusyError(f"{type(error).__name__} {error}") from error
        if response.status_code in BUSY or response.status_code >= 500:
            raise BusyError(f"status {response.status_code}")
        if response.status_code != 200:
            raise ConnectionError(
                f"{self.url} refused with status {response.status_code}: {response.text[:200]}"
            )
        try:
            found = response.json()
            text = found["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ConnectionError(
                f"{self.url} must answer with choices[0].message.content, got {response.text[:200]}"
            ) from error
        return {"answer": text or "", "version": found.get("model") or self.model}

    def _text(self, question: Question) -> str:
        return self.prompt.replace("{question}", question.text)

    def _body(self, question: Question) -> dict:
        urls = [f"data:image/png;base64,{png(picture)}" for picture in question.pictures]
        content = [
            {"type": "text", "text": self._text(question)},
            *({"type": "image_url", "image_url": {"url": url}} for url in urls),
        ]
        return {
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.longest,
            "messages": [{"role": "user", "content": content}],
        }

    def _path(self, body: dict) -> Path:
        """Where the answer to a request is stored. Another server is asked anew."""
        key = hashlib.sha256(json.dumps([self.url, body], sort_keys=True).encode()).hexdigest()
        return self.cache / key[:2] / f"{key}.json"


def png(picture: Image.Image) -> str:
    """The picture as a PNG file in base 64; equal pixels give equal text."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def picture_tokens(width: int, height: int) -> int:
    """Tokens of a picture, by GPT-4o's rule."""
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    scale *= min(1.0, SHORTER_SIDE / (min(width, height) * scale))
    tiles = [math.ceil(side * scale / TILE) for side in (width, height)]
    return PICTURE_TOKENS + TILE_TOKENS * tiles[0] * tiles[1]


def key_of_environment() -> str | None:
    """$LADDER_JUDGE_KEY, or $OPENAI_API_KEY; None where neither is set."""
    return os.environ.get("LADDER_JUDGE_KEY") or os.environ.get("OPENAI_API_KEY")
