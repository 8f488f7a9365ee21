"""How a judge's text is read, whatever the benchmark: without drafts, by a rule, or not at all."""

from __future__ import annotations

import re
from itertools import pairwise

FULL_WIDTH = {0x3000: " "} | {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
"""The wide forms of ASCII, which models of East Asia write, and ASCII itself."""
THINK = re.compile(
    r"<(/?)(?:think(?:ing)?|thought|reasoning|analysis|reflection|scratchpad)>"
    r"|\[(/?)THINK\]|\N{WHITE LEFT-POINTING TRIANGLE}(/?)think\N{WHITE RIGHT-POINTING TRIANGLE}",
    re.IGNORECASE,
)
FINAL_CHANNEL = "<|channel|>final<|message|>"
ANSWER = re.compile(r"<(/?)answer>", re.IGNORECASE)
ABOUT = r"(?:it|there|the|this|that|these|those|they|he|she|is|are|as|because)"
YES_OR_NO = re.compile(
    r"\W*(?:(?:(?:the|my|final) )*answer(?: is)?\W+)?(?P<said>yes|no)\b"
    rf"(?=[ \t]*(?:$|[^\w \t/]|{ABOUT}\b))"
    r"(?!-\w|\.\s*\d|\W*(?:(?:and|or)\W+)?(?!(?P=said))(?:yes|no)\b)",
    re.IGNORECASE,
)
"""Yes or no, and then the end, a mark, or a sentence about it. "No image" is no answer, and neither
are "yes and no" and "no. 5"."""
UNABLE = r"(?:can(?:no|')t|can not|won't|will not|(?:am|are|'m|'re) (?:unable|not able) to)"
TASKS = (
    r"(?:access|analy[sz]e|answer|assess|assist|comment|comply|continue|do th|engage|evaluate|"
    r"fulfil|help|judge|open|process|provide|rate|score|view)"
)
DECLINED = re.compile(
    rf"\b(?:i|we) ?{UNABLE} (?:\w+ ){{0,2}}?{TASKS}"
    r"|\bas an ai(?: language)? model\b"
    r"|\bno (?:image|picture|photo)s? (?:(?:was|were|is|are|has been|have been) )?"
    r"(?:attached|given|provided|shared|uploaded)"
    r"|\b(?:no puedo|no podemos|n[ãa]o posso|je ne peux pas|non posso|ich kann (?:\w+ )?nicht) "
    r"|не могу|无法|我不能|できません|없습니다",
    re.IGNORECASE,
)
"""That the judge doesn't do what it is asked, whatever else it writes."""
SORRY = re.compile(
    r"\W*(?:(?:i(?:'m| am) )?(?:very |so )?(?:sorry|afraid)\b|(?:my )?apologies\b|i apologi[sz]e\b"
    rf"|i ?{UNABLE}|as an ai\b|unfortunately\b|lo siento|lo lamento|desculpe|lamento"
    r"|je suis désolé|désolé|es tut mir leid|tut mir leid|entschuldigung|mi dispiace|извините"
    r"|к сожалению|抱歉|很抱歉|对不起|申し訳|すみません|죄송)",
    re.IGNORECASE,
)
"""How a model begins that declines. It is looked for only in a text that fits no rule."""
DASHES = r"\N{EN DASH}\N{EM DASH}-"
NOT_MORE = rf"(?![^\W_]|[.,]\d|\s*%|\s*(?:[~/{DASHES}]|(?:out\s+)?of\b|to\b|or\b|and\b)\s*\d)"
"""Behind a number: it isn't a part of one, of a range or of a share."""
SCALE = rf"(?:\s*(?:/|out\s+of|of)\s*(?P<scale>\d+))?{NOT_MORE}"
"""Behind a mark: what it is out of, if the judge says so."""
LONGEST = 9
"""Digits of a number that is read as it is."""


def whole(digits: str) -> int:
    """The whole number in `digits`; of more than LONGEST, one that is above every scale.

    Python itself refuses to read numbers of more than 4,300 digits.
    """
    return int(digits) if len(digits) <= LONGEST else 10**LONGEST


def final_text(text: str) -> str:
    """What stands behind the drafts of a model that thinks aloud; nothing if a draft has no end.

    Some chat templates open the draft themselves, so that a text holds the closing mark alone. Wide
    forms of ASCII become plain ones.
    """
    text = text.translate(FULL_WIDTH).rpartition(FINAL_CHANNEL)[2]
    ends = [found for found in THINK.finditer(text) if any(found.groups())]
    rest = text[ends[-1].end() :] if ends else text
    opened = THINK.search(rest)
    rest = rest[: opened.start()] if opened else rest
    marks = [*ANSWER.finditer(rest)]
    for before, after in reversed([*pairwise(marks)]):
        if after[1] and not before[1]:
            return rest[before.end() : after.start()].strip()
    return rest.strip()


def yes_or_no(text: str) -> str | None:
    """`yes` or `no` where the final text begins with it and doesn't take it back, else None."""
    found = YES_OR_NO.match(final_text(text))
    return found["said"].lower() if found else None


def declines(text: str) -> bool:
    """Whether a text says that the judge doesn't do what it is asked, though it may fit a rule."""
    return DECLINED.search(plain_quotes(text)) is not None


def opens_as_refusal(text: str) -> bool:
    """Whether a text begins as a refusal, and is one: what it copies may hold such words."""
    return declines(text) and SORRY.match(plain_quotes(text)) is not None


def is_refusal(text: str) -> bool:
    """Whether a text that fits no rule says that the judge declines."""
    return declines(text) or SORRY.match(plain_quotes(text)) is not None


def plain_quotes(text: str) -> str:
    return final_text(text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
