"""Signing in at a provider: a real one, in a process of its own, with real keys and signatures."""

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from tests.server.conftest import Person

from andoncord.adapters.system.server_process import ServerProcess, launch

PEOPLE = (
    {"sub": "17", "preferred_username": "grace", "groups": ["chess", "leads"]},
    {"sub": "18", "preferred_username": "eve", "groups": ["chess"]},
    {"sub": "19", "preferred_username": "local-admin", "groups": ["leads"]},
    {"sub": "20", "preferred_username": "deploy", "groups": ["leads"]},
)
DEADLINE_S = 30.0


@contextmanager
def provider() -> Iterator[str]:
    """An OpenID provider from the package index, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    people = [part for each in PEOPLE for part in ("--user-claims", json.dumps(each))]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce", *people]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            url = f"http://127.0.0.1:{port}"
            pause = threading.Event()
            for _ in range(int(DEADLINE_S / 0.1)):
                try:
                    httpx2.get(f"{url}/.well-known/openid-configuration", trust_env=False).raise_for_status()
                    break
                except httpx2.HTTPError:
                    pause.wait(0.1)
            yield url
        finally:
            child.terminate()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, str]]:
    """A server whose people sign in at a provider."""
    folder: Path = tmp_path_factory.mktemp("elsewhere")
    with provider() as issuer:
        roles = {"leads": "commander", "ops": "responder"}
        oidc = {"issuer": issuer, "client_id": "andon", "client_secret_file": "oidc.secret", "roles": roles}
        (folder / "oidc.secret").write_text("a secret of ours\n")
        (folder / "andon.yaml").write_text(json.dumps({"access": {"oidc": oidc}}))
        with launch(folder / "home", config=folder / "andon.yaml") as running:
            yield running, issuer


def sent(browser: httpx2.Client) -> str:
    """Where the server sends a browser that signs in elsewhere."""
    answer = browser.get("/login/provider?next=/incidents")
    assert answer.status_code == 303, answer.text[:400]
    return str(answer.headers["location"])


def let_in(address: str, who: str) -> str:
    """Where the provider sends a person back to."""
    answer = httpx2.post(address, data={"sub": who}, trust_env=False)
    assert answer.status_code == 302, answer.text[:400]
    return str(answer.headers["location"])


def opened(server: ServerProcess) -> httpx2.Client:
    return httpx2.Client(base_url=server.api_url, timeout=20, trust_env=False)


def test_somebody_comes_in_with_the_role_that_the_provider_gives(site: tuple[ServerProcess, str]) -> None:
    """There and back with code, PKCE, state and nonce; the account is made, named and bound, and used again the next time."""
    server, issuer = site
    with opened(server) as browser, Person(server) as admin:
        for _ in range(2):
            address = sent(browser)
            asked = parse_qs(urlsplit(address).query)
            assert address.startswith(issuer)
            assert (asked["code_challenge_method"], asked["response_type"]) == (["S256"], ["code"])
            assert len(asked["state"][0]) > 20
            assert asked["nonce"] != asked["state"]
            back = browser.get(let_in(address, "17"))
            assert (back.status_code, back.headers["location"]) == (303, "/incidents")
        me = browser.get("/api/v1/me").json()
        assert (me["name"], me["may"]) == ("grace", ["approve", "read", "respond"])
        (account,) = (each for each in admin.get("/api/v1/users")["items"] if each["name"] == "grace")
        assert (account["role"], account["elsewhere"], account["password"]) == ("commander", True, False)

        admin.post("/api/v1/users/grace/disable", {})
        assert browser.get("/api/v1/me").status_code == 401
        assert browser.get(let_in(sent(browser), "17")).status_code == 403


def test_who_has_no_role_or_anothers_name_is_refused(site: tuple[ServerProcess, str]) -> None:
    """Without a group that counts nobody comes in; nor under a name that a local account or a person's token has."""
    server, _ = site
    with opened(server) as browser, Person(server) as admin:
        refused = browser.get(let_in(sent(browser), "18"))
        assert (refused.status_code, "no role here" in refused.text) == (403, True)
        admin.post("/api/v1/users", {"name": "local-admin", "role": "admin"})
        assert browser.get(let_in(sent(browser), "19")).status_code == 403
        admin.post("/api/v1/tokens", {"name": "deploy", "scopes": ["respond"]})
        assert browser.get(let_in(sent(browser), "20")).status_code == 403
        assert browser.get("/api/v1/me").status_code == 401


def test_a_sign_in_is_good_once_and_in_the_browser_that_began_it(site: tuple[ServerProcess, str]) -> None:
    """A way back that another browser walks, that is walked twice, or whose code or state was changed leads nowhere."""
    server, _ = site
    with opened(server) as browser, opened(server) as other:
        assert other.get(let_in(sent(browser), "17")).status_code == 403
        back = let_in(sent(browser), "18")
        assert browser.get(re.sub(r"code=[^&]+", "code=guess", back)).status_code == 422
        assert browser.get(back).status_code == 403
        back = let_in(sent(browser), "18")
        assert browser.get(re.sub(r"state=[^&]+", "state=guess", back)).status_code == 403
        assert browser.get("/api/v1/me").status_code == 401
