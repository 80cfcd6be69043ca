"""Channels to other services."""

from __future__ import annotations

import json
from typing import Any

import grpc

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Largest message either way. A page of 1000 messages fits; so does a text that is refused as too long."""

PIN_HEADER = "x-conversation"
"""Request header that `pin_by_header` hashes."""

CALLER_HEADER = "x-caller"
"""Request header of `Generate`: an opaque name of whoever a reply is for. Callers take turns where places are few."""

_RETRY_POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


def open_channel(address: str, *, pin_by_header: bool = False) -> grpc.aio.Channel:
    """Opens a channel. To be called on the event loop that will use it.

    A call that fails with UNAVAILABLE before its first message is tried again, up to four times in all: every
    write of ours carries a `request_id`, so repeating is safe.

    Args:
        address: `host:port`, or any gRPC target such as `dns:///inference:50053`.
        pin_by_header: Sends all calls with the same `PIN_HEADER` to the same replica, by a hash ring; only those
            of a lost replica move.
    """
    service_config: dict[str, Any] = {"methodConfig": [{"name": [{}], "retryPolicy": _RETRY_POLICY}]}
    if pin_by_header:
        service_config["loadBalancingConfig"] = [{"ring_hash_experimental": {"requestHashHeader": PIN_HEADER}}]
    else:
        service_config["loadBalancingConfig"] = [{"round_robin": {}}]
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.service_config", json.dumps(service_config)),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # A replica that comes back is found again soon, not after gRPC's two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 3_000),
            # This one is how long an attempt may take: a replica that is busy or far away is given time.
            ("grpc.min_reconnect_backoff_ms", 5_000),
        ],
    )
