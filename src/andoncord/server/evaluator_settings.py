"""Settings of evaluators: whoever of the user's says of a run whether it was good."""

from typing import Annotated

import msgspec

from andoncord.kernel.errors import CallerError

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class EvaluatorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One evaluator of section `evaluators` of `andon.yaml`. The key it stands under is its name in every score."""

    hook: str = ""
    """A hook of section `hooks` that is told of a run on its standard input and answers on its standard output."""
    url: str = ""
    """Or an HTTP endpoint that is posted the same and answers the same."""
    token_file: str = ""
    """Holds the bearer token for `url`; relative to the settings file."""
    agents: str = "*"
    """Whose runs: a name or a glob."""
    share: Share = 0.1
    """Of the runs that are looked at."""
    share_troubled: Share | None = None
    """Of those that failed, or in which a call failed or was refused; like the others where it is not given."""
    per_hour: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100
    """Runs looked at in an hour at most; the others of that hour are counted as left out."""
    usd_per_day: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """What it may cost in 24 hours, by the `cost_usd` of its answers."""
    at_most_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0
    """Seconds after which it is not waited for."""

    def check(self, name: str, *, hooks: frozenset[str]) -> None:
        """Raises CallerError: it cannot be asked as it is written."""
        place = f"evaluators.{name}"
        if bool(self.hook) == bool(self.url):
            raise CallerError("needs a hook or a url, one of the two", place=place)
        if self.hook and self.hook not in hooks:
            raise CallerError(f"there is no hook {self.hook!r}", place=f"{place}.hook", remedy="name it under `hooks`")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise CallerError("is not a URL such as https://judge.internal/score", place=f"{place}.url")
        if self.token_file and not self.url:
            raise CallerError("is for a url", place=f"{place}.token_file")
        if name.startswith("human_"):
            raise CallerError("names that begin with human_ are for what people say", place=place, remedy="call it otherwise")

    def share_of(self, *, is_troubled: bool) -> float:
        """How likely a run is to be looked at."""
        return self.share_troubled if is_troubled and self.share_troubled is not None else self.share

    def weight_of(self, *, is_troubled: bool) -> float:
        """What a run weighs that was looked at, so that all of them together speak for all runs."""
        least = min(self.share, self.share if self.share_troubled is None else self.share_troubled)
        return least / self.share_of(is_troubled=is_troubled)
