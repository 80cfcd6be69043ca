"""Keeps replies to the form they must have, by what their matchers allow next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.inference.engine.grammar import Matcher


def forbid_others(logits: torch.Tensor, formed: Sequence[tuple[int, Matcher]]) -> None:
    """Sets to minus infinity, in place, the logits of what a matcher does not allow.

    Rows whose matcher fails are left as they are.

    Args:
        logits: Shape `(replies, vocabulary)`.
        formed: Rows and the matcher of each.
    """
    masks = bytearray()
    rows = []
    for row, matcher in formed:
        mask = matcher.allowed()
        if not matcher.failed:
            masks += mask
            rows.append(row)
    if not rows:
        return
    packed = torch.frombuffer(masks, dtype=torch.uint8).view(len(rows), -1).to(logits.device)
    bits = packed.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8, device=logits.device) & 1
    allowed = bits.flatten(1)[:, : logits.shape[-1]].bool()
    # A model's last layer may be wider than its vocabulary.
    allowed = torch.nn.functional.pad(allowed, (0, logits.shape[-1] - allowed.shape[-1]))
    index = torch.tensor(rows, device=logits.device)
    logits[index] = logits[index].masked_fill_(~allowed, -torch.inf)
