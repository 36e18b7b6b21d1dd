"""Wiring of channels and trackers: which adapter stands behind each that the settings name."""

import base64
import hmac
import importlib.util
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path

from andoncord.adapters.notify.alertmanager import Alertmanager
from andoncord.adapters.notify.http import SECRET_PREFIX, PagerDutyChannel, WebhookChannel
from andoncord.adapters.notify.long_tail import AppriseChannel
from andoncord.adapters.notify.mail import MailChannel
from andoncord.adapters.notify.slack import SlackApi, SlackChannel
from andoncord.adapters.notify.slack_socket import SlackSocket
from andoncord.adapters.system.environment import variable
from andoncord.adapters.ticket.by_webhook import WebhookTracker
from andoncord.adapters.ticket.github import GitHubTracker
from andoncord.adapters.ticket.jira import JiraTracker
from andoncord.config import Config, load_oncall
from andoncord.kernel.errors import CallerError
from andoncord.kernel.ports import Clock
from andoncord.respond.chat import Click, page_post
from andoncord.respond.ticket import Tracker, TrackerError
from andoncord.server.alert_feed import AlertFeed
from andoncord.server.chat import ChatDesk, Dresser, Room
from andoncord.server.chat_posts import ChatPosts
from andoncord.server.control import Control
from andoncord.server.errands import EffectLedger
from andoncord.server.identity import Identity
from andoncord.server.notices import Channel, DeliveryStore, NotifyPerformer
from andoncord.server.ports import ServerClock
from andoncord.server.tickets import TicketPerformer
from andoncord.server.tracker_settings import TrackerSettings

MIN_KEY_BYTES = 24
"""What Standard Webhooks asks for."""
PRODUCT = "andoncord"


class Telling:
    """Everything that tells people and trackers, as the settings name it.

    Args:
        deliveries: what became of every notice.
        ledger: what was begun and cannot be asked twice.
        secret: this installation's own; the buttons in chat are sealed with it.

    Raises:
        CallerError: a file that it needs is not there.
    """

    def __init__(
        self,
        config: Config,
        *,
        beside: Path,
        deliveries: DeliveryStore,
        ledger: EffectLedger,
        secret: bytes,
        clock: ServerClock,
        chance: Callable[[], float],
    ) -> None:
        self._config = config
        self._beside = beside
        self._chance = chance
        link = config.oncall.link
        key = hmac.digest(secret, b"buttons in chat", "sha256")
        self._dresser = Dresser(key=key, clock=clock, link=link)
        self.notices = NotifyPerformer(
            oncall=load_oncall(config, beside=beside),
            channels=channels_of(config, beside=beside, clock=clock, dresser=self._dresser),
            deliveries=deliveries,
            clock=clock,
            chance=chance,
            link=link,
        )
        self.tickets = TicketPerformer(
            trackers_of(config, beside=beside, clock=clock), ledger=ledger, clock=clock, chance=chance, link=link
        )

    def beside(self, control: Control, identity: Identity) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        """What runs beside the engine: the connections that clicks come in over, what keeps messages true, alerts out."""
        return {**self._chat(control, identity), **self._alerts(control)}

    def _alerts(self, control: Control) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        settings = self._config.alertmanager
        settings.check()
        if not settings.urls:
            return {}
        token_file = self._beside / settings.token_file if settings.token_file else None
        if token_file is not None and not token_file.is_file():
            raise CallerError(f"{token_file} is not there", place="alertmanager.token_file", remedy="put the token there")
        targets = [Alertmanager(url, token_file=token_file, link=self._config.oncall.link) for url in settings.urls]
        feed = AlertFeed(
            engine=control.engine,
            clock=control.clock,
            targets=targets,
            least=settings.least,
            labels=settings.labels,
            every_s=settings.every_s,
        )
        self.notices.connections |= {target.name: partial(feed.why, target.name) for target in targets}
        return {"alerts": feed.run}

    def _chat(self, control: Control, identity: Identity) -> dict[str, Callable[[], Coroutine[None, None, None]]]:
        config, notices = self._config, self.notices
        rooms = rooms_of(config, notices.channels)
        if not rooms:
            return {}
        desk = ChatDesk(
            control=control,
            people=identity.auth,
            record=identity.log,
            rooms=rooms,
            dresser=self._dresser,
            approvals=config.approvals,
        )
        posts = ChatPosts(
            control=control, deliveries=notices.deliveries, rooms=rooms, dresser=self._dresser, link=config.oncall.link
        )
        sockets = sockets_of(config, beside=self._beside, clicked=desk.clicked, chance=self._chance)
        notices.connections |= {name: partial(_standing, socket) for name, socket in sockets.items()}
        notices.answerers |= {who: f"may click in {name}" for name, room in rooms.items() for who in room.people.values()}
        return {"chat": posts.run, **{f"chat {name}": socket.run for name, socket in sockets.items()}}


def channels_of(config: Config, *, beside: Path, clock: Clock, dresser: Dresser | None = None) -> dict[str, Channel]:
    """Every channel of the settings.

    Args:
        dresser: puts buttons under what is shown in chat; without one there are none.

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
                app_file = beside / channel.app_key_file
                if channel.app_key_file and not app_file.is_file():
                    raise CallerError(
                        f"{app_file} is not there", place=f"{place}.app_key_file", remedy="put the app-level token there"
                    )
                dress = dresser.notice if dresser is not None and channel.app_key_file else page_post
                api = SlackApi(url=channel.url, token_file=key_file)
                found[name] = SlackChannel(api, conversation=channel.to[0], dress=dress)
            case "apprise":
                if importlib.util.find_spec("apprise") is None:
                    raise CallerError("needs the extra", place=place, remedy="pip install 'andoncord[notify]'")
                found[name] = AppriseChannel(url_file=key_file)
    return found


def rooms_of(config: Config, channels: Mapping[str, Channel]) -> dict[str, Room]:
    """The conversations of the settings in which people click."""
    return {
        name: Room(port=channels[name], people=dict(channel.people), takes_approvals=channel.approvals)
        for name, channel in config.channels.items()
        if channel.app_key_file
    }


def sockets_of(
    config: Config, *, beside: Path, clicked: Callable[[str, Click], Awaitable[None]], chance: Callable[[], float]
) -> dict[str, SlackSocket]:
    """A connection for each conversation in which people click. Those with the same app share one.

    Raises:
        CallerError: they share an app and would speak of different people.
    """
    found: dict[str, SlackSocket] = {}
    first: dict[Path, str] = {}
    for name, channel in config.channels.items():
        if not channel.app_key_file:
            continue
        path = (beside / channel.app_key_file).resolve()
        if known := first.get(path):
            if config.channels[known].people != channel.people:
                raise CallerError(
                    f"has the app of {known} and other people", place=f"channels.{name}.people", remedy="name the same ones"
                )
            continue
        first[path] = name
        found[name] = SlackSocket(
            SlackApi(url=channel.url, token_file=path),
            on_click=partial(clicked, name),
            chance=chance,
            may_be_open=channel.url.startswith("http://"),
        )
    return found


def _standing(socket: SlackSocket) -> str:
    return "" if socket.is_connected else socket.why


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
