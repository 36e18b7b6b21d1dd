"""Alerts to Prometheus's Alertmanager, over its API version 2."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import msgspec

from andoncord.engine.alerting import Alert
from andoncord.kernel.time import rfc3339

TIMEOUT_S = 8.0
AT_ONCE = 200
"""Alerts in one request."""
SAID = 200


class Alertmanager:
    """One Alertmanager.

    Args:
        url: without the path of its API.
        token_file: holds a bearer token, read anew each time; None for none.
        link: where the console is; empty where nobody said.
    """

    def __init__(self, url: str, *, token_file: Path | None, link: str) -> None:
        self.name = f"alertmanager {urlsplit(url).netloc}"
        self._url = f"{url.rstrip('/')}/api/v2/alerts"
        self._token_file = token_file
        self._link = link.rstrip("/")

    async def tell(self, alerts: Sequence[Alert], *, ends_ns: int) -> str:
        """Post them all; the first refusal ends it. Nothing to tell is told too: an empty list shows that it is there."""
        try:
            headers = {"Content-Type": "application/json", **self._authorization()}
            async with httpx2.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False) as client:
                for start in range(0, max(1, len(alerts)), AT_ONCE):
                    body = [self._written(alert, ends_ns) for alert in alerts[start : start + AT_ONCE]]
                    answer = await client.post(self._url, content=msgspec.json.encode(body), headers=headers)
                    if not answer.is_success:
                        return f"answered {answer.status_code}: {answer.text[:SAID]}"
        except (OSError, UnicodeDecodeError) as error:
            return f"the token cannot be read: {type(error).__name__}"
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return f"{type(error).__name__}: {error}"[:SAID]
        return ""

    def _authorization(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        return {"Authorization": f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"}

    def _written(self, alert: Alert, ends_ns: int) -> dict[str, object]:
        link = f"{self._link}/incidents/{alert.labels['incident']}" if self._link else ""
        return {
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": rfc3339(alert.starts_ns),
            "endsAt": rfc3339(alert.ended_ns or ends_ns),
            **({"generatorURL": link} if link else {}),
        }
