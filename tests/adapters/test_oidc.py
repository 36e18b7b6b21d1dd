"""What a provider signs: believed with its key, for us, for this sign-in and in its time, and in no other way."""

import asyncio
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from andoncord.adapters.oidc.provider import OidcProvider, ProviderError
from andoncord.kernel.errors import CallerError

KEY, OTHER_KEY = (rsa.generate_private_key(public_exponent=65_537, key_size=2_048) for _ in range(2))


class Scripted:
    """A provider that hands out whatever token it is given."""

    def __init__(self) -> None:
        said = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._tell(said.keys() if self.path == "/jwks" else said.about())

            def do_POST(self) -> None:
                said.form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._tell({"id_token": said.token})

            def _tell(self, body: dict[str, Any]) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.token, self.form = "", ""

    def about(self) -> dict[str, str]:
        paths = {"authorization_endpoint": "/auth", "token_endpoint": "/token", "jwks_uri": "/jwks"}
        return {"issuer": self.url, **{name: self.url + path for name, path in paths.items()}}

    def keys(self) -> dict[str, Any]:
        public: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(KEY.public_key()))
        return {"keys": [{**public, "kid": "one", "alg": "RS256", "use": "sig"}]}

    def sign(self, *, key: Any = KEY, algorithm: str = "RS256", kid: str = "one", **claims: Any) -> None:
        now = int(time.time())
        whole = {"iss": self.url, "aud": "andon", "sub": "17", "nonce": "n", "iat": now, "exp": now + 300, **claims}
        self.token = jwt.encode(
            {name: value for name, value in whole.items() if value is not None}, key, algorithm, headers={"kid": kid}
        )


@pytest.fixture(scope="module")
def scripted() -> Iterator[Scripted]:
    made = Scripted()
    thread = Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def provider(issuer: str) -> OidcProvider:
    return OidcProvider(issuer=issuer, client_id="andon", client_secret="", scopes=("openid",), monotonic_ns=time.monotonic_ns)


def claims(scripted: Scripted) -> dict[str, Any]:
    asking = provider(scripted.url).claims("c", redirect_uri="http://127.0.0.1/back", verifier="the verifier", nonce="n")
    return dict(asyncio.run(asking))


def test_a_token_that_holds_is_believed(scripted: Scripted) -> None:
    """Signed with the provider's key, for us and this sign-in; the verifier goes along with the code."""
    scripted.sign(groups=["sre"])
    assert claims(scripted)["groups"] == ["sre"]
    assert "code_verifier=the+verifier" in scripted.form
    scripted.sign(aud=["andon", "other"], azp="andon")
    assert claims(scripted)["sub"] == "17"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"nonce": "of another"}, "another sign-in"),
        ({"nonce": None}, "another sign-in"),
        ({"aud": "somebody else"}, "[Aa]udience"),
        ({"aud": ["andon", "other"]}, "another party"),
        ({"iss": "https://evil.example"}, "[Ii]ssuer"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "exp"),
        ({"sub": None}, "sub"),
        ({"key": OTHER_KEY}, "[Ss]ignature"),
        ({"kid": "two"}, "a key that the provider does not name"),
        ({"key": "a secret that everybody may know, of 32 bytes", "algorithm": "HS256"}, "HS256"),
        ({"key": None, "algorithm": "none"}, "none"),
    ],
)
def test_a_token_that_does_not_hold_is_refused(scripted: Scripted, wrong: dict[str, Any], words: str) -> None:
    """One thing wrong is enough."""
    scripted.sign(**wrong)
    with pytest.raises(ProviderError, match=words):
        claims(scripted)


def test_a_provider_that_is_not_safe_or_not_itself_is_refused(scripted: Scripted) -> None:
    """Plain HTTP beyond this machine, or another name than the settings give."""
    with pytest.raises(CallerError, match="not https"):
        provider("http://id.example")
    with pytest.raises(ProviderError, match="calls itself"):
        asyncio.run(provider(f"{scripted.url}/").address(redirect_uri="", state="", nonce="", challenge=""))
