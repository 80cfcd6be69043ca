"""Draws a token for each of several replies: temperature, top-k, top-p, min-p, and one random number each.

Order: temperature, top-k, top-p (Holtzman et al. 2020, "nucleus sampling"), min-p (Nguyen et al. 2024). A row's
token hangs on nothing in the other rows: whatever is decided, is decided for each row by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.inference.engine.protocol import SamplingParams

_CANDIDATES = (128, 4096)
"""Among so many of the most probable tokens a nucleus is looked for before the whole vocabulary is sorted.

To sort a vocabulary takes milliseconds a row, and a nucleus is seldom larger than a few tokens.
"""

_STRIDE = 16
"""Tokens that are first stood for by their best one, where few are looked for among many."""

_BLOCK = 256
"""Probabilities that are first stood for by their sum, where a number is looked up among all of a vocabulary."""

_BELOW_ONE = 1 - 2**-52


@dataclass(frozen=True, slots=True)
class _Rows:
    """What applies to each of several rows, each value of shape `(rows, 1)` and in fp64."""

    top_k: torch.Tensor
    top_p: torch.Tensor
    min_p: torch.Tensor
    numbers: torch.Tensor

    def of(self, rows: torch.Tensor) -> _Rows:
        return _Rows(self.top_k[rows], self.top_p[rows], self.min_p[rows], self.numbers[rows])


class Draw(Protocol):
    """Draws tokens."""

    def __call__(
        self, logits: torch.Tensor, params: Sequence[SamplingParams], numbers: Sequence[float]
    ) -> torch.Tensor:
        """Returns a token for each row.

        Args:
            logits: fp32, shape `(rows, vocabulary)`; minus infinity for what must not be drawn. Not changed.
            params: How, one a row; no temperature is 0.
            numbers: One uniformly random in [0, 1) a row. The draw inverts the cumulative distribution, so that a
                seed's later tokens do not hang on how many candidates there were, and a last bit that differs moves the
                choice only where it lies on a border.

        Returns:
            int64, shape `(rows,)`, where the logits are.
        """


def draw(logits: torch.Tensor, params: Sequence[SamplingParams], numbers: Sequence[float]) -> torch.Tensor:
    """A `Draw` by torch, for any device: all rows at once."""
    columns = torch.tensor(
        [(p.temperature, p.top_k, p.top_p, p.min_p, n) for p, n in zip(params, numbers, strict=True)],
        dtype=torch.float64,
    ).to(logits.device)
    temperatures, top_k, top_p, min_p, number = columns.unsqueeze(-1).unbind(1)
    probabilities = torch.softmax(logits / temperatures.float(), dim=-1)
    rows = _Rows(top_k, top_p, min_p, number)
    filtered = [n for n, p in enumerate(params) if p.top_k or p.top_p < 1.0]
    if not filtered:
        return _from_all(probabilities, rows)
    if len(filtered) == len(params):
        return _from_the_best(probabilities, rows)
    drawn = torch.empty(len(params), dtype=torch.int64, device=logits.device)
    some = torch.tensor(filtered, device=logits.device)
    rest = torch.tensor(sorted(set(range(len(params))).difference(filtered)), device=logits.device)
    drawn[some] = _from_the_best(probabilities[some], rows.of(some))
    drawn[rest] = _from_all(probabilities[rest], rows.of(rest))
    return drawn


def _from_all(probabilities: torch.Tensor, rows: _Rows) -> torch.Tensor:
    """Draws from the whole vocabulary, less what min-p drops."""
    least = probabilities.amax(dim=-1, keepdim=True) * rows.min_p.float()
    kept = torch.where(probabilities >= least, probabilities, 0.0)
    short = -kept.shape[-1] % _BLOCK
    blocks = (torch.nn.functional.pad(kept, (0, short)) if short else kept).view(len(kept), -1, _BLOCK)
    cumulative = blocks.sum(dim=-1).cumsum(dim=-1, dtype=torch.float64)
    sought = rows.numbers * cumulative[:, -1:]
    block = _invert(cumulative, sought)
    before = torch.nn.functional.pad(cumulative, (1, 0)).gather(1, block)
    inside = blocks.gather(1, block.unsqueeze(-1).expand(-1, 1, _BLOCK)).squeeze(1).cumsum(dim=-1, dtype=torch.float64)
    return (block * _BLOCK + _invert(inside, sought - before)).squeeze(-1)


def _from_the_best(probabilities: torch.Tensor, rows: _Rows) -> torch.Tensor:
    """Draws from the most probable tokens, as many as top-k, top-p and min-p leave."""
    vocabulary = probabilities.shape[-1]
    drawn = torch.empty(len(probabilities), dtype=torch.int64, device=probabilities.device)
    left = torch.arange(len(probabilities), device=probabilities.device)
    for width in (w for w in _CANDIDATES if w < vocabulary):
        values, tokens = _most_probable(probabilities, width)
        here = rows.of(left)
        drawn[left] = tokens.gather(1, _pick(values, here)).squeeze(-1)
        # Sums are the last of cumulative ones here: those add alike for one row and for many.
        reached = values.cumsum(dim=-1, dtype=torch.float64)[:, -1:] > here.top_p
        enough = torch.where(here.top_k > 0, here.top_k <= width, reached)
        wanting = torch.nonzero(~enough.squeeze(-1)).squeeze(-1)
        if not len(wanting):
            return drawn
        probabilities, left = probabilities[wanting], left[wanting]
    values, tokens = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    drawn[left] = tokens.gather(1, _pick(values, rows.of(left))).squeeze(-1)
    return drawn


def _most_probable(probabilities: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the `width` largest of each row, largest first, and the tokens they belong to."""
    vocabulary = probabilities.shape[-1]
    groups = vocabulary // _STRIDE
    if vocabulary % _STRIDE or groups < _STRIDE * width:
        best = torch.topk(probabilities, width)
        return best.values, best.indices
    # The largest `width` lie in the `width` groups whose largest are largest.
    found = torch.topk(probabilities.view(-1, _STRIDE, groups).amax(dim=1), width, sorted=False).indices
    tokens = (torch.arange(_STRIDE, device=found.device).view(-1, 1) * groups + found.unsqueeze(1)).flatten(1)
    best = torch.topk(probabilities.gather(1, tokens), width)
    return best.values, tokens.gather(1, best.indices)


