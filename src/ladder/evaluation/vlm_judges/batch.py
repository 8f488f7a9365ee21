"""Questions and answers as files of OpenAI's Batch API, which costs half and takes up to a day.

`write` makes the file that is uploaded; `read` takes the file of answers, whose lines come in any
order (https://platform.openai.com/docs/guides/batch). The requests are the very ones that would be
sent one by one, and the answers are stored as those are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ladder.config.files import replacing
from ladder.evaluation.json_files import dumps, read_json_lines
from ladder.evaluation.vlm_judges import Answer, JudgeQuestion
from ladder.evaluation.vlm_judges.completions import read_completion, read_refused_request
from ladder.evaluation.vlm_judges.openai import PATH, Endpoint

TOGETHER = 64
"""Questions whose pictures are in memory at a time."""


def write_batch(judge: Endpoint, questions: Iterable[JudgeQuestion], path: Path) -> int:
    """Write a request for every question without a stored answer; returns how many."""
    new = {judge.question_id(one): one for one in questions if judge.stored(one) is None}
    with (
        ThreadPoolExecutor(judge.jobs) as workers,
        replacing(path) as part,
        part.open("w", encoding="utf-8") as file,
    ):
        for name, body in bodies(judge, [*new.items()], workers):
            request = {"custom_id": name, "method": "POST", "url": f"/v1{PATH}", "body": body}
            file.write(dumps(request) + "\n")
    return len(new)


def bodies(
    judge: Endpoint, questions: Sequence[tuple[str, JudgeQuestion]], workers: ThreadPoolExecutor
) -> Iterable[tuple[str, dict[str, Any]]]:
    """The request of every question; pictures are encoded part by part."""
    for first in range(0, len(questions), TOGETHER):
        part = questions[first : first + TOGETHER]
        urls = judge.encoded((question for _, question in part), workers)
        yield from ((name, judge.body(question, urls)) for name, question in part)


@dataclass
class BatchAnswers:
    """The judge of a batch: it knows the answers of a file, and those that are stored."""

    judge: Endpoint
    found: Mapping[str, Answer]
    """By the names of the questions."""

    def __post_init__(self) -> None:
        one = self.judge
        self.name, self.version, self.temperature = one.name, one.version, one.temperature
        self.prompt, self.settings = one.prompt, one.settings

    @classmethod
    def read(cls, judge: Endpoint, path: Path) -> BatchAnswers:
        """The answers in a file. Raises ValueError for a line of another form."""
        found = {}
        for row in read_json_lines(path):
            name = row.get("custom_id") if isinstance(row, dict) else None
            if not isinstance(name, str):
                raise ValueError(f"{path} must have lines with a custom_id, got {str(row)[:200]}")
            found[name] = answer_of(row, judge.model)
        return cls(judge, found)

    def answer(self, questions: Sequence[JudgeQuestion]) -> list[Answer]:
        """The answers; a question that isn't in the file couldn't be asked."""
        answers = []
        for question in questions:
            answer = self.judge.stored(question) or self.found.get(self.judge.question_id(question))
            answer = answer or Answer("", "unreachable", "no answer in the batch's file")
            self.judge.store(question, answer)
            answers.append(answer)
        return answers


def answer_of(row: Mapping[str, Any], model: str) -> Answer:
    """What a line of answers says."""
    response, error = row.get("response"), row.get("error")
    if not isinstance(response, dict):
        return Answer("", "unreachable", f"the batch's error: {dumps(error)[:200]}")
    body = response.get("body")
    if response.get("status_code") != 200:
        return read_refused_request(int(response.get("status_code") or 500), dumps(body))
    return read_completion(body if isinstance(body, dict) else {}, model)
