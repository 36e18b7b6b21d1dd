"""What waits for people is masked wherever it is kept, shown whole to who decides, and carried out byte for byte."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.server.test_desk import client, until
from tests.server.test_nothing_leaks import contents
from tests.telemetry.test_redact import KEY

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.migrate import migrate
from andoncord.adapters.sql.vault import SqlVault
from andoncord.adapters.system.sealing import AesGcmCipher
from andoncord.adapters.system.server_process import launch
from andoncord.engine.state import State
from andoncord.kernel.errors import ConflictError
from andoncord.respond.desk import Held, SideEffect, Work
from andoncord.respond.masked import masked_work
from andoncord.server.vault import GRACE_NS, Vault
from andoncord.testing.system import HandClock
from andoncord_sdk import Guard

MAIL, CARD = "ann.planted@example.org", 4111111111111111
PLANTED = (KEY, MAIL, str(CARD))
ARGUMENTS = f'{{"card":{CARD},"key":"{KEY}","mail":"{MAIL}"}}'
SETTINGS = "approvals: {roles: {finance: [ada]}}"


def effect(number: int) -> dict[str, Any]:
    """A side effect as a guard tells it."""
    return {"agent": "refunds", "run_id": f"run of {MAIL} {number}", "tool": "payments.refund", "arguments": ARGUMENTS}


def planted_in(text: str) -> list[str]:
    return [each for each in PLANTED if each in text]


def test_it_is_masked_where_it_is_kept_and_whole_for_who_decides(tmp_path: Path) -> None:
    """Journal, databases and log hold none of it, through a restart; what can be read is carried out, and nothing else."""
    home, settings, made = tmp_path / "home", tmp_path / "andon.yaml", []
    settings.write_text(SETTINGS)
    asked = {**effect(0), "policy_id": "own", "policy_digest": "d", "role": "finance"}
    with launch(home, config=settings) as server, client(server, server.admin_token) as admin:
        wanted = {"g": {"scope": "agent", "agent": "refunds"}, "ada": {"scope": "approve"}, "eve": {"scope": "read"}}
        tokens = {name: admin.post("/tokens", json={"name": name, **each}).json()["token"] for name, each in wanted.items()}
        with client(server, tokens["g"]) as agent:
            ids = [agent.post("/held", json=effect(number)).json()["id"] for number in (1, 2)]
            context = {"customer": MAIL, "steps": [{"arguments": ARGUMENTS}]}
            work = {"agent": "refunds", "key": f"mail of {MAIL}", "task": f"answer {MAIL} with {KEY}", "context": context}
            assert len({agent.post("/handover", json=work).json()["id"] for _ in range(2)}) == 1
            assert agent.post("/handover", json={**work, "key": "mail of bob@example.org"}).json()["id"] == "hnd_000002"
            for _ in range(2):
                agent.post("/approvals", json={"instance": "i", "actions": [asked]}).raise_for_status()
        with client(server, tokens["ada"]) as ada, client(server, tokens["eve"]) as eve:
            (request,) = ada.get("/approvals").json()["items"]
            assert (request["action"]["arguments"], request["shown"]) == (ARGUMENTS, "exact")
            assert [each["effect"]["arguments"] for each in ada.get("/held").json()["items"]] == [ARGUMENTS] * 2
            assert admin.get("/handover/hnd_000001").json()["work"]["context"] == context
            for path in ("/approvals", "/approvals/apr_000001", "/held", "/handover", "/handover/hnd_000001"):
                shown = eve.get(path).text
                assert '"shown":"masked"' in shown
                assert planted_in(shown) == []
            assert ada.post("/approvals/apr_000001/grant", json={"digest": request["digest"]}).status_code == 202
        with client(server, tokens["g"]) as agent:
            (status,) = agent.post("/approvals", json={"instance": "i", "actions": [asked]}).json()["statuses"].values()
            assert status == "granted"
        journal, log = admin.get("/journal?limit=500").text, server.log()

    # Somebody changes what the second one would do.
    with contextlib.closing(sqlite3.connect(home / "control.db")) as database, database:
        name = f"effect/{digest_of(journal, ids[1])}"
        (sealed,) = database.execute("SELECT sealed FROM vault WHERE name = ?", (name,)).fetchone()
        database.execute("UPDATE vault SET sealed = ? WHERE name = ?", (sealed[:-1] + bytes([sealed[-1] ^ 1]), name))

    with (
        launch(home, config=settings) as server,
        client(server, tokens["ada"]) as ada,
        client(server, server.admin_token) as admin,
    ):
        with contextlib.closing(Guard("refunds", server=server.api_url, token=tokens["g"])) as guard:
            guard.effect("payments.refund", lambda **arguments: made.append(arguments))
            until(lambda: '"outbox"' in admin.get("/agents").text)
            for name, heard in zip(ids, (202, 409), strict=True):
                digest = ada.get("/held", params={"ids": name}).json()["digest"]
                said = {"ids": [name], "digest": digest, "reason": "read"}
                assert ada.post("/held/release", json=said).status_code == heard
            until(lambda: ada.get("/held", params={"ids": ids[0]}).json()["items"][0]["status"] == "done")
        (left,) = ada.get("/held").json()["items"]
        assert (left["id"], left["shown"], left["status"]) == (ids[1], "missing", "held")
        assert planted_in(json.dumps(left)) == []
        journal, log = admin.get("/journal?limit=500").text, log + server.log()
    everything = {**contents(home), "journal": journal.encode(), "log": log.encode()}

    assert made == [json.loads(ARGUMENTS)]
    assert "[redacted:" in journal
    assert [(place, each) for place, body in everything.items() for each in PLANTED if each.encode() in body] == []


def digest_of(journal: str, held: str) -> str:
    """The digest that the journal has of a held side effect."""
    entries = json.loads(journal)["items"]
    return next(str(each["body"]["digest"]) for each in entries if each["kind"] == "effect.held" and each["body"]["id"] == held)


@pytest.fixture
def store(database_url: str) -> Iterator[SqlVault]:
    with contextlib.closing(Database(database_url)) as database:
        migrate(database)
        yield SqlVault(database)


def test_what_is_sealed_opens_as_it_was_for_the_same_thing_under_the_same_key_or_not_at_all(store: SqlVault) -> None:
    """Nothing changed, moved to another's place, or sealed with another key is taken for what came."""
    state, clock = State(), HandClock()
    vault = Vault(store=store, cipher=AesGcmCipher(b"k" * 32), clock=clock, state=lambda: state)
    held = []
    for number in (1, 2):
        exact = SideEffect(**effect(number))
        with vault.effect_kept(exact) as masked:
            held.append(Held(id=f"eff_{number}", effect=masked, digest=exact.digest, incident="", held_ns=0))
        assert planted_in(str(masked)) == []
    first, second = (f"effect/{each.digest}" for each in held)
    sealed = store.get(first)
    assert sealed is not None
    assert vault.effect(held[0]) == (SideEffect(**effect(1)), "exact")
    told = {"id": "eff_1", "run_id": held[0].effect.run_id, "tool": "payments.refund", "arguments": held[0].effect.arguments}
    assert (vault.released("refunds", {**told, "digest": held[0].digest}) or {})["arguments"] == ARGUMENTS

    store.put(second, sealed, now_ns=0)
    assert vault.effect(held[1])[1] == "missing"
    store.put(first, sealed[:-1] + bytes([sealed[-1] ^ 1]), now_ns=0)
    assert vault.effect(held[0])[1] == "missing"
    assert vault.released("refunds", {**told, "digest": held[0].digest}) is None
    store.put(first, sealed, now_ns=0)
    other = Vault(store=store, cipher=AesGcmCipher(b"o" * 32), clock=clock, state=lambda: state)
    assert other.effect(held[0]) == (held[0].effect, "missing")