def _pick(values: torch.Tensor, rows: _Rows) -> torch.Tensor:
    """Filters candidates, whose probabilities fall along each row, and returns the place of one a row: `(rows, 1)`."""
    places = torch.arange(values.shape[-1], device=values.device)
    kept = values.double()
    kept = torch.where((rows.top_k == 0) | (places < rows.top_k), kept, 0.0)
    # top_p is a share of what top-k kept; without top-k, of all there is.
    cumulative = kept.cumsum(dim=-1)
    whole = torch.where(rows.top_k > 0, cumulative[:, -1:], 1.0)
    before = (cumulative - kept) / whole
    # A top_p below the rounding of the sum keeps the best all the same.
    kept = torch.where((before < rows.top_p) | (rows.top_p >= 1.0) | (places == 0), kept, 0.0)
    kept = torch.where(kept >= rows.min_p * kept[:, :1], kept, 0.0)
    cumulative = kept.cumsum(dim=-1)
    return _invert(cumulative, rows.numbers * cumulative[:, -1:])


def _invert(cumulative: torch.Tensor, sought: torch.Tensor) -> torch.Tensor:
    """Returns the first place of each row whose cumulative sum is over the number sought; never one that adds nothing.

    Both fp64, of shapes `(rows, places)` and `(rows, 1)`.
    """
    # Rounding may have brought a number up to the sum of all, or below nothing.
    sought = torch.minimum(sought.clamp(min=0.0), cumulative[:, -1:] * _BELOW_ONE)
    return torch.searchsorted(cumulative, sought, right=True)
