"""Page tokens: opaque, unforgeable, and good only for the list that they were given for.

A token is the place where a page ended and a keyed digest (HMAC-SHA-256, RFC 2104) over that place and over
everything that says which list it is. The key lives in the database, so a token outlives a restart and is good
on every replica. The page size is no part of it: https://google.aip.dev/158 lets it change between pages.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from services.rpc.errors import FieldViolation, InvalidPageToken

_MAC_BYTES = 16


class PageTokens:
    """Makes and reads page tokens under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, place: bytes, listing: tuple[object, ...]) -> str:
        """Returns the token for the page after `place`.

        Args:
            place: Where the page ended.
            listing: Everything that says which list it is: plain values whose `repr` tells them apart.
        """
        return base64.urlsafe_b64encode(self._mac(place, listing) + place).decode("ascii").rstrip("=")

    def read(self, token: str, listing: tuple[object, ...]) -> bytes:
        """Returns the place that `make` was given for this list.

        Raises:
            InvalidPageToken: The token was not made for this list under this key.
        """
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _invalid() from None
        mac, place = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(place, listing)):
            raise _invalid()
        return place

    def _mac(self, place: bytes, listing: tuple[object, ...]) -> bytes:
        which = hashlib.sha256(repr(listing).encode("utf-8")).digest()
        return hmac.digest(self._key, which + place, "sha256")[:_MAC_BYTES]


def _invalid() -> InvalidPageToken:
    wrong = "must be a next_page_token that this service gave for the same list"
    return InvalidPageToken(f"page_token {wrong}.", violations=[FieldViolation("page_token", wrong)])
