"""Wiring of channels and trackers: which adapter stands behind each that the settings name."""

import base64
import importlib.util
from collections.abc import Callable
from pathlib import Path

from andoncord.adapters.notify.http import SECRET_PREFIX, PagerDutyChannel, SlackChannel, WebhookChannel
from andoncord.adapters.notify.long_tail import AppriseChannel
from andoncord.adapters.notify.mail import MailChannel
from andoncord.adapters.system.environment import variable
from andoncord.adapters.ticket.by_webhook import WebhookTracker
from andoncord.adapters.ticket.github import GitHubTracker
from andoncord.adapters.ticket.jira import JiraTracker
from andoncord.config import Config
from andoncord.kernel.errors import CallerError
from andoncord.kernel.ports import Clock
from andoncord.respond.ticket import Tracker, TrackerError
from andoncord.server.notices import Channel
from andoncord.server.tracker_settings import TrackerSettings

MIN_KEY_BYTES = 24
"""What Standard Webhooks asks for."""
PRODUCT = "andoncord"


def channels_of(config: Config, *, beside: Path, clock: Clock) -> dict[str, Channel]:
    """Every channel of the settings.

    Raises:
        CallerError: a file that one of them needs is not there, or holds no secret.
    """
    found: dict[str, Channel] = {}
    for name, channel in config.channels.items():
        place = f"channels.{name}"
        key_file = beside / channel.key_file
        if channel.key_file and not key_file.is_file():
            raise CallerError(f"{key_file} is not there", place=f"{place}.key_file", remedy="put the secret there")
        match channel.kind:
            case "email":
                found[name] = MailChannel(
                    host=channel.host,
                    port=channel.smtp_port,
                    tls=channel.tls,
                    user=channel.user,
                    password_file=key_file if channel.key_file else None,
                    sender=channel.sender,
                    to=channel.to,
                )
            case "webhook":
                found[name] = WebhookChannel(
                    url=channel.url,
                    secret=webhook_secret(beside / channel.secret_file, place=f"{place}.secret_file"),
                    allow_private=channel.allow_private,
                    source=PRODUCT,
                    clock=clock,
                )
            case "pagerduty":
                found[name] = PagerDutyChannel(url=channel.url, key_file=key_file, source=PRODUCT)
            case "slack":
                found[name] = SlackChannel(url=channel.url, token_file=key_file, conversation=channel.to[0])
            case "apprise":
                if importlib.util.find_spec("apprise") is None:
                    raise CallerError("needs the extra", place=place, remedy="pip install 'andoncord[notify]'")
                found[name] = AppriseChannel(url_file=key_file)
    return found


def trackers_of(config: Config, *, beside: Path, clock: Clock) -> dict[str, Tracker]:
    """Every tracker of the settings, in their order.

    Raises:
        CallerError: one cannot be used as it is written, or its token is not there.
    """
    found: dict[str, Tracker] = {}
    for name, tracker in config.trackers.items():
        tracker.check(name)
        match tracker.kind:
            case "github":
                found[name] = GitHubTracker(
                    url=tracker.url,
                    repository=tracker.repository,
                    token=_token_of(name, tracker, beside=beside),
                    labels=tracker.labels,
                    closes=tracker.close,
                    clock=clock,
                )
            case "jira":
                found[name] = JiraTracker(
                    url=tracker.url,
                    project=tracker.project,
                    issue_type=tracker.issue_type,
                    user=tracker.user,
                    token=_token_of(name, tracker, beside=beside),
                    labels=tracker.labels,
                    closes=tracker.close,
                    clock=clock,
                )
            case "webhook":
                found[name] = WebhookTracker(
                    url=tracker.url,
                    secret=webhook_secret(beside / tracker.secret_file, place=f"trackers.{name}.secret_file"),
                    allow_private=tracker.allow_private,
                    source=PRODUCT,
                    clock=clock,
                )
    return found


def _token_of(name: str, tracker: TrackerSettings, *, beside: Path) -> Callable[[], str]:
    """How a tracker's token is read, anew each time: a new one needs no restart."""
    place = f"trackers.{name}"
    if tracker.token_env:
        if not variable(tracker.token_env):
            raise CallerError(f"{tracker.token_env} is not set", place=f"{place}.token_env", remedy="put the token there")
        return lambda: variable(tracker.token_env)
    path = beside / tracker.token_file

    def read() -> str:
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TrackerError(f"the token cannot be read: {type(error).__name__}", is_final=True) from None
        if not token or not token.isascii() or not token.isprintable():
            raise TrackerError("the file of the token holds none", is_final=True)
        return token

    try:
        read()
    except TrackerError as wrong:
        raise CallerError(f"{path}: {wrong}", place=f"{place}.token_file", remedy="put the token there") from None
    return read


def webhook_secret(path: Path, *, place: str) -> bytes:
    """The key that a webhook is signed with.

    Raises:
        CallerError: it cannot be read, or is none.
    """
    try:
        secret = path.read_text(encoding="utf-8").strip()
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (OSError, ValueError) as wrong:
        raise CallerError(f"{path}: {wrong}", place=place, remedy="put whsec_ and base64 there") from None
    if len(key) < MIN_KEY_BYTES:
        raise CallerError(f"holds fewer than {MIN_KEY_BYTES} bytes", place=place, remedy="put a long random secret there")
    return key
