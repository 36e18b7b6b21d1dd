"""Leases as the server gives them."""

from typing import Any

from tests.server.conftest import Person

from andoncord.adapters.system.server_process import ServerProcess
from andoncord.server.leases import LeaseOffice
from andoncord.testing.system import HandClock
from andoncord_sdk.lease import lease_mac

SECOND = 1_000_000_000


def test_each_registration_has_a_key_of_its_own() -> None:
    """A key of one guard proves nothing about another's lease, and a restarted server derives the same."""
    office, again = (LeaseOffice(secret=b"s", clock=HandClock()) for _ in range(2))

    assert office.key_of("g1") == again.key_of("g1") != office.key_of("g2")
    lease = office.give(guard="g1", agent="a", instance="i", epoch=(1, 0), rung="none", nonce="n")
    said: dict[str, Any] = {"guard": "g1", "agent": "a", "epoch": (1, 0), "rung": "none", "ttl_ms": 5_000, "nonce": "n"}
    assert lease["mac"] == lease_mac(office.key_of("g1"), **said) != lease_mac(office.key_of("g2"), **said)


def test_after_a_start_everybody_may_hold_a_lease() -> None:
    """What the server gave before it went down is not known, so it is counted for as long as it can have run."""
    clock = HandClock()
    office = LeaseOffice(secret=b"s", clock=clock)
    assert office.left_s("a", "i", below=(1, 1)) == 5.5

    clock.move_by(6 * SECOND)
    assert office.left_s("a", "i", below=(1, 1)) is None


def test_a_guard_gets_a_lease_and_has_it_renewed(person: Person, server: ServerProcess) -> None:
    """The key comes with the registration and never again; the lease names the order in force and answers the nonce."""
    fleet = Person(server, person.agent_token("lease-*"))
    with fleet:
        welcome = fleet.post("/api/v1/guards", {"agent": "lease-a", "instance": "i1", "nonce": "n1"})
        path = f"/api/v1/guards/{welcome['guard_id']}/lease"
        renewed = fleet.post(path, {"nonce": "n2"})
        unknown = fleet.http.post("/api/v1/guards/grd_none/lease", json={"nonce": "n3"})
        empty = fleet.http.post(path, json={"nonce": ""})

    key = bytes.fromhex(welcome["lease"]["key"])
    for lease, nonce in ((welcome["lease"], "n1"), (renewed, "n2")):
        said = {"guard": welcome["guard_id"], "agent": "lease-a", "epoch": (1, 0), "rung": "none", "ttl_ms": 5_000}
        assert lease["mac"] == lease_mac(key, nonce=nonce, **said)
    assert ("key" in renewed, unknown.status_code, empty.status_code) == (False, 404, 422)


def test_a_guard_that_is_ahead_is_held_and_shown(person: Person, server: ServerProcess) -> None:
    """A guard that obeys an order this server never gave finds its agent held, newer than that, with an incident for it."""
    body = {"agent": "lease-b", "instance": "i1", "epoch": [4, 7], "rung": "kill", "nonce": "n"}
    with Person(server, person.agent_token("lease-*")) as fleet:
        welcome = fleet.post("/api/v1/guards", body)
        silly = fleet.http.post("/api/v1/guards", json={**body, "epoch": [1, 2**60]})

    held = next(each for each in person.get("/api/v1/agents")["items"] if each["agent"] == "lease-b")
    assert (welcome["rung"], welcome["epoch"], welcome["lease"]["epoch"]) == ("kill", [5, 1], [5, 1])
    assert (held["rung"], held["state"]) == ("kill", "contained")
    assert "restored" in person.get(f"/api/v1/incidents/{held['incident']}")["title"]
    assert silly.status_code == 422
