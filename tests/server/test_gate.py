"""Permissions: every route and command is in the table, and a real server holds every request against it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import httpx2
import pytest
from tests.server.conftest import Person

from andoncord.adapters.system.server_process import ServerProcess
from andoncord.engine.wishes import COMMANDS as GRANTED
from andoncord.kernel.access import COVERED, SCOPES_OF, Role, Scope, covered
from andoncord.server.permissions import API, COMMANDS, CONSOLE, Need

PASSWORDS = {role: f"walk the {role.value[::-1]} dog" for role in Role}
HTML = {"Accept": "text/html"}
UNDESCRIBED = {"GET /livez", "GET /readyz", "GET /metrics"}
"""Routes of the API that its description leaves out."""


@contextmanager
def client(server: ServerProcess, token: str = "") -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx2.Client(base_url=server.api_url, headers=headers, timeout=10, trust_env=False) as opened:
        yield opened


def asked(route: str) -> tuple[str, str]:
    """Method and address of a route, with a value in every place."""
    method, _, path = route.partition(" ")
    return method, re.sub(r"\{[^}]*\}", "nobody", path)


def statuses(server: ServerProcess, token: str, routes: dict[str, Scope | Need]) -> dict[str, int]:
    found: dict[str, int] = {}
    with client(server, token) as http:
        for route, need in routes.items():
            if isinstance(need, Scope) and "stream" not in route:
                method, path = asked(route)
                with http.stream(method, path, json={} if method == "POST" else None) as answer:
                    found[route] = answer.status_code
    return found


def test_every_command_of_the_engine_says_what_it_needs() -> None:
    """The table of commands and the engine's own name the same ones."""
    assert set(COMMANDS) == set(GRANTED)


def test_roles_grow(server: ServerProcess) -> None:
    """Each role may all that the one before may; no scope of a person is good for what machines do."""
    reach = [covered(SCOPES_OF[role]) for role in Role]
    assert all(less < more for less, more in pairwise(reach))
    assert not COVERED[Scope.ADMIN] & {Scope.AGENT, Scope.INGEST}


def test_every_route_is_held_against_the_table(server: ServerProcess, person: Person) -> None:
    """Without a token every route is 401; with one of each scope it is 403 exactly where the table says so."""
    described = person.get("/api/v1/openapi.json")["paths"]
    there = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods} | UNDESCRIBED
    assert there == {route.replace(":path}", "}") for route in API}
    assert set(statuses(server, "", API).values()) == {401}
    for scope in (Scope.READ, Scope.RESPOND, Scope.APPROVE):
        made = person.post("/api/v1/tokens", {"name": f"t-{scope}", "scope": scope})["token"]
        refused = {route for route, status in statuses(server, made, API).items() if status in (401, 403)}
        beyond = {
            route
            for route, need in API.items()
            if isinstance(need, Scope) and need not in COVERED[scope] and "stream" not in route
        }
        assert refused == beyond, scope
    sender = person.agent_token()
    assert set(statuses(server, sender, API).values()) == {403}


def test_no_page_opens_and_no_form_acts_without_a_session(server: ServerProcess) -> None:
    """Pages and forms of the console lead a stranger to the sign-in, with a token in the header too."""
    for token in ("", server.admin_token):
        with client(server, token) as http:
            for route, need in CONSOLE.items():
                method, path = asked(route)
                if isinstance(need, Scope):
                    answer = http.request(method, path, headers=HTML)
                    assert (answer.status_code, answer.headers["location"][:7]) == (303, "/login?"), route


@contextmanager
def signed_in(server: ServerProcess, name: str, password: str) -> Iterator[httpx2.Client]:
    with client(server) as browser:
        answer = browser.post("/login", data={"name": name, "password": password})
        assert answer.status_code == 303, answer.text[:300]
        yield browser


def proof(browser: httpx2.Client) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', browser.get("/").text)
    assert found
    return found.group(1)


def test_roles_hold_in_the_console(server: ServerProcess, person: Person) -> None:
    """A viewer reads and may not act; a changed role counts from the next request; disabling ends sessions and tokens."""
    name = "vera"
    person.post("/api/v1/users", {"name": name, "role": "viewer", "password": PASSWORDS[Role.VIEWER]})
    token = person.post("/api/v1/tokens", {"name": name, "scope": "admin"})["token"]
    with signed_in(server, name, PASSWORDS[Role.VIEWER]) as browser, client(server, token) as script:
        assert browser.get("/incidents").status_code == 200
        form = {"csrf": proof(browser), "title": "odd", "agent": "refund-bot", "severity": "low", "reason": "looks odd"}
        assert browser.post("/incidents", data=form).status_code == 403
        # The token of an account is never good for more than the account.
        assert script.get("/api/v1/tokens").status_code == 403
        assert script.get("/api/v1/me").json()["may"] == ["read"]

        person.post(f"/api/v1/users/{name}/role", {"role": "responder"})
        assert browser.post("/incidents", data={**form, "csrf": "of another"}).status_code == 409
        assert browser.post("/incidents", data=form).status_code == 303

        person.post(f"/api/v1/users/{name}/disable", {})
        assert browser.get("/incidents").headers["location"].startswith("/login")
        assert script.get("/api/v1/me").status_code == 401
        again = browser.post("/login", data={"name": name, "password": PASSWORDS[Role.VIEWER]})
        unknown = browser.post("/login", data={"name": "nobody", "password": PASSWORDS[Role.VIEWER]})
        assert again.status_code == unknown.status_code == 403
        assert again.text == unknown.text


