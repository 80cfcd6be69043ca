"""What all three services share: server, channel, deadlines, errors, settings, logging, and the protocol's rules.

Knows gRPC and what the protos say of a well-formed request; holds no model, message or conversation.
"""

import os

# The gateway pins each conversation to one inference replica by hashing a request header (see `channel`).
# gRPC reads this when it is first imported, so it is set before any module of ours imports it.
os.environ.setdefault("GRPC_EXPERIMENTAL_RING_HASH_SET_REQUEST_HASH_KEY", "true")
