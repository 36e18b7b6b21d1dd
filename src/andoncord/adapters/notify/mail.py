"""Notices as e-mail."""

import asyncio
import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formataddr, formatdate
from pathlib import Path

from andoncord.respond.notice import Notice, Said

TIMEOUT_S = 10.0


class MailChannel:
    """Sends plain text over SMTP, from a thread of its own. The messages about one incident refer to the same first one.

    Args:
        tls: `starttls`, `tls` or `none`.
        password_file: read anew each time; None for a server that wants none.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        tls: str,
        user: str,
        password_file: Path | None,
        sender: str,
        to: Sequence[str],
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._user = user
        self._password_file = password_file
        self._sender = sender
        self._to = tuple(to)

    async def send(self, notice: Notice, *, replies_to: str) -> Said:
        """Hand it to the mail server; that it arrived nobody says."""
        return await asyncio.to_thread(self._send, notice)

    def message(self, notice: Notice) -> EmailMessage:
        """The message as it goes out. Sent again after a crash it has the same id."""
        domain = self._sender.rpartition("@")[2]
        message = EmailMessage()
        message["From"] = formataddr(("Andoncord", self._sender))
        message["To"] = ", ".join(self._to)
        message["Subject"] = notice.subject
        message["Date"] = formatdate(localtime=False)
        root = f"<{notice.thread}@{domain}>"
        message["Message-ID"] = f"<{notice.thread}.{notice.key}@{domain}>"
        message["In-Reply-To"] = root
        message["References"] = root
        message["Auto-Submitted"] = "auto-generated"
        message["X-Priority"] = "1" if notice.severity == "critical" else "3"
        message.set_content("\n".join((*notice.lines, *([notice.link] if notice.link else ()))) + "\n")
        return message

    def _send(self, notice: Notice) -> Said:
        message = self.message(notice)
        try:
            with self._connect() as server:
                if self._tls == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if self._user and self._password_file is not None:
                    server.login(self._user, self._password_file.read_text(encoding="utf-8").strip())
                refused = server.send_message(message, self._sender, self._to)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            return Said(state="failed", why=f"refused for {', '.join(error.recipients)}", is_final=min(codes) >= 500)
        except smtplib.SMTPAuthenticationError as error:
            return Said(state="failed", why=f"the mail server refused the password: {error.smtp_code}", is_final=True)
        except smtplib.SMTPResponseException as error:
            return Said(state="failed", why=f"the mail server answered {error.smtp_code}", is_final=error.smtp_code >= 500)
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            return Said(state="failed", why=f"{type(error).__name__}: {error}")
        why = f"refused for {', '.join(refused)}" if refused else ""
        return Said(state="sent", provider_id=str(message["Message-ID"]), why=why)

    def _connect(self) -> smtplib.SMTP:
        if self._tls == "tls":
            return smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT_S, context=ssl.create_default_context())
        return smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S)
