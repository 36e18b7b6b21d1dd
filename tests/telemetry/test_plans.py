"""Attributes read by their names alone come to what they come to one by one."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from andoncord.telemetry.aliases import default_table
from andoncord.telemetry.canonical import Canon
from andoncord.telemetry.otlp_attributes import plain_value
from andoncord.telemetry.raw import DROPPED, MAX_ATTRIBUTES

TABLE = default_table()
NAMES = sorted(
    {
        *TABLE.field_index(),
        *TABLE.short,
        *(row.attribute for row in TABLE.kinds),
        *(row.attribute for row in TABLE.kind_by_presence),
        *(row.attribute for row in TABLE.inside),
        *(f"{row.prefix}0.x" for row in TABLE.numbered_scores),
        *(f"{row.prefix}0.{row.content}" for row in TABLE.numbered_messages),
    }
)
WORDS = sorted({value for row in TABLE.kinds for value in row.values})
VALUES = st.one_of(
    st.builds(AnyValue, string_value=st.sampled_from(["", "x", '"LLM"', "ü" * 300, '{"session_id": "s", "input": 3}', *WORDS])),
    st.builds(AnyValue, int_value=st.integers(-5, 400)),
    st.builds(AnyValue, double_value=st.floats()),
    st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.just([AnyValue(string_value="a")]))),
    st.just(AnyValue()),
)
ATTRIBUTES = st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(min_size=1, max_size=3)), VALUES, max_size=12)
CANON = Canon(TABLE)


def both(attributes: dict[str, AnyValue]) -> tuple[Any, Any]:
    """One by one, and by their names."""
    plain = {name: plain_value(value) for name, value in attributes.items()}
    pairs = [KeyValue(key=name, value=value).SerializeToString() for name, value in attributes.items()]
    return CANON.read(plain), CANON.read_pairs(pairs)


@settings(max_examples=400, deadline=None)
@given(ATTRIBUTES)
def test_by_names_is_as_one_by_one(attributes: dict[str, AnyValue]) -> None:
    """Whatever aliases stand side by side, and whatever some of them leave empty; the second time too."""
    for _ in range(2):
        one_by_one, by_names = both(attributes)
        assert by_names == one_by_one


def test_of_too_many_attributes_the_first_are_read() -> None:
    """Those beyond the limit are counted, as in JSON."""
    written = {f"k{number}": number for number in range(MAX_ATTRIBUTES + 3)}
    pairs = [KeyValue(key=key, value=AnyValue(int_value=value)).SerializeToString() for key, value in written.items()]
    first = dict(list(written.items())[:MAX_ATTRIBUTES])

    assert CANON.read_pairs(pairs) == CANON.read({**first, DROPPED: 3})
