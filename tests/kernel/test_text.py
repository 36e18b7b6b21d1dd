"""Hostile text made harmless to look at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andoncord.kernel.text import quoted, visible, visible_block


@pytest.mark.parametrize("hostile", ["\x1b[31m", "\x9b2J", "\u202e", "\u2066", "\u200b", "\x07", "\u2028", "\ud800", "\x7f"])
def test_no_control_survives(hostile: str) -> None:
    """Escapes, bidi and zero-width characters, bells, surrogates: what is left of them is their picture."""
    shown = visible(f"a{hostile}b")

    assert not any(character in shown for character in hostile if not character.isprintable())
    assert shown.startswith("a")


@given(st.text())
def test_what_is_visible_is_one_printable_line_within_its_limit(text: str) -> None:
    """Whatever goes in, one line of printable characters comes out, no longer than asked."""
    shown = visible(text, limit=40)

    assert len(shown) <= 40
    assert shown.isprintable()
    shown.encode("utf-8")


@given(st.text())
def test_a_block_keeps_only_new_lines_and_tabs(text: str) -> None:
    """A block may have lines; nothing else in it is a control character."""
    assert all(character.isprintable() or character in "\n\t" for character in visible_block(text))


def test_a_quotation_is_marked() -> None:
    """Words of agents stand in quotation marks."""
    assert quoted("do it") == "“do it”"
