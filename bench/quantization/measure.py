"""The program that measures one form of weights, in a process of its own.

`python -m bench.quantization.measure QUESTION`: a `Question` as JSON; prints one line of JSON, an `Answer`.
"""

from __future__ import annotations

import asyncio
import json
import math
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from services.inference.engine.block_model import BlockModel
from services.inference.engine.decoder import Decoder
from services.inference.engine.loader import load_model
from services.inference.engine.mailbox import Mailbox
from services.inference.engine.model_source import ModelFolder
from services.inference.engine.protocol import EngineRequest, SamplingParams
from services.inference.engine.runner_choice import make_runner
from services.inference.engine.scheduler import Work
from services.inference.engine.sequence import Sequence
from services.inference.progress import Progress
from services.inference.settings import InferenceSettings

if TYPE_CHECKING:
    from services.inference.engine.loader import LoadedModel
    from services.inference.engine.runner import Runner

_CONTEXT = 2048
_PROMPT = 32
"""Tokens of the text that replies are generated after."""


@dataclass(frozen=True, slots=True)
class Question:
    """What to measure."""

    folder: str
    weights: str
    threshold: float
    threads: int
    text: str
    """Path of a text."""
    tokens: int
    """How many of its tokens quality is measured over; 0: speed is measured instead."""
    reference: str
    """Path of the reference's logits; written where there is no such file."""
    streams: tuple[int, ...]
    reply: int
    """Tokens of each reply."""


@dataclass(slots=True)
class Answer:
    """What was measured."""

    load_seconds: float = 0.0
    held_bytes: int = 0
    """Of all weights."""
    read_bytes: int = 0
    """Of those that one decode step reads."""
    peak_bytes: int = 0
    """Most memory that the process ever had resident."""
    tokens_per_second: dict[str, float] = field(default_factory=dict)
    """By the number of replies at once."""
    perplexity: float = 0.0
    divergence: float = 0.0
    """Mean Kullback-Leibler divergence of the next token's distribution from the reference's, in nats."""
    choices: tuple[int, ...] = ()
    """The most probable next token at each place."""


class _Replies:
    """Sequences that are computed a token at a time, as the engine does it."""

    def __init__(self, loaded: LoadedModel, runner: Runner, prompts: list[list[int]], most: int) -> None:
        sampling = SamplingParams(
            temperature=0.0,
            top_p=1.0,
            top_k=0,
            min_p=0.0,
            repetition_penalty=1.0,
            frequency_penalty=0.0,
            presence_penalty=0.0,
            seed=0,
            max_tokens=most,
        )
        vocabulary = loaded.tokenizer.vocabulary
        requests = [EngineRequest(tuple(prompt), sampling) for prompt in prompts]
        self._sequences = [Sequence(request, Mailbox(), vocabulary) for request in requests]
        self._runner = runner
        for sequence in self._sequences:
            if runner.open(sequence) is None:
                raise RuntimeError("there is no room for a sequence")

    def step(self) -> torch.Tensor:
        """Computes what there is of each, and returns the next token's logits, one row each."""
        works = [Work(sequence, sequence.computed, len(sequence.tokens)) for sequence in self._sequences]
        logits = self._runner.run(works)
        for sequence in self._sequences:
            sequence.computed = len(sequence.tokens)
        return logits

    def append(self, tokens: list[int]) -> None:
        """Adds a token to each."""
        for sequence, token in zip(self._sequences, tokens, strict=True):
            sequence.tokens.append(token)

    def close(self) -> None:
        """Gives their room back."""
        for sequence in self._sequences:
            self._runner.close(sequence)


async def _measure_in_loop(question: Question) -> Answer:
    # Nothing waits; a mailbox asks for a loop to be there.
    return measure(question)


