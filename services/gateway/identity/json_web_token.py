"""JSON Web Tokens (RFC 7519, with the advice of RFC 8725) that an issuer has given to a caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
from jwt.exceptions import PyJWTError

from services.gateway.identity.caller import Role, check_user_id
from services.rpc.errors import InvalidArgument

if TYPE_CHECKING:
    from services.gateway.identity.json_web_keys import JsonWebKeys

_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""All need the issuer's private key. None is `none`, and none would take a public key for a shared secret."""

_CLOCKS_DIFFER_SECONDS = 30
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Which tokens are believed, and what is read in them."""

    issuer: str
    """What `iss` has to be."""
    audience: str
    """What `aud` has to be, or to hold."""
    user_claim: str
    """Whose value is the user's id."""
    role_claim: str
    """Whose value, a string or a list of strings, is or holds `admin_role` in an admin's token; empty: none is."""
    admin_role: str


@dataclass(frozen=True, slots=True)
class Holder:
    """Who a token was given to."""

    user_id: str
    role: Role


class Tokens:
    """Believes an issuer's tokens."""

    def __init__(self, keys: JsonWebKeys, rules: TokenRules) -> None:
        self.keys = keys
        self._rules = rules
        self._jwt = jwt.PyJWT(options={"enforce_minimum_key_length": True})

    async def holder(self, shown: str) -> Holder | None:
        """Returns who a token was given to; None where it is none of the issuer's for us, or no longer.

        Raises:
            Unavailable: The issuer's keys could not be fetched yet.
        """
        try:
            header = jwt.get_unverified_header(shown)
            algorithm, key_id = header.get("alg"), header.get("kid")
            if algorithm not in _ALGORITHMS or not isinstance(key_id, str | None):
                return None
            key = await self.keys.key(key_id, algorithm)
            if key is None:
                return None
            claims = self._jwt.decode(
                shown,
                key,
                algorithms=[algorithm],
                issuer=self._rules.issuer,
                audience=self._rules.audience,
                leeway=_CLOCKS_DIFFER_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except PyJWTError:
            return None
        return self._read(claims)

    def _read(self, claims: dict[str, Any]) -> Holder | None:
        user_id = _claim(claims, self._rules.user_claim)
        if not isinstance(user_id, str):
            return None
        try:
            check_user_id(user_id, self._rules.user_claim)
        except InvalidArgument:
            return None
        roles = _claim(claims, self._rules.role_claim) if self._rules.role_claim else []
        is_admin = self._rules.admin_role in (roles if isinstance(roles, list) else [roles])
        return Holder(user_id, Role.ADMIN if is_admin else Role.USER)


def _claim(claims: dict[str, Any], name: str) -> object:
    """Returns a claim by its name, or by the path to it (`realm_access.roles`)."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part, _NOTHING) if isinstance(value, dict) else _NOTHING
    return value
