"""How answers of a judge's server come over the wire: whole, in time, and as JSON, or not at all.

openai's client asks again where httpx says that an answer didn't come. This transport says so for
the answers that httpx would take: those that drip, are no JSON, are too large, or hold an error in
place of an answer.
"""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

LARGEST = 2**25
"""Bytes of an answer of a server, unpacked."""
PATIENCE, LONGEST_WAIT = 120.0, 600.0
"""Seconds of a Retry-After that openai's client heeds itself, and that are waited at most."""
BUSY = (429, 503)


class WholeAnswers(httpx.HTTPTransport):
    """Reads every answer to its end, so that one that drips, or is no JSON, is asked for again.

    httpx's own limit is for each piece of an answer: one byte a minute would never end.
    """

    def __init__(self, timeout: float, connections: int, tries: int, proxy: str | None) -> None:
        super().__init__(limits=httpx.Limits(max_connections=connections), proxy=proxy)
        self.timeout, self.tries = timeout, tries

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises httpx.ReadTimeout or RemoteProtocolError, after which openai's client retries."""
        deadline, content = time.monotonic() + self.timeout, bytearray()
        response = super().handle_request(request)
        response.request = request
        try:
            for piece in response.iter_bytes():  # unpacked piece by piece
                content += piece
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the answer takes too long", request=request)
                if len(content) > LARGEST:
                    raise httpx.RemoteProtocolError(f"more than {LARGEST} bytes", request=request)
        finally:
            response.close()
        headers = httpx.Headers(
            [(name, value) for name, value in response.headers.items() if name not in PACKING]
        )
        whole = httpx.Response(response.status_code, headers=headers, content=bytes(content))
        if whole.is_success:
            found = json_object(whole.content)
            if found is None:
                start = whole.text[:100].strip()
                raise httpx.RemoteProtocolError(f"no JSON object: {start!r}", request=request)
            if status := status_within(found):
                return httpx.Response(status, headers=headers, content=bytes(content))
        elif whole.status_code in BUSY:
            self._wait(request, whole)
        return whole

    def _wait(self, request: httpx.Request, response: httpx.Response) -> None:
        """Wait here as long as the server says, where openai's client would give up."""
        seconds = seconds_of(response.headers.get("retry-after", ""))
        asked = int(request.headers.get("x-stainless-retry-count", "0")) + 1
        if seconds > PATIENCE and asked < self.tries:
            time.sleep(min(seconds, LONGEST_WAIT))
            del response.headers["retry-after"]


PACKING = ("content-encoding", "content-length", "transfer-encoding")
"""Headers of an answer as it travelled, which don't hold for the whole."""


def json_object(content: bytes) -> dict[str, Any] | None:
    """The JSON object in the bytes of an answer; None for anything else."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def status_within(found: dict[str, Any]) -> int | None:
    """The status of an error that a gateway passes on within an answer of status 200."""
    error = found.get("error")
    code = error.get("code") if isinstance(error, dict) and not found.get("choices") else None
    return code if isinstance(code, int) and 400 <= code < 600 else None


def seconds_of(header: str) -> float:
    """What a Retry-After says, in seconds or as a date; 0 for anything else."""
    try:
        return float(header)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0


def proxy_of(url: str) -> str | None:
    """The proxy that the environment names for an address ($HTTPS_PROXY, $NO_PROXY); none for this
    machine. Raises ValueError for one that isn't reached by HTTP."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = getproxies().get(parts.scheme)
    if proxy is None or host in ("localhost", "127.0.0.1", "::1") or proxy_bypass(host):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        raise ValueError(f"${parts.scheme.upper()}_PROXY must be http[s]://HOST.., got {proxy}")
    return proxy
