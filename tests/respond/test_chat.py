"""Buttons in chat, and what is shown over them."""

import pytest

from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.respond.approval import Asked, Request
from andoncord.respond.chat import Button, Sealed, approval_post, opened, seal

KEY = b"k" * 32
SEALED = Sealed(do="grant", about="apr_000001", digest="0f", until_ns=100)


def request(arguments: str) -> Request:
    action = Asked(
        agent="billing", run_id="r", tool="refund", arguments=arguments, policy_id="p", policy_digest="d", role="cfo"
    )
    return Request(id="apr_000001", action=action, digest=action.digest, requested_by="fleet", asked_ns=0, until_ns=100)


def test_a_button_says_what_it_said_when_it_was_made() -> None:
    """Another key, another word, another act or another time: it says nothing."""
    value = seal(KEY, SEALED)
    assert opened(KEY, value, do="grant", now_ns=99) == SEALED
    body, _, mac = value.partition(".")
    forged = seal(b"x" * 32, SEALED)
    for odd in (forged, f"{body}x.{mac}", "", "a.b.c", value[:-1]):
        with pytest.raises(CallerError, match="not from here"):
            opened(KEY, odd, do="grant", now_ns=99)
    with pytest.raises(CallerError, match="something else"):
        opened(KEY, value, do="deny", now_ns=99)
    with pytest.raises(ConflictError, match="time of this button is over"):
        opened(KEY, value, do="grant", now_ns=100)


@pytest.mark.parametrize("arguments", ['{"a":"' + "x" * 3_000 + '"}', '{"a":"\u202e"}', '{"a":1}\n'])
def test_what_is_not_shown_whole_has_no_button(arguments: str) -> None:
    """Too long for one piece, or not plain text: where to read it, and no way to answer it here."""
    buttons = (Button(do="grant", value="v"),)
    whole = approval_post(request('{"usd":5}'), link="https://andon.example.org/approvals", buttons=buttons)
    cut = approval_post(request(arguments), link="https://andon.example.org/approvals", buttons=buttons)

    assert (whole.buttons, '{"usd":5}' in whole.body) == (buttons, True)
    assert (cut.buttons, "cannot be answered here" in cut.body, arguments[:20] in cut.body) == ((), True, False)
