"""An identity provider that speaks OpenID Connect: where people are sent, and what it says of them, checked.

Authorization code with PKCE (RFC 7636). What the provider signs is believed only with its own key, for us, for this sign-in,
and in its time.
"""

import hmac
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx2
import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.kernel.text import visible
from andoncord.kernel.time import MINUTE_NS

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with the provider's own key. None with a shared secret, and none without a key."""
LEEWAY_S = 60
"""How far its clock may be from ours."""
TIMEOUT_S = 10.0
MAX_ANSWER = 1 << 20
MAX_KEYS = 100
KEYS_AGAIN_NS = MINUTE_NS
"""How often its keys are asked for at most, when one is not known."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ProviderError(CallerError):
    """The provider is away, or what it says does not hold."""


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says about itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class OidcProvider:
    """One provider.

    Args:
        issuer: its address, as its tokens name it.
        client_secret: of a confidential client; empty for a public one.
        monotonic_ns: a clock that never goes back.

    Raises:
        CallerError: the extra `oidc` is not installed, or the address is not safe.
    """

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        client_secret: str,
        scopes: tuple[str, ...],
        monotonic_ns: Callable[[], int],
    ) -> None:
        self._jwt = _library()
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._scopes = scopes
        self._monotonic_ns = monotonic_ns
        self._found: _Found | None = None
        self._keys: dict[str, Any] = {}
        self._keys_ns = 0
        _check_address(issuer, "access.oidc.issuer")

    async def address(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """Where a person is sent to sign in.

        Raises:
            ProviderError: the provider does not say.
        """
        found = await self._itself()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{found.authorization_endpoint}{'&' if '?' in found.authorization_endpoint else '?'}{urlencode(query)}"

    async def claims(self, code: str, *, redirect_uri: str, verifier: str, nonce: str) -> Mapping[str, Any]:
        """What the provider says of who came back with this code.

        Raises:
            ProviderError: the code is not good, or the answer does not hold.
        """
        found = await self._itself()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self._client_id,
            "code_verifier": verifier,
        }
        # Escaped, as RFC 6749 wants it in 2.3.1.
        secret = (quote_plus(self._client_id), quote_plus(self._client_secret)) if self._client_secret else None
        said = await self._ask("POST", found.token_endpoint, form=form, secret=secret)
        token = said.get("id_token")
        if not isinstance(token, str):
            raise ProviderError("the provider sent no id_token", remedy="see that the scope openid is allowed for this client")
        return await self._checked(token, nonce=nonce)

    async def _checked(self, token: str, *, nonce: str) -> Mapping[str, Any]:
        jwt = self._jwt
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise ProviderError(f"the provider signs with {str(header.get('alg'))[:20]!r}, which is not accepted")
            claims: dict[str, Any] = jwt.decode(
                token,
                await self._key(str(header.get("kid", ""))),
                algorithms=[header["alg"]],
                audience=self._client_id,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise ProviderError(f"the provider's token does not hold: {error}") from None
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise ProviderError("the provider's token does not hold: it is of another sign-in")
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") != self._client_id:
            raise ProviderError("the provider's token does not hold: it was made for another party")
        return claims

    async def _key(self, kid: str) -> Any:
        """The key that a token names; of a provider that names none, its only one."""
        now = self._monotonic_ns()
        if kid not in self._keys and (not self._keys or now - self._keys_ns >= KEYS_AGAIN_NS):
            said = await self._ask("GET", (await self._itself()).jwks_uri)
            try:
                every = self._jwt.PyJWKSet.from_dict(said).keys[:MAX_KEYS]
            except self._jwt.PyJWTError as error:
                raise ProviderError(f"the provider's keys cannot be read: {error}") from None
            self._keys = {key.key_id or "": key for key in every if key.key_type != "oct"}
            self._keys_ns = now
        if kid in self._keys:
            return self._keys[kid]
        if not kid and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        raise ProviderError("the provider's token is signed with a key that the provider does not name")

    async def _itself(self) -> _Found:
        """What the provider says about itself; asked for once."""
        if self._found is None:
            said = await self._ask("GET", f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            try:
                found = msgspec.convert(said, _Found)
            except msgspec.ValidationError as error:
                raise ProviderError(f"what the provider says about itself is not as described: {error}") from None
            if found.issuer != self._issuer:
                raise ProviderError(
                    f"the provider calls itself {found.issuer[:200]!r}", remedy="set access.oidc.issuer to that"
                )
            for each in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
                _check_address(each, "the provider")
            self._found = found
        return self._found

    async def _ask(
        self, method: str, url: str, *, form: dict[str, str] | None = None, secret: tuple[str, str] | None = None
    ) -> dict[str, Any]:
        async with httpx2.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
            try:
                async with client.stream(method, url, data=form, auth=secret) as answer:
                    body = b""
                    async for part in answer.aiter_bytes():
                        body += part
                        if len(body) > MAX_ANSWER:
                            raise ProviderError(f"the provider's answer is larger than {MAX_ANSWER} bytes")
            except httpx2.HTTPError as error:
                raise ProviderError(
                    f"the provider does not answer ({type(error).__name__})", remedy="try again later"
                ) from None
        try:
            said = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = {}
        if not answer.is_success:
            word = visible(str(said.get("error", "")), 80)
            raise ProviderError(f"the provider answered {answer.status_code} {word}".rstrip())
        return said


def _check_address(address: str, place: str) -> None:
    """See that what goes there cannot be read or changed on its way.

    Raises:
        CallerError: it can.
    """
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise CallerError(f"{address[:200]!r} is not https", place=place)


def _library() -> ModuleType:
    """PyJWT, of the extra `oidc`.

    Raises:
        CallerError: it is not there.
    """
    try:
        import cryptography  # noqa: F401, PLC0415
        import jwt  # noqa: PLC0415
    except ImportError as error:
        raise CallerError(
            f"signing in at a provider needs a library that is not installed ({error})",
            place="access.oidc",
            remedy="pip install 'andoncord[oidc]'",
        ) from None
    return jwt