def measure(question: Question) -> Answer:
    """Loads the model and measures it."""
    settings = InferenceSettings.model_validate(
        {
            "model": question.folder,
            "weights": question.weights,
            "bnb_int8_threshold": question.threshold,
            "threads": question.threads,
            "device": "cpu",
        }
    )
    folder = Path(question.folder)
    began = time.perf_counter()
    loaded = load_model(settings, ModelFolder(folder.name, folder), Progress())
    most = max(question.streams)
    runner, _ = make_runner(loaded, most, most * _CONTEXT, 0)
    held, read = _weights(loaded)
    answer = Answer(load_seconds=time.perf_counter() - began, held_bytes=held, read_bytes=read)
    text = Path(question.text).read_text(encoding="utf-8")
    tokens = list(loaded.tokenizer.encode_text(text))
    if question.tokens:
        _measure_quality(answer, loaded, runner, tokens[: question.tokens], Path(question.reference))
    else:
        for streams in question.streams:
            answer.tokens_per_second[str(streams)] = _speed(loaded, runner, tokens, streams, question.reply)
    runner.shut_down()
    answer.peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return answer


def _measure_quality(
    answer: Answer, loaded: LoadedModel, runner: Runner, tokens: list[int], reference_file: Path
) -> None:
    """Reads the text a token at a time, as a reply's tokens are computed."""
    places = len(tokens) - 1
    is_reference = not reference_file.exists()
    shape = (places, loaded.info.vocabulary_size)
    mode: Literal["w+", "r"] = "w+" if is_reference else "r"
    reference = np.memmap(reference_file, dtype=np.float32, mode=mode, shape=shape)
    replies = _Replies(loaded, runner, [tokens[:1]], len(tokens))
    surprise = divergence = 0.0
    choices = []
    for place in range(places):
        logits = replies.step()[0, : shape[1]].float()
        logs = logits.log_softmax(-1)
        if is_reference:
            reference[place] = logs.numpy()
        wanted = torch.from_numpy(np.array(reference[place]))
        divergence += float((wanted.exp() * (wanted - logs)).sum())
        surprise -= float(logs[tokens[place + 1]])
        choices.append(int(logs.argmax()))
        replies.append([tokens[place + 1]])
    replies.close()
    answer.perplexity = math.exp(surprise / places)
    answer.divergence = divergence / places
    answer.choices = tuple(choices)


def _speed(loaded: LoadedModel, runner: Runner, tokens: list[int], streams: int, reply: int) -> float:
    """Generates greedily, and returns tokens a second over all replies, prompts left out."""
    replies = _Replies(loaded, runner, [tokens[n : n + _PROMPT] for n in range(streams)], _CONTEXT - _PROMPT)
    # The first step reads the prompts, and the second pays for what later ones find done.
    for _ in range(2):
        replies.append(replies.step().argmax(-1).tolist())
    began = time.perf_counter()
    for _ in range(reply):
        replies.append(replies.step().argmax(-1).tolist())
    seconds = time.perf_counter() - began
    replies.close()
    return streams * reply / seconds


def _weights(loaded: LoadedModel) -> tuple[int, int]:
    """Returns the bytes of all weights that are held, and of those that a decode step reads but for the embedding."""
    model = loaded.model
    if not isinstance(model, (Decoder, BlockModel)):
        held = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        looked_up = 0 if model.config.tie_word_embeddings else model.get_parameter("model.embed_tokens.weight").nbytes
        return held, held - looked_up
    if isinstance(model, BlockModel):
        return model.weights.embedding.nbytes + model.blocks.bytes, model.blocks.bytes
    tied = model.vocabulary_size * model.config.hidden_size if model.config.tied_head else 0
    # A head that is the embedding is laid out once more for its product.
    held = (model.parameters + tied) * model.dtype.itemsize
    return held, held - model.vocabulary_size * model.config.hidden_size * model.dtype.itemsize


def main(question: str) -> None:
    """Measures and prints."""
    asked = json.loads(question)
    answer = asyncio.run(_measure_in_loop(Question(**{**asked, "streams": tuple(asked["streams"])})))
    sys.stdout.write(json.dumps(asdict(answer)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
