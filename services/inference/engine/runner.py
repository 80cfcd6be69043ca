"""What the engine's loop asks of whatever computes its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from services.inference.engine.scheduler import Work
    from services.inference.engine.sequence import Sequence


class Runner(Protocol):
    """A model, and the keys and values of the sequences it works on. Used by the engine's thread only."""

    @property
    def device(self) -> torch.device:
        """Where logits are."""

    @property
    def is_exact(self) -> bool:
        """Whether a token's logits are the same, bit for bit, whatever else is computed in the same step.

        Only such a runner is given drafts.
        """

    def open(self, sequence: Sequence) -> int | None:
        """Makes room for all that a sequence may come to be.

        Returns:
            How many tokens of its prompt need not be computed again; None where there is no room now.
        """

    def close(self, sequence: Sequence) -> None:
        """Gives back what `open` took; without effect where it took nothing.

        The prefix stays reusable for the same cache key while the prefix cache has room for it.
        """

    def shut_down(self) -> None:
        """Gives back what was taken for all sequences together. Nothing can be run afterwards."""

    def run(self, works: list[Work]) -> torch.Tensor:
        """Computes a step.

        Returns:
            For each work that completes its sequence, in their order, the logits of the token after its last one, and
            then of the token after each of its draft: shape `(completed and drafted, vocabulary)`.
        """
