"""What was said, out of whatever stands where messages should."""

import json
import random
from typing import Any

import pytest

from andoncord.telemetry.messages import input_texts, said_text, tool_text

NAMES = [
    "inputs",
    "outputs",
    "output",
    "kwargs",
    "lc",
    "data",
    "content",
    "role",
    "type",
    "tool_calls",
    "parts",
    "messages",
    "contents",
    "config",
    "system_instruction",
    "function_call",
    "function",
    "name",
    "arguments",
    "args",
    "text",
    "input",
    "tags",
    "metadata",
]
LEAVES = ("x", "user", "tool", "system", "human", "tool_call", "", None, 1, 1.5, True, "[", "{}")


def anything(chance: random.Random, depth: int) -> Any:
    """A value of any shape made of the names that messages are made of."""
    form = chance.random()
    if depth <= 0 or form < 0.3:
        return chance.choice(LEAVES)
    if form < 0.6:
        return [anything(chance, depth - 1) for _ in range(chance.randrange(3))]
    return {chance.choice(NAMES): anything(chance, depth - 1) for _ in range(chance.randrange(5))}


@pytest.mark.parametrize("read", [input_texts, said_text, tool_text])
def test_every_shape_is_read(read: Any) -> None:
    """A role that is an object, calls that are a number: hostile spans may hold them, and decoding never raises."""
    chance = random.Random(3)
    for _ in range(3_000):
        value = anything(chance, 6)
        read(value)
        read(json.dumps(value))


@pytest.mark.parametrize("read", [input_texts, said_text, tool_text])
@pytest.mark.parametrize("levels", [100, 900, 20_000])
@pytest.mark.parametrize(
    ("opening", "closing"), [('{"inputs":', ',"tags":1}'), ('[{"content":', "}]"), ('{"messages":', "}"), ("[", "]")]
)
def test_nesting_without_end_is_read(read: Any, levels: int, opening: str, closing: str) -> None:
    """Depth is no way to stop the ingest worker."""
    read(opening * levels + "1" + closing * levels)
    read('[{"content":' + opening * levels + "1" + closing * levels + "}]")
