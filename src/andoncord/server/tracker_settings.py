"""Settings of trackers: where tickets about incidents go. Section `trackers` of `andon.yaml`."""

import re
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.server.channel_settings import HERE

NEEDED: dict[str, tuple[str, ...]] = {
    "github": ("repository",),
    "jira": ("url", "project"),
    "webhook": ("url", "secret_file"),
}
ALLOWED: dict[str, tuple[str, ...]] = {
    "github": ("url", "token_file", "token_env", "labels", "close"),
    "jira": ("user", "issue_type", "token_file", "token_env", "labels", "close"),
    "webhook": ("allow_private",),
}
FORMS = {
    "repository": (re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+"), "owner/name"),
    "project": (re.compile(r"[A-Z][A-Z0-9_]+"), "a project's key, such as OPS"),
    "token_env": (re.compile(r"[A-Z_][A-Z0-9_]*"), "the name of a variable"),
}


class TrackerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tracker. The key it stands under is its name; tickets that do not say where go to the first one."""

    kind: Literal["github", "jira", "webhook"]
    url: str = ""
    """Jira's site, or where a webhook goes; for GitHub another server than theirs."""
    repository: str = ""
    """GitHub: `owner/name`."""
    project: str = ""
    """Jira: the project's key."""
    issue_type: str = "Task"
    user: str = ""
    """Jira: the e-mail address that the token belongs to; empty for a bearer token."""
    token_file: str = ""
    """Holds the token; relative to the settings file, and read anew each time."""
    token_env: str = ""
    """Or the variable of the server's environment that holds it."""
    secret_file: str = ""
    """Holds the `whsec_…` that a webhook is signed with; relative to the settings file."""
    labels: tuple[str, ...] = ("incident",)
    close: bool = True
    """Close the ticket when the incident is over; otherwise only say so in it."""
    allow_private: bool = False
    """A webhook may go to an address within this network."""

    def check(self, name: str) -> None:
        """Whether it can be used as it is written.

        Raises:
            CallerError: with place and remedy.
        """
        place = f"trackers.{name}"
        for field in NEEDED[self.kind]:
            if not getattr(self, field):
                raise CallerError(f"{self.kind} needs {field}", place=place)
        known = {"kind", *NEEDED[self.kind], *ALLOWED[self.kind]}
        for field in self.__struct_fields__:
            if field not in known and getattr(self, field) != getattr(TrackerSettings(kind=self.kind), field):
                raise CallerError(f"{field} does not go with {self.kind}", place=place, remedy="leave it out")
        if self.kind != "webhook" and bool(self.token_file) == bool(self.token_env):
            raise CallerError("needs one of token_file and token_env", place=place)
        for field, (form, shown) in FORMS.items():
            if (given := getattr(self, field)) and not form.fullmatch(given):
                raise CallerError(f"{given!r} is not {shown}", place=f"{place}.{field}")
        if any(not label or " " in label or not label.isprintable() for label in self.labels):
            raise CallerError("are words without blanks", place=f"{place}.labels")
        if self.url:
            self._check_url(place)

    def _check_url(self, place: str) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise CallerError("is no http(s) address", place=f"{place}.url")
        if parts.scheme == "http" and parts.hostname not in HERE and not self.allow_private:
            raise CallerError("would send a token over an open wire", place=f"{place}.url", remedy="use https")
