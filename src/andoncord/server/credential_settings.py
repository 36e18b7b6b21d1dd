"""Settings of credentials: what an agent holds that a kill must make worthless."""

from typing import Annotated

import msgspec

from andoncord.kernel.errors import CallerError


class CredentialSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One credential of section `credentials` of `andon.yaml`. The key it stands under is its name; its value is not needed."""

    agents: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """Names of the agents that hold it, or globs."""
    revoke_hook: str = ""
    """The hook that revokes it: ends with 0 once that is done."""
    revoke_url: str = ""
    """Or where to ask for it by POST: 2xx once that is done."""
    revoke_token_file: str = ""
    """A file with the bearer token to send to `revoke_url`; relative to the settings file."""
    proxy_tokens: str = ""
    """Or the folder with the tokens of runs that an MCP proxy of ours on this machine looks into; relative likewise."""
    proxy_url: str = ""
    """That proxy, as its clients reach it: it is where a revoked token is tried."""
    probe_hook: str = ""
    """The hook that tries the old one: says {"refused": true}, or false. Without it no kill of these agents is VERIFIED."""

    def check(self, name: str, *, hooks: frozenset[str]) -> None:
        """Whether it can be carried out.

        Raises:
            CallerError: with place and remedy.
        """
        place = f"credentials.{name}"
        if sum(map(bool, (self.revoke_hook, self.revoke_url, self.proxy_tokens))) != 1:
            raise CallerError("needs one of revoke_hook, revoke_url and proxy_tokens", place=place)
        if bool(self.proxy_tokens) != bool(self.proxy_url):
            raise CallerError("proxy_tokens and proxy_url go together", place=place)
        if self.proxy_url and not self.proxy_url.startswith(("http://127.0.0.1:", "http://localhost:")):
            remedy = "name it as its clients do: http://127.0.0.1:PORT/mcp"
            raise CallerError("an MCP proxy listens on this machine alone", place=f"{place}.proxy_url", remedy=remedy)
        if self.proxy_tokens and self.probe_hook:
            raise CallerError("is not needed: revoked tokens are tried at proxy_url", place=f"{place}.probe_hook")
        for key, hook in (("revoke_hook", self.revoke_hook), ("probe_hook", self.probe_hook)):
            if hook and hook not in hooks:
                known = ", ".join(sorted(hooks)) or "none"
                raise CallerError(
                    f"there is no hook {hook!r}", place=f"{place}.{key}", remedy=f"hooks in the settings: {known}"
                )
        if self.revoke_token_file and not self.revoke_url:
            raise CallerError("goes with revoke_url", place=f"{place}.revoke_token_file")
        if self.revoke_url and not self.revoke_url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
            raise CallerError(
                "would send a token over an open wire", place=f"{place}.revoke_url", remedy="use https, or this machine"
            )
