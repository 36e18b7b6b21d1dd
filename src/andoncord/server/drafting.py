"""Drafts of notices, from templates: written into the record, and sent by nobody but a person."""

from collections.abc import Callable, Mapping

from andoncord.engine.state import State
from andoncord.kernel.effect import Effect, Outcome, Receipt
from andoncord.respond.statement import Template, render, values_of
from andoncord.server.ports import ServerClock


class DraftPerformer:
    """Writes a notice about an incident as it is now.

    Args:
        templates: by audience.
        link: where the console is; empty where nobody said.
    """

    def __init__(
        self, templates: Mapping[str, Template], *, state: Callable[[], State], clock: ServerClock, link: str = ""
    ) -> None:
        self._templates = dict(templates)
        self._state = state
        self._clock = clock
        self._link = link.rstrip("/")

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        """The words; a person reads, changes and sends them, or does not."""
        audience = effect.parameters["notice"]
        template = self._templates.get(audience)
        if template is None:
            return self._receipt(intent, Outcome.FAILED, {"missing": f"there is no template for {audience} notices"})
        incident = self._state().incident(effect.incident)
        subject, text = render(
            template,
            values_of(
                effect.parameters["incident"],
                incident=incident.id,
                title=incident.title,
                state=incident.state.value,
                containment=incident.containment.value if incident.containment else "",
                opened_ns=incident.opened_ns,
                link=f"{self._link}/incidents/{incident.id}" if self._link else "",
            ),
        )
        detail = {"audience": audience, "subject": subject, "text": text, "template": f"{template.id} v{template.version}"}
        return self._receipt(intent, Outcome.DONE, detail)

    def _receipt(self, intent: str, outcome: Outcome, detail: dict[str, str]) -> Receipt:
        return Receipt(intent=intent, outcome=outcome, at_ns=self._clock.now(), detail=detail)
