"""The wire: endpoints, server-sent events, errors."""

import pytest
from sdk.tests.wire_server import WireServer

from andoncord_sdk.wire import Endpoint, WireError, post, read_events


def test_events_are_read_as_the_standard_says() -> None:
    """Comments and unknown fields are skipped, data lines joined, and an event without data is none."""
    lines = [
        b": hello\n",
        b"event: order\r\n",
        b"data: a\n",
        b"data:b\n",
        b"id: 3\n",
        b"\n",
        b"event: empty\n",
        b"\n",
        b"data: c\n",
        b"\n",
    ]

    assert [(event.name, event.data) for event in read_events(iter(lines))] == [("order", "a\nb"), ("message", "c")]


@pytest.mark.parametrize("url", ["127.0.0.1:8420", "ftp://x", "http://", ""])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    """The mistake is named when the guard is made, not when the order should come."""
    with pytest.raises(ValueError, match="expected a URL"):
        Endpoint(url)


def test_the_token_is_not_shown() -> None:
    """No log or traceback carries the token."""
    assert "secret" not in repr(Endpoint("http://127.0.0.1:1", "secret"))


def test_an_answer_that_is_no_success_raises(wire: WireServer) -> None:
    """A refusal is never taken for an acknowledgement."""
    wire.telemetry_statuses += [401]

    with pytest.raises(WireError) as refusal:
        post(Endpoint(wire.url), "/v1/logs", {}, timeout_s=5)

    assert refusal.value.status == 401
