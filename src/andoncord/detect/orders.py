"""Sentences that tell a reader what to do: found by their grammar, not by their wording.

A sentence gives orders when it shows two of four features: it obliges or forbids, replaces one thing by another, has a verb in
the imperative, or speaks to its reader. The word lists are closed classes of English (modals, pronouns, verbs for common acts);
orders in other languages are not recognised.
"""

import re
from collections import Counter
from functools import lru_cache

MAX_TEXT = 16_384
"""Characters looked at of each text."""
MAX_SENTENCE = 600
FEATURES = 2
"""Features that make a sentence an order: one alone stands in any manual. Chosen."""

ADDRESSED = 3
"""Features that two neighbouring sentences must show together before a text counts as giving orders, which is asked of every
text; manuals and source code show two all the time. Chosen."""

_OBLIGE = re.compile(
    r"\b(?:must|should|shall|needs? to|ha(?:ve|s) to|required?|requires|mandatory|necessary|ensure|make sure|important|urgent"
    r"|do not|don't|never|always|(?:not|no longer|only) (?:be )?(?:allowed|permitted|accepted|supported|valid))\b"
)
_REPLACE = re.compile(
    r"\b(?:instead|rather than"
    r"|(?:changed|converted|migrated|moved|redirected|rerouted|reversed|set|switched|updated) (?:from|to|in)"
    r"|(?:been|is|are|was|were) (?:changed|converted|migrated|moved|redirected|replaced|reversed|switched))\b"
)
_VERBS = (
    "add|allow|approve|book|buy|call|cancel|change|click|complete|continue|convert|copy|create|delete|deploy|disable|disregard"
    "|download|email|enable|execute|export|fetch|follow|forget|forward|give|grant|ignore|include|install|invite|invoke|make|move"
    "|open|override|pay|perform|post|print|proceed|provide|publish|put|read|redirect|remove|repeat|replace|reply|report|respond"
    "|return|reveal|run|say|select|sell|send|set|share|start|stop|submit|swap|switch|tell|transfer|update|upload|use|visit"
    "|withdraw|write"
)
_IMPERATIVE = re.compile(
    rf"(?:^|[,;:(\"'>\n]\s*|\b(?:please|then|and|thus|therefore|so|now|first|next|also|just|to) )(?:{_VERBS})\b(?!\s*[:=])"
)
_ADDRESS = re.compile(
    r"\b(?:you|your|yours|yourself|(?:the|dear|this) (?:assistant|agent|ai|model|bot|user)|assistant|user's)\b"
)
_KINDS = (_OBLIGE, _REPLACE, _IMPERATIVE, _ADDRESS)
_ENDS = re.compile(r"[.!?]['\")\]]*(?=\s|$|\d+\.)|\n\s*\n|\n(?=\s*(?:[-*#|]|['\"\w .]{1,40}[:=]))|<[^<>\n]{1,40}>")
_CUES = ("must", "should", "instead", "you", "require", "never", "call ", "use ", "send ", "change", "convert", "allowed")
"""Orders are looked for in texts that hold one of these, and at these."""
MIN_TEXT = 24
"""Characters below which a text holds no order."""
MAX_CUES = 24
"""Places of one cue that are looked at."""


@lru_cache(maxsize=512)
def may_order(text: str) -> bool:
    """Whether looking for orders in `text` can pay: a few searches for plain words."""
    return any(cue in text for cue in _CUES)


def plain(text: str) -> str:
    """`text` in lower case, with the marks taken out that some agents put between the words of what they read.

    >>> plain("Call^the^vault^at^once,^then^wait^for^it^to^end.^All^of^it.")
    'call the vault at once, then wait for it to end. all of it.'
    """
    text = text[:MAX_TEXT]
    spaces = text.count(" ") + text.count("\n")
    if spaces * 25 < len(text):
        marks = Counter(
            char for char in text[:2_000] if not char.isalnum() and not char.isspace() and char not in "._-/'\",:{}[]"
        )
        if marks:
            mark, count = marks.most_common(1)[0]
            if count * 15 > min(len(text), 2_000):
                text = text.replace(mark, " ")
    return text.lower()


def is_order(sentence: str) -> bool:
    """Whether a sentence, in lower case, tells its reader what to do.

    >>> is_order("you must pay the invoice to account 5."), is_order("the invoice was paid to account 5.")
    (True, False)
    """
    return features(sentence) >= FEATURES


def features(sentence: str) -> int:
    """How many of the four features a sentence, in lower case, shows."""
    return len(_kinds(sentence))


def _kinds(sentence: str) -> set[int]:
    return {place for place, kind in enumerate(_KINDS) if kind.search(sentence)}


def sentence_at(text: str, start: int, end: int) -> str:
    """The sentence, or the line of a list, around a place of `text`."""
    floor, ceiling = max(0, start - MAX_SENTENCE), min(len(text), end + MAX_SENTENCE)
    begin = floor
    for boundary in _ENDS.finditer(text, floor, start):
        begin = boundary.end()
    after = _ENDS.search(text, end, ceiling)
    return text[begin : after.start() if after else ceiling].strip()


@lru_cache(maxsize=64)
def orders_in(text: str) -> tuple[str, ...]:
    """The sentences of `text` that give orders, alone or with the sentence after them, in lower case."""
    if len(text) < MIN_TEXT or not may_order(text):
        return ()
    low = plain(text)
    found: dict[str, None] = {}
    for cue in _CUES:
        end = 0
        for _ in range(MAX_CUES):
            place = low.find(cue, end)
            if place < 0:
                break
            end = place + len(cue)
            sentence = sentence_at(low, place, end)
            kinds = _kinds(sentence)
            if len(kinds) < FEATURES:
                continue
            rest = low.find(sentence, max(0, place - MAX_SENTENCE)) + len(sentence)
            if len(kinds | _kinds(sentence_at(low, rest + 1, rest + 2))) >= ADDRESSED:
                found[sentence] = None
    return tuple(found)