def test_signing_in_makes_a_new_session(server: ServerProcess, person: Person) -> None:
    """The cookie that a browser brings is not the one it leaves with, and is worth nothing afterwards; so is signing out."""
    person.post("/api/v1/users", {"name": "rosa", "role": "viewer", "password": PASSWORDS[Role.ADMIN]})
    with signed_in(server, "rosa", PASSWORDS[Role.ADMIN]) as browser:
        first = browser.cookies["andon_session"]
        browser.post("/login", data={"name": "rosa", "password": PASSWORDS[Role.ADMIN]})
        assert browser.cookies["andon_session"] != first
        with client(server) as thief:
            thief.cookies.set("andon_session", first)
            assert thief.get("/api/v1/me").status_code == 401
        last = browser.cookies["andon_session"]
        assert browser.post("/logout", data={"csrf": proof(browser)}).status_code == 303
        with client(server) as thief:
            thief.cookies.set("andon_session", last)
            assert thief.get("/api/v1/me").status_code == 401


def test_people_change_their_own_password(server: ServerProcess, person: Person) -> None:
    """With the old one, from their own session; other sessions of theirs end, and this browser goes on with a new one."""
    old, new = "walks by the river", "walks by the harbour"
    person.post("/api/v1/users", {"name": "nina", "role": "viewer", "password": old})
    with signed_in(server, "nina", old) as browser, signed_in(server, "nina", old) as other:
        form = {"csrf": proof(browser), "old": old, "new": new, "again": new}
        assert browser.post("/account", data={**form, "old": "a wrong one"}).status_code == 409
        assert browser.post("/account", data={**form, "again": "typed wrongly"}).status_code == 409
        assert browser.post("/account", data={**form, "csrf": "forged"}).status_code == 409
        assert browser.post("/account", data=form).headers["location"] == "/account?done=1"
        assert browser.get("/account").status_code == 200
        assert other.get("/account").headers["location"].startswith("/login")
        assert other.post("/login", data={"name": "nina", "password": old}).status_code == 403
        assert other.post("/login", data={"name": "nina", "password": new}).status_code == 303
    refused = person.get("/api/v1/audit?kind=denied&who=nina")["items"]
    assert [(each["what"], each["why"]) for each in refused] == [("POST /account", "the form was not sent from this login")]


def test_the_audit_says_who_was_let_in(server: ServerProcess, person: Person) -> None:
    """Sign-ins, refusals and changes are written down with who, what, where from and why; no secret is among them."""
    person.post("/api/v1/users", {"name": "paul", "role": "responder", "password": PASSWORDS[Role.COMMANDER]})
    with signed_in(server, "paul", PASSWORDS[Role.COMMANDER]) as browser:
        assert browser.get("/api/v1/audit").status_code == 403
        assert browser.post("/login", data={"name": "paul", "password": "hunter2hunter2"}).status_code == 403
        assert browser.post("/login", data={"name": "hunter3hunter3", "password": "x"}).status_code == 403
    items = person.get("/api/v1/audit?limit=500")["items"]
    of = {(each["kind"], each["allowed"], each["who"], each["what"]) for each in items}
    assert ("login", True, "paul", "sign in") in of
    assert ("login", False, None, "sign in") in of
    assert ("denied", False, "paul", "GET /api/v1/audit") in of
    assert ("change", True, "local", "POST /api/v1/users") in of
    assert any((each["what"], each["about"]) == ("account made", "paul as responder") for each in items)
    assert all(each["address"] == "127.0.0.1" for each in items)
    assert "hunter" not in str(items)
    assert person.http.get("/api/v1/audit?kind=odd").status_code == 422


@pytest.mark.parametrize("name", ["", "local", "a b", "<script>", "x" * 65])
def test_a_name_that_would_confuse_is_refused(server: ServerProcess, person: Person, name: str) -> None:
    """Names are plain, and nobody takes that of the machine's own user."""
    assert person.http.post("/api/v1/users", json={"name": name, "role": "viewer"}).status_code == 422
