"""What all three services share: server, channel, deadlines, errors, settings and logging.

Knows gRPC; knows nothing of models, messages or conversations.
"""

import os

# The gateway pins each conversation to one inference replica by hashing a request header (see `channel`).
# gRPC reads this when it is first imported, so it is set before any module of ours imports it.
os.environ.setdefault("GRPC_EXPERIMENTAL_RING_HASH_SET_REQUEST_HASH_KEY", "true")
