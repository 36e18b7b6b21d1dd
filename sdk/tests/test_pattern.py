"""Patterns that cannot be made to take long."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andoncord_sdk.pattern import MAX_TRANSITIONS, Pattern
from andoncord_sdk.values import ExpressionError

atoms = st.sampled_from(
    ["a", "b", "-", " ", ".", r"\d", r"\W", r"\s", r"\b", r"\B", "^", "$", "[ab]", "[^a]", r"[\w-]", "[a-c1]", r"\.", "]", "é"]
)
REPEATS = ["*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "+?", ""]


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.builds(lambda part, times: f"(?:{part}x){times}", inner, st.sampled_from(REPEATS)),
        st.builds(lambda part, times: f"(?:{part}|y){times}", inner, st.sampled_from(REPEATS)),
    )


patterns = st.recursive(atoms, grown, max_leaves=8).filter(lambda source: len(source) <= 200)


@settings(max_examples=400)
@given(patterns, st.lists(st.text(alphabet="abx1y-. \né", min_size=1, max_size=12), min_size=1, max_size=4))
def test_patterns_mean_what_they_mean_in_python(source: str, texts: list[str]) -> None:
    """Where both know the syntax, both find the same (`$` is the very end, classes are ASCII)."""
    theirs = re.compile(source.replace("$", r"\Z"), re.ASCII)
    ours = Pattern(source)
    for text in texts:
        assert ours.search(text) is (theirs.search(text) is not None), (source, text)


@pytest.mark.parametrize("source", ["(a+)+$", "(a|a)*b", "(a*)*b", "a*a*a*a*a*b", "(.*)(.*)(.*)(.*)x", "(a?){60}a{60}b"])
def test_a_text_made_to_take_long_does_not(source: str) -> None:
    """Patterns that hold Python for minutes or more take one step per character here."""
    pattern = Pattern(source)

    assert pattern.search("a" * 5000) is (source == "(a+)+$")
    assert pattern._transitions < 200


@pytest.mark.parametrize(
    ("source", "text", "found"),
    [
        ("(?i)DROP +table", "drop  TABLE users", True),
        ("(?i)[a-z]$", "Z", True),
        (r"\brm\s+-rf\b", "farm -rf", False),
        (r"^/data/reports/[\w.-]+$", "/data/reports/may.csv", True),
        (r"^/data/reports/[\w.-]+$", "/data/reports/../keys", False),
        ("a{,2}", "a{,2}", True),
        ("", "", True),
        ("a|", "b", True),
        ("x$", "x\n", False),
        ("[]a]+$", "a]", True),
    ],
)
def test_the_syntax_people_use(source: str, text: str, found: bool) -> None:
    """Case, boundaries, anchors, brackets and braces."""
    assert Pattern(source).search(text) is found


@pytest.mark.parametrize(
    "source",
    [
        *("(", ")", "[", "[a", "a**", "a++", "*", "^*", "\\", "(?i"),
        *("(?=a)", "(?P<n>a)", r"(a)\1", r"\p"),
        *("[b-a]", r"[a-\d]", "a{3,2}", "((a{99}){99}){99}", "a" * 300),
    ],
)
def test_what_is_not_supported_is_refused(source: str) -> None:
    """Malformed, unbounded and look-around patterns are refused when they are compiled."""
    with pytest.raises(ExpressionError):
        Pattern(source)


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_a_pattern_or_refused(source: str, text: str) -> None:
    """Nothing but `ExpressionError` comes out of any pattern."""
    found: object = None
    try:
        found = Pattern(source).search(text)
    except ExpressionError:
        return
    assert found in (True, False)


def test_what_is_remembered_is_bounded() -> None:
    """A text of ever new characters does not fill the memory."""
    pattern = Pattern("[^a]b")
    text = "".join(map(chr, range(300, 300 + MAX_TRANSITIONS + 5000)))

    assert pattern.search(text) is False
    assert pattern._transitions <= MAX_TRANSITIONS
    assert pattern.search("zb") is True
