"""JSON-RPC messages of the Model Context Protocol: read strictly and written anew.

What two parsers would read differently, a key that is there twice or a number that is none, is not read at all. What is read is
written again from its parsed form, so whoever reads it next sees what was judged.
"""

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

MESSAGE_MAX_BYTES = 16 * 1024 * 1024
"""Longest message in either direction; an image inside a result is the largest thing sent."""

PARSE_ERROR, INVALID_REQUEST, NO_SUCH_METHOD, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
REFUSED = -32000
"""Our own code, from the range JSON-RPC leaves to implementations."""

ENVELOPE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})

RequestId = str | int


@dataclass(frozen=True, slots=True)
class Request:
    """Asks for an answer."""

    id: RequestId
    method: str
    params: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """Asks for nothing."""

    method: str
    params: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """To a request: a result, or an error."""

    id: RequestId | None
    """None where the request could not be read so far."""
    result: Any = None
    error: dict[str, Any] | None = None


Message = Request | Notification | Answer


class UnreadableError(Exception):
    """A message that is not passed on.

    Attributes:
        code: of the JSON-RPC error that says so.
        message: one sentence.
        id: of the request or answer, where that much is certain.
    """

    def __init__(self, code: int, message: str, id: RequestId | None = None) -> None:  # noqa: A002
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = id


def read(line: bytes) -> Message:
    r"""One message out of one line.

    Raises:
        UnreadableError: it is not one, or two readers might disagree about what it says.

    >>> read(b'{"jsonrpc": "2.0", "id": 7, "method": "ping"}')
    Request(id=7, method='ping', params=None)
    >>> read(b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "method": "tools/call"}')
    Traceback (most recent call last):
    andoncord_sdk.mcp.messages.UnreadableError: the key "method" is there twice
    """
    defects: list[str] = []
    outermost: list[tuple[str, Any]] = []

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal outermost
        outermost = pairs  # The outermost object is the one that is complete last.
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            defects.append(f"the key {json.dumps(twice[:80])} is there twice")
        return found

    def float_of(text: str) -> float:
        if not math.isfinite(number := float(text)):
            defects.append("a number is out of range")
        return number

    def no_number(word: str) -> None:
        defects.append(f"{word} is not JSON")

    try:
        text = line.decode("utf-8")
        document = json.loads(text, object_pairs_hook=object_of, parse_float=float_of, parse_constant=no_number)
        if "\\u" in text:
            _encode(document).encode("utf-8")
    except UnicodeEncodeError:
        defects.append("half a surrogate pair is not text")
    except UnicodeDecodeError as broken:
        raise UnreadableError(PARSE_ERROR, "the message is not UTF-8") from broken
    except RecursionError as broken:
        raise UnreadableError(PARSE_ERROR, "the message is nested too deeply") from broken
    except ValueError as broken:
        raise UnreadableError(PARSE_ERROR, f"the message is not JSON: {broken}") from broken
    if isinstance(document, list):
        raise UnreadableError(INVALID_REQUEST, "batches are not accepted: send each message on its own")
    if not isinstance(document, dict):
        raise UnreadableError(INVALID_REQUEST, "a message is a JSON object")
    ids = [value for key, value in outermost if key == "id" and _is_id(value)]
    sure_id = ids[0] if len(ids) == 1 else None
    if defects:
        raise UnreadableError(PARSE_ERROR, defects[0], sure_id)
    try:
        return _message(document)
    except ValueError as broken:
        raise UnreadableError(INVALID_REQUEST, str(broken), sure_id) from broken


def write(message: Message) -> bytes:
    r"""The message as one line.

    >>> write(Request(7, "ping"))
    b'{"jsonrpc":"2.0","id":7,"method":"ping"}\n'
    """
    document: dict[str, Any] = {"jsonrpc": "2.0"}
    if not isinstance(message, Notification):
        document["id"] = message.id
    if not isinstance(message, Answer):
        document["method"] = message.method
        if message.params is not None:
            document["params"] = message.params
    elif message.error is not None:
        document["error"] = message.error
    else:
        document["result"] = message.result
    return _encode(document).encode("utf-8") + b"\n"


def failed(id: RequestId | None, code: int, message: str) -> Answer:  # noqa: A002
    """The answer that says that a request was not followed."""
    return Answer(id, error={"code": code, "message": message})


class Lines:
    r"""Cuts a stream of bytes into lines. In place of a line that is too long comes None, and the rest of it is skipped.

    >>> lines = Lines(limit=3)
    >>> lines.feed(b"ab\nabcd"), lines.feed(b"ef\nx\n")
    ([b'ab'], [None, b'x'])
    """

    def __init__(self, limit: int = MESSAGE_MAX_BYTES) -> None:
        self._limit = limit
        self._begun = bytearray()
        self._is_skipping = False

    def feed(self, chunk: bytes) -> list[bytes | None]:
        """Take what came; the lines that are complete with it."""
        complete: list[bytes | None] = []
        for place, part in enumerate(chunk.split(b"\n")):
            if place:
                complete.append(None if self._is_skipping else bytes(self._begun))
                self._begun.clear()
                self._is_skipping = False
            if len(self._begun) + len(part) > self._limit:
                self._is_skipping = True
                self._begun.clear()
            elif not self._is_skipping:
                self._begun += part
        return complete


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def _is_id(value: object) -> bool:
    return isinstance(value, str) or type(value) is int


def _message(document: dict[str, Any]) -> Message:
    if foreign := document.keys() - ENVELOPE:
        raise ValueError(f"{json.dumps(min(foreign)[:80])} does not belong into a message")
    if document.get("jsonrpc") != "2.0":
        raise ValueError('"jsonrpc" must be "2.0"')
    if "id" in document and not _is_id(document["id"]):
        raise ValueError('"id" must be a text or a whole number')
    if "method" not in document:
        return _answer(document)
    method, params = document["method"], document.get("params")
    if not isinstance(method, str):
        raise ValueError('"method" must be a text')
    if "result" in document or "error" in document:
        raise ValueError("a message is a request or an answer, not both")
    if "params" in document and not isinstance(params, dict):
        raise ValueError('"params" must be an object')
    if not isinstance((params or {}).get("_meta", {}), dict):
        raise ValueError('"_meta" must be an object')
    return Request(document["id"], method, params) if "id" in document else Notification(method, params)


def _answer(document: dict[str, Any]) -> Answer:
    if "id" not in document or "params" in document or ("result" in document) is ("error" in document):
        raise ValueError('a message needs a "method", or an "id" with either a "result" or an "error"')
    error = document.get("error")
    if "error" in document and not (isinstance(error, dict) and type(error.get("code")) is int):
        raise ValueError('"error" must be an object with a "code"')
    return Answer(document["id"], document.get("result"), error)
