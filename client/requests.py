"""What every request of the client is made with."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

from client.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator


def new_request_id() -> str:
    """Returns what a write is known by, so that repeating it does nothing more."""
    return str(uuid.uuid4())


@contextlib.contextmanager
def fitting() -> Iterator[None]:
    """Turns what protobuf says of a value that does not fit its field into an error of ours."""
    try:
        yield
    except UnicodeError:
        raise InvalidArgument("A text of the request is no valid Unicode.") from None
    except ValueError:
        raise InvalidArgument("A number of the request is out of its field's range.") from None
