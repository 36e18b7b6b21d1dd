"""Out of the envelopes in which frameworks put messages, arguments and results before an emitter writes them down."""

from typing import Any

_CALLBACK_INPUT = frozenset({"inputs", "input_str", "tags", "metadata", "kwargs"})
_CALLBACK_OUTPUT = frozenset({"output", "outputs", "tags", "kwargs"})
_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool"}
MAX_ENVELOPES = 8
"""Envelopes opened, one inside the other."""
MARKS = ('"inputs"', '"input_str"', '"output"', '"outputs"', '"lc"', '"data"')
"""One of these stands in every text that holds an envelope."""


def unwrap(value: Any) -> Any:
    """The value inside the envelopes of LangChain's callbacks and of its serialised messages; any other value as it is.

    >>> unwrap({"input_str": "{'order': 7}", "inputs": {"order": 7}, "tags": []})
    {'order': 7}
    >>> unwrap({"output": {"lc": 1, "kwargs": {"type": "tool", "content": "shipped"}}, "kwargs": {}})
    {'role': 'tool', 'content': 'shipped', 'tool_calls': None}
    """
    for _ in range(MAX_ENVELOPES):
        if not isinstance(value, dict):
            return value
        names = value.keys()
        if "inputs" in names and len(names) > 1 and names <= _CALLBACK_INPUT:
            value = value["inputs"]
        elif "kwargs" in names and names <= _CALLBACK_OUTPUT:
            value = value.get("output", value.get("outputs"))
        else:
            break
    return message(value)


def message(item: Any) -> Any:
    """A message as role and content, where it is a pair of both or one of LangChain's; else as it is.

    >>> message(["user", "Hi"])
    {'role': 'user', 'content': 'Hi'}
    """
    if isinstance(item, list) and len(item) == 2 and all(isinstance(each, str) for each in item):
        return {"role": item[0], "content": item[1]}
    if not isinstance(item, dict):
        return item
    inner = item.get("kwargs") if "lc" in item else item.get("data")
    if not isinstance(inner, dict) or "content" not in inner:
        return item
    kind = inner.get("type", item.get("type"))
    role = _ROLES.get(kind) if isinstance(kind, str) else None
    return {"role": role, "content": inner["content"], "tool_calls": inner.get("tool_calls")} if role else item


def messages(value: Any) -> Any:
    """The list of messages in a decoded value, as far as it is one: Google's contents and LangChain's batches of one, too."""
    value = unwrap(value)
    if isinstance(value, dict):
        if isinstance(value.get("contents"), list):
            settings = value.get("config")
            orders = settings.get("system_instruction") if isinstance(settings, dict) else None
            first = [{"role": "system", "content": orders}] if isinstance(orders, str) else []
            return first + value["contents"]
        content = value.get("content")
        value = [content] if isinstance(content, dict) and "parts" in content else value.get("messages", [value])
    if not isinstance(value, list):
        return value
    if len(value) == 1 and isinstance(value[0], list) and value[0] and isinstance(value[0][0], dict):
        value = value[0]
    return [item if isinstance(item, dict) and "role" in item else message(item) for item in value]
