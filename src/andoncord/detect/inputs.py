"""What a run was given, in a few words that can be counted: how long, in which language, about what, of which class.

Derived from the first input of the run, without a model: what is compared are many runs with many runs, not one with another.
"""

from collections import Counter
from sys import intern
from typing import NamedTuple

from andoncord.telemetry.event import Event

MAX_READ = 200
"""Characters of an input that are read: it is done for every run, before anything else about it is known."""
MAX_WORDS = 10
"""Words of one input that say what it is about: the first ones."""
MIN_LETTERS, MAX_LETTERS = 4, 32
MIN_HITS = 2
"""Function words of a language before it is believed."""
ENOUGH_HITS = 4
"""After which nobody counts on."""
CLASS = "input_class"
"""Attribute in which emitters may say what kind of input it is."""
MAX_CLASS = 64

_NO_LETTERS = str.maketrans(dict.fromkeys((chr(code) for code in range(128) if not chr(code).isalpha()), " "))
_SCRIPTS: tuple[tuple[str, int, int], ...] = (
    ("latin", 0x0041, 0x024F),
    ("greek", 0x0370, 0x03FF),
    ("cyrillic", 0x0400, 0x052F),
    ("hebrew", 0x0590, 0x05FF),
    ("arabic", 0x0600, 0x06FF),
    ("devanagari", 0x0900, 0x097F),
    ("thai", 0x0E00, 0x0E7F),
    ("kana", 0x3040, 0x30FF),
    ("han", 0x4E00, 0x9FFF),
    ("hangul", 0xAC00, 0xD7AF),
)
_FUNCTION_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "english": "the and of to in is that for with this you are was be have not from what which can please my your",
        "german": "der die das und ist nicht mit den von ein eine für auf dem zu ich sie wir bitte wie kann auch werden",
        "french": "le la les et est des une un dans pour que qui sur pas avec je vous nous du au ce cette plus",
        "spanish": "el la los las y es un una en que de por para con no se su del al como este esta más",
        "italian": "il lo gli e è un una di che per con non si del della al come questo questa più sono",
        "portuguese": "o os as e é um uma em que de por para com não se do da ao como este esta mais",
        "dutch": "de het een en is niet van voor op met dat ik je wij zijn kan deze als ook naar",
        "polish": "i w na z do nie jest się że to jak o po dla są tym tego czy proszę",
        "turkish": "ve bir bu için ile de da ne gibi çok olarak var değil ben sen lütfen",
    }.items()
}
"""Closed classes of the languages of most texts on the web in Latin letters."""
_LANGUAGES_OF: dict[str, tuple[str, ...]] = {
    word: tuple(language for language, words in _FUNCTION_WORDS.items() if word in words)
    for word in frozenset().union(*_FUNCTION_WORDS.values())
}
_LANGUAGES_OF = {
    word: tuple(language for language, known in _FUNCTION_WORDS.items() if word in known)
    for word in frozenset().union(*_FUNCTION_WORDS.values())
}


class Features(NamedTuple):
    """What is counted of one input."""

    length: str
    language: str
    topic: tuple[str, ...]
    given: str
    """Its class as the emitter says it; empty where it says none."""


def features_of(event: Event) -> Features:
    """The features of a model call's input.

    >>> from andoncord.telemetry.event import EventKind
    >>> told = Event(kind=EventKind.MODEL_COMPLETED, input_text="Please refund the order of the customer in Berlin.")
    >>> features_of(told)
    Features(length='33 to 64', language='english', topic=('refund', 'order', 'customer', 'berlin'), given='')
    """
    text = event.input_text
    first = event.attributes.get("first_input_chars")
    size = first if isinstance(first, int) and not isinstance(first, bool) and 0 < first <= len(text) else len(text)
    read = text[: min(size, MAX_READ)]
    words = read.casefold().translate(_NO_LETTERS).split()
    language = _language(read, words)
    said = event.attributes.get(CLASS)
    return Features(
        length=_length(size),
        language=language,
        topic=_topic(words, _FUNCTION_WORDS.get(language, frozenset())),
        given=intern(str(said)[:MAX_CLASS].encode("utf-8", "replace").decode()) if said is not None else "",
    )


def _length(size: int) -> str:
    """The octave of a length."""
    octave = (size - 1).bit_length() if size > 0 else 0
    return intern(f"{2 ** (octave - 1) + 1} to {2**octave}" if octave else "1")


def _language(text: str, words: list[str]) -> str:
    """The script of most letters; of Latin ones the language, where its function words say so."""
    if not text.isascii():
        script = _script(text)
        if script != "latin":
            return script
    elif not words and not any(map(str.isalpha, text)):
        return "none"
    hits: dict[str, int] = {}
    for word in words:
        if word in _LANGUAGES_OF:
            for language in _LANGUAGES_OF[word]:
                hits[language] = hits.get(language, 0) + 1
                if hits[language] == ENOUGH_HITS:
                    return language
    if not hits:
        return "latin"
    best = max(sorted(hits), key=hits.__getitem__)
    return best if hits[best] >= MIN_HITS else "latin"


def _script(text: str) -> str:
    counts: dict[str, int] = {}
    for letter, count in Counter(text).items():
        if letter.isalpha():
            place = ord(letter)
            script = next((name for name, low, high in _SCRIPTS if low <= place <= high), "other")
            counts[script] = counts.get(script, 0) + count
    return max(sorted(counts), key=counts.__getitem__) if counts else "none"


def _topic(words: list[str], function_words: frozenset[str]) -> tuple[str, ...]:
    """The first words that say something."""
    found: dict[str, None] = {}
    for word in words:
        if MIN_LETTERS <= len(word) <= MAX_LETTERS and word not in function_words:
            found[intern(word)] = None
            if len(found) == MAX_WORDS:
                break
    return tuple(found)
