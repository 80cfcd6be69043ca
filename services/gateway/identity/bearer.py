"""Where keys are: who calls is whoever the key or token was given to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.gateway.identity.api_key import KEY_PREFIX
from services.gateway.identity.caller import Caller, Role
from services.rpc.errors import PermissionDenied, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.gateway.identity.credentials import Credentials
    from services.gateway.identity.json_web_token import Tokens
    from services.gateway.identity.key_ring import KeyRing

_MISSING = "An API key or a token is needed: `Authorization: Bearer …`, in gRPC the metadata `authorization`."
# One sentence for all that can be wrong, so that it tells nothing about keys to whoever has none.
_WRONG = "The API key or token is none that may be used: it is unknown, expired or revoked."


class BearerIdentity:
    """Lets in whoever shows a key, or a token of the issuer's."""

    def __init__(self, keys: KeyRing, tokens: Tokens | None) -> None:
        self._keys = keys
        self._tokens = tokens

    async def identify(self, credentials: Credentials, time_left: Callable[[], float | None]) -> Caller:
        """See `Identity`.

        An admin may call for another user; who is not one may name nobody but themselves.
        """
        if credentials.bearer is None:
            raise Unauthenticated(_MISSING)
        user_id, role = await self._holder(credentials.bearer)
        if credentials.user_id is None or credentials.user_id == user_id:
            return Caller(user_id, time_left, role)
        if role is not Role.ADMIN:
            raise PermissionDenied("Only an admin may call for another user (x-user-id-bin, X-User-Id).")
        return Caller(credentials.user_id, time_left, role)

    async def _holder(self, shown: str) -> tuple[str, Role]:
        if not shown.startswith(KEY_PREFIX) and self._tokens is not None:
            holder = await self._tokens.holder(shown)
            if holder is not None:
                return holder.user_id, holder.role
        else:
            key = self._keys.find(shown)
            if key is not None:
                return key.user_id, key.role
        raise Unauthenticated(_WRONG)
