"""What was said, out of the many shapes in which emitters write prompts and completions."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from andoncord.telemetry import unwrap

_decode = msgspec.json.Decoder().decode
_MARKS = re.compile("|".join(map(re.escape, unwrap.MARKS)))

SYSTEM_ROLES = frozenset({"system", "developer"})
HISTORY_ROLES = frozenset({"assistant", "model", "ai", "tool", "function"})
"""In an input these repeat earlier steps, which stand in their own spans."""
MAX_MESSAGES = 2_048
"""Messages read of one prompt; the newest are kept."""
INSTRUCTIONS_KEPT = 128
"""Different instructions remembered as they were read."""


class _Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    content: str


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: str
    parts: list[_Text]
    finish_reason: str | None = None


_decode_said = msgspec.json.Decoder(list[_Said]).decode


def only_texts(value: Any) -> list[tuple[str, str]] | None:
    """Role and text of each message, where all are in the current form of OpenTelemetry and hold nothing but texts.

    Most do, and this is a third of the work of reading any form.

    >>> only_texts('[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]')
    [('user', 'Hi')]
    >>> only_texts('[{"role":"user","content":"Hi"}]') is None
    True
    """
    if not isinstance(value, str) or not value.startswith('[{"role":'):
        return None
    try:
        messages = _decode_said(value)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return [
        (message.role, message.parts[0].content if len(message.parts) == 1 else _lines(part.content for part in message.parts))
        for message in messages[-MAX_MESSAGES:]
    ]


def compact_json(value: Any) -> str:
    """A decoded value as JSON text without spaces.

    >>> compact_json({"order": 7})
    '{"order":7}'
    """
    return msgspec.json.encode(value).decode()


def message_list(value: Any) -> list[Any] | None:
    """The messages in an attribute's value, or None when it is not a list of messages.

    >>> message_list('[{"role": "user", "content": "hello"}]')
    [{'role': 'user', 'content': 'hello'}]
    >>> message_list("just text") is None
    True
    """
    if isinstance(value, str):
        if not value.startswith(("[", "{")):
            return None
        try:
            value = _decode(value)
        except (msgspec.DecodeError, RecursionError):
            return None
    value = unwrap.messages(value)
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(item, dict) and ("parts" in item or "content" in item or "type" in item) for item in value):
        return None
    return value[-MAX_MESSAGES:]


def input_texts(value: Any) -> tuple[str, str]:
    """What an agent was given, and the instructions among it.

    >>> input_texts([{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}])
    ('Hi', 'Be brief.')
    """
    given, orders = input_messages(value)
    return _lines(given), orders


def input_messages(value: Any) -> tuple[list[str], str]:
    """The messages an agent was given, one text each, and the instructions among them."""
    plain = only_texts(value)
    if plain:
        given = [text for role, text in plain if text and role not in SYSTEM_ROLES and role not in HISTORY_ROLES]
        return given, _lines(text for role, text in plain if role in SYSTEM_ROLES)
    messages = message_list(value)
    if messages is None:
        return [as_text(value)], ""
    given = [said(message) for message in messages if _role(message) not in SYSTEM_ROLES | HISTORY_ROLES]
    orders = [said(message) for message in messages if _role(message) in SYSTEM_ROLES]
    return [text for text in given if text], _lines(orders)


def _role(message: dict[str, Any]) -> str:
    role = message.get("role")
    return role if isinstance(role, str) else ""


def said_text(value: Any) -> str:
    """The text of all messages in `value`, tool calls as `name(arguments)`.

    >>> said_text('[{"role":"assistant","parts":[{"type":"tool_call","name":"refund","arguments":{"order":7}}]}]')
    'refund({"order":7})'
    """
    plain = only_texts(value)
    if plain:
        return plain[0][1] if len(plain) == 1 else _lines(text for _, text in plain)
    messages = message_list(value)
    return as_text(value) if messages is None else _lines(said(message) for message in messages)


@lru_cache(maxsize=INSTRUCTIONS_KEPT)
def instructions_text(value: str) -> str:
    """`said_text` for what an agent is told at every call, which is mostly the same."""
    return said_text(value)


def said(message: dict[str, Any]) -> str:
    """The text of one message, whether it has OpenTelemetry `parts` or OpenAI-style `content` and `tool_calls`."""
    parts = message.get("parts", message.get("content"))
    if "type" in message and "role" not in message:
        parts = [message]
    if not isinstance(parts, list):
        parts = [parts]
    calls = message.get("tool_calls")
    return _lines([*map(_part, parts), *(map(_call, calls) if isinstance(calls, list) else ())])


def tool_text(value: Any) -> str:
    """Arguments or result of a tool call as text, out of the envelope of the framework.

    >>> tool_text('{"type": "tool", "data": {"type": "tool", "content": "shipped"}}')
    'shipped'
    >>> tool_text('{"output": "a tool may well call it so"}')
    '{"output": "a tool may well call it so"}'
    """
    text = as_text(value)
    if not text.startswith("{") or not _MARKS.search(text):
        return text
    try:
        decoded = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    inner = unwrap.unwrap(decoded)
    if inner is decoded:
        return text
    return as_text(inner["content"] if isinstance(inner, dict) and inner.get("role") == "tool" else inner)


def as_text(value: Any) -> str:
    """Any attribute value as text: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else compact_json(value)


def _part(part: Any) -> str:
    if not isinstance(part, dict):
        return "" if part is None else as_text(part)
    kind = part.get("type")
    if isinstance(part.get("function_call"), dict):
        return _call(part["function_call"])
    if kind in ("tool_call", "function_call", "tool_use"):
        return _call(part)
    if kind == "tool_call_response":
        return ""
    content = part.get("content", part.get("text"))
    return "" if content is None else as_text(content)


def _call(call: Any) -> str:
    if not isinstance(call, dict):
        return ""
    function = call.get("function")
    if isinstance(function, dict):
        call = function
    arguments = call.get("arguments", call.get("input", call.get("args", "")))
    return f"{as_text(call.get('name', ''))}({as_text(arguments)})"


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(text for text in texts if text)
