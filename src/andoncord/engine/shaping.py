"""What entries about an incident's shape and crew change in it: merged, split, assigned, starred."""

from collections.abc import Callable, Mapping
from typing import Any

from andoncord.incident.changes import Change
from andoncord.incident.incident import Incident
from andoncord.kernel.journal import Entry

Incidents = Mapping[str, Incident]


def _merged(incidents: Incidents, entry: Entry) -> dict[str, Any]:
    """Everything that another incident is about becomes part of this one."""
    into, other = incidents[entry.incident], incidents[entry.body["from"]]
    known = {finding.id for finding in into.findings}
    rules = {*into.grouped, *other.grouped}
    return {
        "findings": (*into.findings, *(finding for finding in other.findings if finding.id not in known)),
        "grouped": {rule: into.grouped.get(rule, 0) + other.grouped.get(rule, 0) for rule in sorted(rules)},
        "agents": tuple(dict.fromkeys((*into.agents, *other.agents))),
        "verdicts": (*into.verdicts, *other.verdicts),
        "onset_ns": min(into.onset_ns, other.onset_ns),
        "last_finding_ns": max(into.last_finding_ns, other.last_finding_ns),
        "impact": entry.body["impact"],
        "merged": (*into.merged, other.id),
    }


def _absorbed(_: Incidents, entry: Entry) -> dict[str, Any]:
    return {"merged_into": entry.body["into"]}


def _split(incidents: Incidents, entry: Entry) -> dict[str, Any]:
    """Findings, and the agents that only they are about, leave this incident."""
    incident, moved = incidents[entry.incident], set(entry.body["findings"])
    return {
        "findings": tuple(finding for finding in incident.findings if finding.id not in moved),
        "agents": tuple(agent for agent in incident.agents if agent not in entry.body["agents"]),
        "verdicts": tuple(given for given in incident.verdicts if given.agent not in entry.body["agents"]),
        "impact": entry.body["impact"],
    }


def _received(incidents: Incidents, entry: Entry) -> dict[str, Any]:
    """Findings that another incident had, and the verdicts on the agents that came with them."""
    source, moved = incidents[entry.body["from"]], set(entry.body["findings"])
    return {
        "findings": tuple(finding for finding in source.findings if finding.id in moved),
        "verdicts": tuple(given for given in source.verdicts if given.agent in entry.body["agents"]),
        "last_finding_ns": max(finding.at_ns for finding in source.findings if finding.id in moved),
        "split_from": source.id,
    }


def _assigned(incidents: Incidents, entry: Entry) -> dict[str, Any]:
    crew = {role: person for role, person in incidents[entry.incident].crew.items() if role != entry.body["role"]}
    return {"crew": {**crew, entry.body["role"]: entry.body["person"]} if entry.body["person"] else crew}


def _starred(incidents: Incidents, entry: Entry) -> dict[str, Any]:
    starred = {moment: by for moment, by in incidents[entry.incident].starred.items() if moment != entry.body["moment"]}
    return {"starred": {**starred, entry.body["moment"]: entry.by} if entry.body["star"] else starred}


SHAPES: dict[str, Callable[[Incidents, Entry], dict[str, Any]]] = {
    "incident.merged": _merged,
    "incident.absorbed": _absorbed,
    "incident.split": _split,
    "findings.received": _received,
    "role.assigned": _assigned,
    "moment.starred": _starred,
}
"""Kind of entry → the fields of its incident that it changes."""


def change_of(entry: Entry) -> Change | None:
    """What an entry changed about its incident, who did it and why; None where that is no change of the incident itself."""
    body = entry.body
    match entry.kind:
        case "incident.opened":
            what = f"declared: {body['title']}" if body.get("declared_by") else "opened"
        case "incident.moved":
            what = f"{body['from']} → {body['to']}"
        case "incident.disposed":
            what = f"turned out to be {str(body['disposition']).replace('_', ' ')}"
        case "incident.merged":
            what = f"{body['from']} merged into it"
        case "incident.absorbed":
            what = f"merged into {body['into']}"
        case "incident.split":
            what = f"{len(body['findings'])} findings split off into {body['into']}"
        case "findings.received":
            what = f"{len(body['findings'])} findings split off from {body['from']}"
        case "role.assigned":
            what = f"{body['role']}: {body['person'] or 'nobody'}"
        case _:
            return None
    return Change(at_ns=entry.at_ns, by=entry.by, what=what, why=str(body.get("why") or body.get("reason") or ""))
