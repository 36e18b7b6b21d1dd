"""Trackers against servers of this machine that behave like them."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.adapters.tracker_servers import Desk, GitHub, Jira, serving

from andoncord.adapters.ticket.by_webhook import WebhookTracker
from andoncord.adapters.ticket.github import GitHubTracker
from andoncord.adapters.ticket.jira import JiraTracker
from andoncord.respond.ticket import Tracker, TrackerError
from andoncord.testing.clock import SimClock
from andoncord.testing.tracker_contract import TOKEN, TrackerContract, run, text

SECRET = b"0123456789abcdef0123456789abcdef"


def github(world: GitHub, token: str = TOKEN) -> GitHubTracker:
    return GitHubTracker(
        url=world.url, repository="acme/ops", token=lambda: token, labels=("incident",), closes=True, clock=SimClock()
    )


class TestGitHub(TrackerContract):
    @pytest.fixture
    def world(self) -> Iterator[GitHub]:
        world = GitHub()
        with serving(world):
            yield world

    @pytest.fixture
    def tracker(self, world: Any) -> Tracker:
        return github(world)

    def test_a_token_that_holds_no_more_is_found_before_the_night(self, world: GitHub) -> None:
        """`check` says what GitHub said, and makes nothing; with the right token it says nothing."""
        run(github(world).check())
        with pytest.raises(TrackerError, match="401: the token is not accepted: Bad credentials"):
            run(github(world, "old").check())
        assert world.tickets() == []

    def test_an_exhausted_rate_limit_says_until_when(self, tracker: Tracker, world: GitHub) -> None:
        """GitHub says 403 and when it begins anew; that is no refusal for good."""
        again = str(int(SimClock().now() / 1_000_000_000) + 90)
        world.answer_next(403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": again}, said="API rate limit exceeded")
        with pytest.raises(TrackerError, match="rate limit") as refused:
            run(tracker.open(text()))
        assert (refused.value.is_final, round(refused.value.wait_s)) == (False, 90)

    def test_no_word_of_an_agent_leaves_its_fence(self, tracker: Tracker, world: GitHub) -> None:
        """A fence in the words is shorter than the one around them."""
        run(tracker.open(text(title="```` @everyone")))
        first, *_ = world.tickets()[0].text.splitlines()
        assert first == "`````text"


class TestJira(TrackerContract):
    @pytest.fixture
    def world(self) -> Iterator[Jira]:
        world = Jira()
        with serving(world):
            yield world

    @pytest.fixture
    def tracker(self, world: Any) -> Tracker:
        return JiraTracker(
            url=world.url,
            project="OPS",
            issue_type="Task",
            user="ada@example.org",
            token=lambda: TOKEN,
            labels=("incident",),
            closes=True,
            clock=SimClock(),
        )

    def test_a_project_that_is_there_is_fine(self, tracker: Tracker, world: Jira) -> None:
        """`check` makes nothing."""
        run(tracker.check())
        assert world.tickets() == []


class TestWebhook(TrackerContract):
    @pytest.fixture
    def world(self) -> Iterator[Desk]:
        world = Desk()
        with serving(world):
            yield world

    @pytest.fixture
    def tracker(self, world: Any) -> Tracker:
        return WebhookTracker(url=f"{world.url}/in", secret=SECRET, allow_private=True, source="andoncord", clock=SimClock())

    def test_an_address_within_the_network_is_refused(self, world: Desk) -> None:
        """Without `allow_private` nothing goes out."""
        closed = WebhookTracker(url=world.url, secret=SECRET, allow_private=False, source="andoncord", clock=SimClock())
        with pytest.raises(TrackerError, match="within this network"):
            run(closed.open(text()))
        assert world.requests == []
