"""The channel to the backend: encryption, retries, message sizes, keepalive."""

from __future__ import annotations

import ipaddress
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Largest message either way, as the backend has it."""

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            # gRPC retries only before the first message of the answer; every write carries a `request_id`, so
            # that one that did arrive is not carried out twice.
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}

_OPTIONS = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A backend that comes back is found again soon, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    # This one is how long an attempt may take: a backend that is busy or far away is given time.
    ("grpc.min_reconnect_backoff_ms", 5_000),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """An encrypted connection, to a server whose certificate is checked."""

    ca_file: Path | None = None
    """PEM file of the authorities that are trusted; None: those of the system."""


def open_channel(address: str, tls: Tls | None = None) -> grpc.aio.Channel:
    """Opens a channel. To be called on the event loop that will use it.

    Args:
        address: `host:port`, or any gRPC target such as `dns:///chat:50051`.
        tls: How it is encrypted; None: it is not.

    Raises:
        OSError: The file of `tls` cannot be read.
    """
    if tls is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    roots = _system_roots() if tls.ca_file is None else tls.ca_file.read_bytes()
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(roots), options=_OPTIONS)


def stays_on_this_machine(address: str) -> bool:
    """Tells whether what goes to an address cannot be read on any network."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition("/")[2].rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _system_roots() -> bytes | None:
    # gRPC would trust the list that it brings along, and know nothing of a company's own authority.
    file = cast("str | None", ssl.get_default_verify_paths().cafile)
    if file is not None:
        return Path(file).read_bytes()
    known = ssl.create_default_context().get_ca_certs(binary_form=True)
    return "".join(map(ssl.DER_cert_to_PEM_cert, known)).encode() or None
