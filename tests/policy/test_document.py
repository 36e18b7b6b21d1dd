"""YAML with lines, and without surprises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andoncord.kernel.errors import CallerError
from andoncord.policy.document import read_documents


def test_everything_has_its_line() -> None:
    """Fields and list items know the line they stand on; what is missing has the line of what would hold it."""
    (document,) = read_documents("# first\nid: a\ntests:\n  - name: x\n  - name: y\n", place="f.yaml")

    assert document.at("id") == "f.yaml:2"
    assert document.at("tests", 1, "name") == "f.yaml:5"
    assert document.at("tests", 1, "missing") == "f.yaml:5"
    assert document.at("missing") == "f.yaml:2"


def test_several_documents_stand_in_one_file() -> None:
    """Documents are separated by `---`; empty ones do not count."""
    documents = read_documents("---\nid: a\n---\n---\nid: b\n", place="f.yaml")

    assert [(document.value["id"], document.at("id")) for document in documents] == [("a", "f.yaml:2"), ("b", "f.yaml:5")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("12:30", "12:30"),
        ("2026-05-01", "2026-05-01"),
        ("200_000_000", 200_000_000),
        ("-1.5", -1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("~", None),
        ('"5"', "5"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_values_mean_what_they_look_like(text: str, value: object) -> None:
    """Words and times are text; only numbers, true, false and null are something else."""
    (document,) = read_documents(f"on: {text}", place="f.yaml")

    assert document.value == {"on": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "f.yaml:2: field 'a' stands here twice"),
        ("a: &x 1\nb: *x", "f.yaml:2: not valid YAML: aliases are not supported: write it out"),
        ("a: !!python/object/apply:os.system [ls]", "f.yaml:1"),
        ("a: [1, 2", "f.yaml:1: not valid YAML"),
        ("a: b: c", "f.yaml:1: not valid YAML"),
        ("? [a]\n: 1", "f.yaml:1: a field's name has to be plain text"),
        ("a: !!int x", "f.yaml:1"),
        (f"a: {'9' * 50}", "f.yaml:1"),
        ("a: \x00", "f.yaml: not valid YAML"),
        ("[" * 20_000, "f.yaml"),
        ("a: " + "x" * 300_000, "f.yaml"),
    ],
)
def test_what_surprises_is_refused_with_its_line(text: str, message: str) -> None:
    """Doubled fields, aliases, tags and broken YAML are refused where they stand."""
    with pytest.raises(CallerError) as caught:
        read_documents(text, place="f.yaml")
    assert str(caught.value).startswith(message)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the reader fail with anything but a `CallerError`."""
    try:
        documents = read_documents(text, place="f.yaml")
    except CallerError:
        documents = ()
    assert isinstance(documents, tuple)
