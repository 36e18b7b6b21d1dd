"""What a guard asks people for is held against what the server has in force, whatever the guard says."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord.policy import policy as policies
from andoncord.respond.approval import MAX_OF_AGENT
from andoncord_sdk.policy import policy_digest

POLICY = """
id: refund-cap
effect: forbid
scope: {agent: refunds, tool: payments.refund}
when: "args.amount > 200"
message: large refunds need two people
obligations:
  - require_approval: {role: finance, people: 2}
tests:
  - {name: a large refund, request: {agent: refunds, tool: payments.refund, args: {amount: 250}}, expect: oblige}
  - {name: a small one, request: {agent: refunds, tool: payments.refund, args: {amount: 1}}, expect: allow}
"""
SETTINGS = """
policies: [refunds.yaml]
approvals: {roles: {finance: [ada, bob, olga, omar, vic]}}
agents: {refunds: {tools: {payments.refund: write}, owner: olga}}
"""
DIGEST = policy_digest(policies.compile_policies(policies.load(POLICY, place="refunds.yaml"))[0])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("asking")
    (folder / "refunds.yaml").write_text(POLICY)
    (folder / "andon.yaml").write_text(SETTINGS)
    with launch(folder / "home", config=folder / "andon.yaml") as running:
        yield running


@pytest.fixture(scope="module")
def people(server: ServerProcess) -> Iterator[dict[str, httpx2.Client]]:
    """A client for each person, for the administrator and for the guard, whose token omar owns."""
    made: dict[str, httpx2.Client] = {}

    def client(name: str, token: str) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {token}"}
        made[name] = httpx2.Client(base_url=f"{server.api_url}/api/v1", headers=headers, timeout=20, trust_env=False)
        return made[name]

    admin = client("admin", server.admin_token)
    for name in ("ada", "bob", "olga", "omar", "vic"):
        admin.post("/users", json={"name": name, "role": "viewer" if name == "vic" else "commander"}).raise_for_status()
        client(name, admin.post("/tokens", json={"name": name, "scopes": ["approve"]}).json()["token"])
    client(
        "guard",
        admin.post("/tokens", json={"name": "g", "scope": "agent", "agent": "refunds", "owner": "omar"}).json()["token"],
    )
    yield made
    for each in made.values():
        each.close()


def asked(people: dict[str, httpx2.Client], amount: int, **changes: Any) -> str:
    """What the guard hears when it asks for a refund."""
    said = post(people, action(amount, **changes)).raise_for_status().json()
    (status,) = said["statuses"].values()
    return str(status)


def post(people: dict[str, httpx2.Client], *actions: dict[str, Any]) -> httpx2.Response:
    return people["guard"].post("/approvals", json={"instance": "i1", "actions": actions})


def action(amount: int, **changes: Any) -> dict[str, Any]:
    """A refund, as the guard would make it."""
    return {
        "agent": "refunds",
        "run_id": "r1",
        "tool": "payments.refund",
        "arguments": f'{{"amount":{amount}}}',
        "policy_id": "refund-cap",
        "policy_digest": DIGEST,
        "role": "finance",
        "epoch": None,
        **changes,
    }


def waiting(people: dict[str, httpx2.Client], amount: int) -> list[dict[str, Any]]:
    items = people["admin"].get("/approvals?status=all").json()["items"]
    return [each for each in items if f":{amount}}}" in each["action"]["arguments"]]


def test_a_guard_that_asks_for_one_person_gets_the_two_of_the_policy(people: dict[str, httpx2.Client]) -> None:
    """Neither who answers for agent or token, nor a viewer, nor the same person twice; two do, and it is handed out once."""
    assert asked(people, 250) == "waiting"
    (request,) = waiting(people, 250)
    assert (request["people"], request["not_by"]) == (2, ["omar", "olga"])

    path, body = f"/approvals/{request['id']}/grant", {"digest": request["digest"]}
    heard = [people[name].post(path, json=body).status_code for name in ("vic", "olga", "omar", "ada", "ada")]
    assert heard == [403, 409, 409, 202, 409]
    assert asked(people, 250) == "waiting"
    assert people["bob"].post(path, json=body).status_code == 202
    assert [asked(people, 250), waiting(people, 250)[0]["status"]] == ["granted", "used"]
    assert asked(people, 250) == "waiting"


def test_what_is_not_in_force_is_neither_asked_nor_handed_out(people: dict[str, httpx2.Client]) -> None:
    """Another version of a policy that the server knows is refused; so is what was granted before another order came."""
    assert asked(people, 300, policy_digest="0" * 64) == "waiting"
    assert waiting(people, 300) == []

    epoch = [1, 0]
    assert asked(people, 400, epoch=epoch) == "waiting"
    (request,) = waiting(people, 400)
    for name in ("ada", "bob"):
        path = f"/approvals/{request['id']}/grant"
        assert people[name].post(path, json={"digest": request["digest"]}).status_code == 202
    order = {"scope": {"agent": "refunds"}, "rung": "monitor", "reason": "a look"}
    people["admin"].post("/orders", json=order).raise_for_status()
    assert asked(people, 400, epoch=epoch) == "waiting"
    assert waiting(people, 400)[0]["status"] == "granted"


def test_what_is_handed_out_is_heard_of_whatever_else_was_asked(people: dict[str, httpx2.Client]) -> None:
    """A granted approval is used up by being handed out: that another request finds no room must not swallow it."""
    assert asked(people, 500) == "waiting"
    (request,) = waiting(people, 500)
    for name in ("ada", "bob"):
        path = f"/approvals/{request['id']}/grant"
        assert people[name].post(path, json={"digest": request["digest"]}).status_code == 202
    others = [action(600, run_id=str(number)) for number in range(MAX_OF_AGENT)]
    for start in range(0, MAX_OF_AGENT, 50):
        post(people, *others[start : start + 50])
    assert post(people, action(601)).status_code == 409
    assert post(people, action(500), action(601)).json()["statuses"] == {request["digest"]: "granted"}
    assert people["guard"].post("/approvals", content="[" * 3_000).status_code == 422
