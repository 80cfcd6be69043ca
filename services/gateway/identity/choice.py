"""Which rule holds at this gateway's doors."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import structlog

from services.gateway.identity.bearer import BearerIdentity
from services.gateway.identity.json_web_keys import JsonWebKeys
from services.gateway.identity.json_web_token import TokenRules, Tokens
from services.gateway.identity.key_file import KEY_FILE_NAME
from services.gateway.identity.key_ring import KeyRing
from services.gateway.identity.open_door import OpenDoor, UserHeader
from services.rpc.settings import StartupError, variable_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.gateway.identity.caller import Caller
    from services.gateway.identity.credentials import Credentials
    from services.gateway.settings import GatewaySettings

_log = structlog.get_logger()


def key_file_path(settings: GatewaySettings) -> Path:
    """Returns where the API keys are, or would be."""
    return settings.api_keys_file or settings.data_dir / KEY_FILE_NAME


class ChosenIdentity:
    """Asks for a key or token as soon as any are configured, and until then lets in whoever is there.

    Once there are keys the door stays closed to whoever has none, whatever becomes of their file.

    Raises:
        StartupError: The settings contradict each other, or would let in anybody from anywhere.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._keys = KeyRing(key_file_path(settings), must_exist=settings.api_keys_file is not None)
        self._tokens = _tokens(settings)
        self._by_bearer = BearerIdentity(self._keys, self._tokens)
        self._open = OpenDoor(_user_header(settings))
        if self._asks_for_bearer and settings.trust_user_id_header:
            raise StartupError(
                f"{variable_name('trust_user_id_header')} lets whoever is there be anyone, and there are API keys or "
                "tokens to ask for: take away the one or the others. An admin's key may name a user without it."
            )
        if not self._asks_for_bearer:
            _check_who_can_reach(settings)
            if not _is_loopback(settings.bind_host):
                _log.warning("no key is asked for: whoever reaches this address is let in", address=settings.bind_host)

    async def start(self) -> None:
        """Fetches what tokens are checked with."""
        if self._tokens is not None:
            await self._tokens.keys.start()

    async def close(self) -> None:
        """Gives up what is under way."""
        if self._tokens is not None:
            await self._tokens.keys.close()

    async def identify(self, credentials: Credentials, time_left: Callable[[], float | None]) -> Caller:
        """See `Identity`."""
        self._keys.follow()
        rule = self._by_bearer if self._asks_for_bearer else self._open
        return await rule.identify(credentials, time_left)

    @property
    def _asks_for_bearer(self) -> bool:
        return self._keys.has_file or self._tokens is not None


def _is_loopback(host: str) -> bool:
    return host == "localhost" or ip_address(host).is_loopback


def _user_header(settings: GatewaySettings) -> UserHeader:
    if settings.trust_user_id_header is None:
        return UserHeader.TAKEN if _is_loopback(settings.bind_host) else UserHeader.REFUSED
    return UserHeader.NEEDED if settings.trust_user_id_header else UserHeader.REFUSED


def _check_who_can_reach(settings: GatewaySettings) -> None:
    if _is_loopback(settings.bind_host) or settings.trust_user_id_header or settings.open_to_anyone:
        return
    raise StartupError(
        f"{variable_name('bind_host')}={settings.bind_host} lets other machines in, and nothing would ask who they "
        f"are: make a key with `python run.py keys add NAME --user USER`, set {variable_name('jwt_jwks')}, or bind to "
        "127.0.0.1 (docs/security.md has the other ways)."
    )


def _tokens(settings: GatewaySettings) -> Tokens | None:
    needed = {name: getattr(settings, name) for name in ("jwt_jwks", "jwt_issuer", "jwt_audience")}
    if not any(needed.values()):
        return None
    for name, value in needed.items():
        if not value:
            others = " and ".join(variable_name(other) for other in needed if other != name)
            raise StartupError(f"{variable_name(name)} is missing: tokens are believed with {others} and it together.")
    rules = TokenRules(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        user_claim=settings.jwt_user_claim,
        role_claim=settings.jwt_role_claim,
        admin_role=settings.jwt_admin_role,
    )
    return Tokens(JsonWebKeys(settings.jwt_jwks), rules)