def test_only_what_waits_stays_sealed(store: SqlVault) -> None:
    """What the journal never spoke of goes after a while, what was refused at once, and what is held stays."""
    state, clock = State(), HandClock()
    vault = Vault(store=store, cipher=AesGcmCipher(b"k" * 32), clock=clock, state=lambda: state)
    for number in (1, 2):
        with vault.effect_kept(SideEffect(**effect(number))) as masked:
            pass
    digest = SideEffect(**effect(1)).digest
    state.desk.held["eff_1"] = Held(id="eff_1", effect=masked, digest=digest, incident="", held_ns=0)
    with pytest.raises(ConflictError), vault.effect_kept(SideEffect(**effect(3))):
        raise ConflictError("too many are held")
    vault.sweep()
    assert len(store.kept()) == 2
    clock.move_by(GRACE_NS)
    vault.sweep()
    assert list(store.kept()) == [f"effect/{digest}"]
    state.desk.held.clear()
    vault.sweep()
    assert store.kept() == {}


def test_keys_that_are_masked_alike_stay_different() -> None:
    """Two customers' work is two items; the same work is one; what holds nothing to mask is kept as it came."""
    keys = [masked_work(Work(agent="a", key=f"key {secret}")).key for secret in (KEY, KEY, f"{KEY[:-1]}F")]
    assert keys[0] == keys[1] != keys[2]
    plain = Work(agent="a", key="ticket-17", context={"customer": "c-4", "paid": [1, 2.5, None]})
    assert masked_work(plain) == plain
