"""Notices to people outside the response, from templates. Templates are data; what they may name is listed here."""

from collections.abc import Mapping
from string import Template as Dollars
from typing import Any

import msgspec
import yaml

from andoncord.kernel.errors import CallerError
from andoncord.kernel.text import visible
from andoncord.kernel.time import rfc3339
from andoncord.respond.steps import AUDIENCES

LINE = 200
MAX_TEXT = 4_000
NAMES = (
    "agents",
    "at_risk_usd",
    "containment",
    "cost_usd",
    "environment",
    "impact",
    "incident",
    "link",
    "opened",
    "pattern",
    "sev",
    "severity",
    "state",
    "title",
)
"""What a template may name with `$`. `title` and `agents` may hold words of an agent: they are cut, and shown as text."""


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """The words of one kind of notice."""

    id: str
    version: int
    audience: str
    subject: str
    text: str


def load(text: str, *, place: str) -> Template:
    """Read one template from YAML.

    Raises:
        CallerError: with place and remedy.
    """
    try:
        raw = yaml.safe_load(text)
        template = msgspec.convert(raw, Template)
    except yaml.YAMLError as error:
        raise CallerError(f"is not YAML: {error}", place=place) from None
    except msgspec.ValidationError as error:
        raise CallerError(str(error), place=place, remedy="a template has id, version, audience, subject and text") from None
    if unknown := set(raw) - set(Template.__struct_fields__):
        raise CallerError(f"unknown field {min(map(str, unknown))!r}", place=place)
    if template.audience not in AUDIENCES:
        raise CallerError(f"unknown audience {template.audience!r}", place=place, remedy=f"use one of: {', '.join(AUDIENCES)}")
    for field in ("subject", "text"):
        dollars = Dollars(getattr(template, field))
        if not dollars.is_valid() or len(dollars.template) > MAX_TEXT:
            raise CallerError("is no template", place=f"{place}: {field}", remedy="write $$ for a dollar sign")
        if strange := [name for name in dollars.get_identifiers() if name not in NAMES]:
            raise CallerError(f"unknown name ${strange[0]}", place=f"{place}: {field}", remedy=f"known: {', '.join(NAMES)}")
    return template


def render(template: Template, values: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and text with the values of one incident; what is missing is said to be unknown.

    >>> render(Template(id="a", version=1, audience="legal", subject="$sev", text="At $link."), {"sev": "SEV-1"})
    ('SEV-1', 'At unknown.')
    """
    known = {name: visible(str(values.get(name) or "unknown"), LINE) for name in NAMES}
    return Dollars(template.subject).substitute(known).strip(), Dollars(template.text).substitute(known).strip()


def values_of(
    facts: Mapping[str, Any], *, incident: str, title: str, state: str, containment: str, opened_ns: int, link: str
) -> dict[str, str]:
    """What templates may name about an incident, as words.

    Args:
        facts: as `respond.facts.facts` gives them.
    """
    return {
        "agents": ", ".join(facts["agents"]),
        "at_risk_usd": _usd(int(facts["at_risk_micro_usd"])),
        "containment": containment.lower() or "under way",
        "cost_usd": _usd(int(facts["cost_micro_usd"])),
        "environment": facts["environment"],
        "impact": ", ".join(facts["impact"]),
        "incident": incident,
        "link": link,
        "opened": rfc3339(opened_ns),
        "pattern": str(facts["pattern"]).replace("_", " "),
        "sev": facts["sev"],
        "severity": facts["severity"],
        "state": state,
        "title": title,
    }


def _usd(micro_usd: int) -> str:
    """Money in words; nothing where nothing is known of any.

    >>> _usd(250_000_000), _usd(0)
    ('250.00 US dollars', '')
    """
    return f"{micro_usd / 1_000_000:,.2f} US dollars" if micro_usd else ""
