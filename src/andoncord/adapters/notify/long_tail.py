"""Notices over everything else, through Apprise (the extra `notify`). Addresses come from the operator's files only."""

import asyncio
import logging
from pathlib import Path

from andoncord.respond.notice import Notice, Said

logger = logging.getLogger(__name__)


class AppriseChannel:
    """One address of Apprise's, such as `tgram://…`. What became of a message Apprise says with one bit."""

    def __init__(self, *, url_file: Path) -> None:
        self._url_file = url_file

    async def send(self, notice: Notice, *, replies_to: str) -> Said:
        """Sent is what Apprise says it sent."""
        return await asyncio.to_thread(self._send, notice)

    def _send(self, notice: Notice) -> Said:
        # Heavy, and an extra: loaded when the first message goes out this way.
        from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType  # noqa: PLC0415

        try:
            url = self._url_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            return Said(state="failed", why=f"the address cannot be read: {error.strerror}")
        sender = Apprise(asset=AppriseAsset(app_id="Andoncord", secure_logging=True))
        if not sender.add(url):
            return Said(state="failed", why="Apprise does not know this address", is_final=True)
        kind = NotifyType.FAILURE if notice.severity in ("critical", "high") else NotifyType.INFO
        text = "\n".join((*notice.lines, *([notice.link] if notice.link else ())))
        taken = sender.notify(body=text, title=notice.subject, notify_type=kind, body_format=NotifyFormat.TEXT)
        return Said(state="sent") if taken else Said(state="failed", why="Apprise could not send it")
