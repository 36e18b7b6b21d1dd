"""Notices over HTTP: signed webhooks and PagerDuty."""

from collections.abc import Mapping
from pathlib import Path

import httpx2
import msgspec

from andoncord.adapters.notify.signed import TIMEOUT_S, PrivateAddressError, SignedPost
from andoncord.kernel.ports import Clock
from andoncord.kernel.time import rfc3339
from andoncord.respond.notice import Notice, Said

PAGERDUTY = "https://events.pagerduty.com"
SECRET_PREFIX = "whsec_"
SUMMARY = 1_024
"""Characters of a summary that PagerDuty takes."""
FINAL_BELOW = 500
MAY_PASS = (408, 425, 429)
"""Answers below 500 that another attempt may change."""
SEVERITIES = {"critical": "critical", "high": "error", "medium": "warning", "low": "info"}


class WebhookChannel:
    """Posts a CloudEvent, signed; who is spoken to: `SignedPost`."""

    def __init__(self, *, url: str, secret: bytes, allow_private: bool, source: str, clock: Clock) -> None:
        self._post = SignedPost(url=url, secret=secret, allow_private=allow_private)
        self._source = source
        self._clock = clock

    async def send(self, notice: Notice, *, replies_to: str) -> Said:
        """Delivered is what the receiver answers 2xx for."""
        now_ns = self._clock.now()
        number = f"{notice.thread}.{notice.key}"
        body = msgspec.json.encode(
            {
                "specversion": "1.0",
                "id": number,
                "source": self._source,
                "type": f"org.andoncord.notice.{notice.kind}",
                "subject": notice.incident or notice.thread,
                "time": rfc3339(now_ns),
                "datacontenttype": "application/json",
                "data": {
                    "incident": notice.incident or None,
                    "thread": notice.thread,
                    "severity": notice.severity,
                    "subject": notice.subject,
                    "lines": notice.lines,
                    "link": notice.link or None,
                    "facts": notice.facts,
                },
            }
        )
        try:
            answer = await self._post.send(number, body, content_type="application/cloudevents+json", now_ns=now_ns)
        except PrivateAddressError as error:
            return Said(state="failed", why=str(error), is_final=True)
        except OSError as error:
            return Said(state="failed", why=f"{self._post.host} has no address: {error.strerror or error}")
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return _lost(error)
        return Said(state="delivered", provider_id=number) if answer.is_success else _refused(answer)


class PagerDutyChannel:
    """PagerDuty's Events API, version 2: one incident is one `dedup_key`; what is over is resolved there too."""

    def __init__(self, *, url: str, key_file: Path, source: str) -> None:
        self._url = f"{(url or PAGERDUTY).rstrip('/')}/v2/enqueue"
        self._key_file = key_file
        self._source = source

    async def send(self, notice: Notice, *, replies_to: str) -> Said:
        """Delivered is what PagerDuty answers 202 for."""
        try:
            key = self._key_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            return Said(state="failed", why=f"the routing key cannot be read: {error.strerror}")
        event: dict[str, object] = {
            "routing_key": key,
            "event_action": "resolve" if notice.kind == "resolved" else "trigger",
            "dedup_key": notice.thread,
        }
        if notice.kind != "resolved":
            event["payload"] = {
                "summary": notice.subject[:SUMMARY],
                "source": self._source,
                "severity": SEVERITIES[notice.severity],
                "group": notice.incident,
                "custom_details": {"text": "\n".join(notice.lines), "key": notice.key},
            }
            event["links"] = [{"href": notice.link, "text": "incident"}] if notice.link else []
        return await _post(
            self._url, msgspec.json.encode(event), {"Content-Type": "application/json"}, provider_id=notice.thread
        )


async def _post(url: str, body: bytes, headers: Mapping[str, str], *, provider_id: str) -> Said:
    try:
        async with _client() as client:
            answer = await client.post(url, content=body, headers=dict(headers))
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return _lost(error)
    if answer.is_success:
        return Said(state="delivered", provider_id=provider_id)
    return _refused(answer)


def _client() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False)


def _lost(error: Exception) -> Said:
    return Said(state="failed", why=f"{type(error).__name__}: {error}"[:200])


def _refused(answer: httpx2.Response) -> Said:
    status = answer.status_code
    return Said(state="failed", why=f"answered {status}", is_final=status < FINAL_BELOW and status not in MAY_PASS)
