"""Who calls: API keys, tokens of an issuer, or, on loopback, whoever is there.

    credentials      what a call says of who makes it
    choice           which of the two rules holds: `open_door`, or `bearer`
    api_key, key_file, key_ring          keys that are given out here
    json_web_keys, json_web_token        tokens that somebody else issues

Knows no door and no call: a door hands `Credentials` to an `Identity` and is given a `Caller`.
"""

from services.gateway.identity.caller import LOCAL_USER, Caller, Role
from services.gateway.identity.choice import ChosenIdentity
from services.gateway.identity.credentials import USER_ID_HEADER, USER_ID_KEY, Credentials
from services.gateway.identity.identity import Identity

__all__ = [
    "LOCAL_USER",
    "USER_ID_HEADER",
    "USER_ID_KEY",
    "Caller",
    "ChosenIdentity",
    "Credentials",
    "Identity",
    "Role",
]
