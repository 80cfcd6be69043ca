"""The channel to the backend: retries, message sizes, keepalive."""

from __future__ import annotations

import json

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


def open_channel(address: str) -> grpc.aio.Channel:
    """Opens a channel. To be called on the event loop that will use it.

    Args:
        address: `host:port`, or any gRPC target such as `dns:///chat:50051`.
    """
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # A backend that comes back is found again soon, not after gRPC's two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 3_000),
        ],
    )
