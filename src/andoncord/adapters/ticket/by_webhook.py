"""Tickets in any other tracker, over a signed webhook: the receiver makes the ticket and says what it is called."""

import httpx2
import msgspec

from andoncord.adapters.notify.signed import PrivateAddressError, SignedPost
from andoncord.adapters.ticket.wire import SAID, decoded, refused
from andoncord.kernel.ports import Clock
from andoncord.kernel.time import rfc3339
from andoncord.respond.ticket import Ticket, TicketText, TrackerError


class _Made(msgspec.Struct, frozen=True):
    id: str
    url: str = ""


class WebhookTracker:
    """A CloudEvent for each thing to do. `webhook-id` is the marker and what is to be done.

    The receiver knows a repetition by it, answers it like the first one, and makes no second ticket.

    Args:
        secret: the key's bytes.
    """

    def __init__(self, *, url: str, secret: bytes, allow_private: bool, source: str, clock: Clock) -> None:
        self._post = SignedPost(url=url, secret=secret, allow_private=allow_private)
        self._source = source
        self._clock = clock

    async def find(self, text: TicketText) -> Ticket | None:
        """Nothing is looked for: asking for the ticket again gives the one that is there."""
        return None

    async def open(self, text: TicketText) -> Ticket:
        """Ask for a ticket."""
        made = decoded(await self._tell("opened", text, ticket=""), _Made)
        return Ticket(id=made.id, url=made.url)

    async def resolve(self, ticket: str, text: TicketText) -> None:
        """Say that it is over."""
        await self._tell("resolved", text, ticket=ticket)

    async def check(self) -> None:
        """Send a test; a receiver answers 2xx and makes nothing."""
        text = TicketText(marker="andoncord-test", incident="", severity="low", opened_ns=0, title="test", lines=())
        await self._tell("test", text, ticket="")

    async def _tell(self, what: str, text: TicketText, *, ticket: str) -> httpx2.Response:
        now_ns = self._clock.now()
        number = f"{text.marker}.{what}" if text.incident else f"{text.marker}.{now_ns}"
        body = msgspec.json.encode(
            {
                "specversion": "1.0",
                "id": number,
                "source": self._source,
                "type": f"org.andoncord.ticket.{what}",
                "subject": text.incident or text.marker,
                "time": rfc3339(now_ns),
                "datacontenttype": "application/json",
                "data": {
                    "marker": text.marker,
                    "ticket": ticket or None,
                    "incident": text.incident or None,
                    "severity": text.severity,
                    "title": text.title,
                    "lines": text.lines,
                    "link": text.link or None,
                },
            }
        )
        try:
            answer = await self._post.send(number, body, content_type="application/cloudevents+json", now_ns=now_ns)
        except PrivateAddressError as error:
            raise TrackerError(str(error), is_final=True) from None
        except OSError as error:
            raise TrackerError(f"{self._post.host} has no address: {error.strerror or error}") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise TrackerError(f"{type(error).__name__}: {error}"[:SAID]) from None
        if answer.is_success:
            return answer
        raise refused(answer, said="", now_ns=now_ns)
