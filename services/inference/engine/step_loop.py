"""Runs sequences step by step, on one thread: `schedule → run → choose → deliver`."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING

import structlog

from services.inference.engine.compiled_draw import CompiledDraw
from services.inference.engine.drafts import DraftCheck, Drafts
from services.inference.engine.drawing import draw
from services.inference.engine.mailbox import Post
from services.inference.engine.prefill_budget import PrefillBudget
from services.inference.engine.protocol import EngineDied, FinishReason, Load, SchemaRefused, Started, TokenLogprob
from services.inference.engine.sampling import Choice, Sampler, choose_all
from services.inference.engine.scheduler import Scheduler
from services.inference.engine.throughput import Throughput
from services.rpc.log import where

if TYPE_CHECKING:
    import torch

    from services.inference.engine.drawing import Draw
    from services.inference.engine.runner import Runner
    from services.inference.engine.runner_choice import Limits
    from services.inference.engine.scheduler import Work
    from services.inference.engine.sequence import Sequence
    from services.inference.engine.vocabulary import Vocabulary

_log = structlog.get_logger()


class StepLoop:
    """Takes sequences from any thread, and works on as many at once as may run.

    Args:
        runner: What computes.
        limits: Of what is computed.
        vocabulary: The model's.
        end_tokens: Those that end a reply.
        max_running: Most sequences in the batch.
        draft_tokens: Most tokens that a step guesses.
    """

    def __init__(
        self,
        runner: Runner,
        limits: Limits,
        vocabulary: Vocabulary,
        end_tokens: frozenset[int],
        *,
        max_running: int,
        draft_tokens: int,
    ) -> None:
        self._runner = runner
        self._context_tokens = limits.context_tokens
        self._kv_capacity = limits.kv_cache_tokens
        self._vocabulary = vocabulary
        self._end_tokens = end_tokens
        self._budget = PrefillBudget(limits.step_prompt_tokens)
        self._scheduler = Scheduler(max_running, self._budget)
        self._drafts = Drafts(draft_tokens if runner.is_exact else 0, limits.context_tokens)
        self._draw: Draw = CompiledDraw() if runner.device.type == "cpu" else draw
        self._samplers: dict[int, Sampler] = {}
        self._post = Post()
        self._throughput = Throughput()
        self._step_seconds = 0.0
        self._busy = (0, 0, 0)
        # Between this thread and others:
        self._changed = threading.Condition()
        self._inbox: deque[Sequence] = deque()
        self._closing = False
        self._dead = False
        self.death: Future[None] = Future()
        """Done once a failure has ended the thread."""
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def add(self, sequence: Sequence) -> None:
        """Has a sequence taken up as soon as there is room.

        Raises:
            EngineDied: The thread has ended, or is about to.
        """
        with self._changed:
            if self._dead or self._closing:
                raise EngineDied
            self._inbox.append(sequence)
            self._changed.notify()

    def load(self) -> Load:
        """Returns how busy it is."""
        running, kv_tokens, waiting = self._busy
        queued = waiting + len(self._inbox)
        return Load(running, kv_tokens, self._kv_capacity, self._throughput.tokens_per_second(), queued)

    def close(self) -> None:
        """Ends the thread after the step it is at. Sequences that are left end with EngineDied."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    # What follows runs on the thread.

    def _work(self) -> None:
        try:
            while self._take_in():
                self._step()
        except BaseException as failure:
            _log.error("engine died", failure=where(failure))
            with self._changed:
                self._dead = True
            self.death.set_result(None)
        finally:
            self._lose_all()
            self._runner.shut_down()

    def _take_in(self) -> bool:
        """Waits for something to do; False where the engine is closed."""
        with self._changed:
            while not (self._closing or self._inbox or self._scheduler.all):
                self._changed.wait()
            if self._inbox:
                while self._inbox:
                    self._scheduler.add(self._inbox.popleft())
                self._note_load()
            return not self._closing

    def _lose_all(self) -> None:
        with self._changed:
            left = (*self._scheduler.all, *self._inbox)
            self._inbox.clear()
            self._busy = (0, 0, 0)
        for sequence in left:
            sequence.mailbox.fail(EngineDied())

    def _step(self) -> None:
        began = time.monotonic()
        self._end_overdue(began)
        self._scheduler.admit(self._start)
        # Before anyone is told that it runs.
        self._note_load()
        self._post.deliver()
        works = self._drafts.add_to(self._scheduler.schedule())
        logits = self._runner.run(works)
        for work in works:
            work.sequence.computed = work.end
        self._note_load()
        chosen = self._choose(works, logits)
        self._post.deliver()
        if works:
            self._step_seconds = time.monotonic() - began
            # What is guessed is computed as if further replies were under way.
            guessed = sum(len(work.draft) for work in works)
            replies = sum(work.begin >= len(work.sequence.request.prompt) for work in works)
            tokens = sum(work.end - work.begin for work in works)
            self._budget.note(replies + guessed, tokens - replies, self._step_seconds)
            self._throughput.note(chosen)

    def _choose(self, works: list[Work], logits: torch.Tensor) -> int:
        """Chooses the next token of each work that completes its sequence, and further ones while drafts prove right.

        Returns:
            How many it chose.
        """
        chosen = 0
        check = DraftCheck(works)
        while check.sequences:
            samplers = [self._samplers[sequence.number] for sequence in check.sequences]
            choices = choose_all(samplers, check.rows_of(logits), self._draw)
            for sequence, choice in zip(check.sequences, choices, strict=True):
                self._advance(sequence, choice)
            check.go_on([choice.token for choice in choices], lambda sequence: sequence.number in self._samplers)
            chosen += len(choices)
        return chosen

    def _end_overdue(self, now: float) -> None:
        for sequence in self._scheduler.all:
            deadline = sequence.request.deadline
            # What has run ends a step early, so that its last event still arrives in time.
            margin = self._step_seconds if sequence.computed > sequence.cached else 0.0
            if sequence.aborted:
                self._release(sequence)
            elif deadline is not None and now + margin >= deadline:
                self._finish(sequence, FinishReason.DEADLINE)

    def _start(self, sequence: Sequence) -> bool:
        cached = self._runner.open(sequence)
        if cached is None:
            return False
        sequence.take_up(cached)
        request = sequence.request
        self._samplers[sequence.number] = Sampler(request.sampling, request.prompt, sequence.matcher)
        self._post.put(sequence.mailbox, Started(sequence.cached, sequence.queue_seconds))
        return True

    def _advance(self, sequence: Sequence, choice: Choice) -> None:
        if sequence.has_lost_its_way:
            self._release(sequence)
            sequence.mailbox.fail(SchemaRefused("takes too much work to follow"))
            return
        sequence.append(choice.token)
        if choice.token in self._end_tokens:
            self._finish(sequence, FinishReason.EOS)
            return
        delta = sequence.reply.feed(choice.token, self._logprob(choice))
        if delta is not None:
            self._post.put(sequence.mailbox, delta)
        if sequence.reply.stop is not None:
            self._finish(sequence, FinishReason.STOP_STRING)
        elif sequence.is_whole:
            self._finish(sequence, FinishReason.EOS)
        elif len(sequence.tokens) >= self._context_tokens:
            self._finish(sequence, FinishReason.CONTEXT_FULL)
        elif sequence.generated >= sequence.request.sampling.max_tokens:
            self._finish(sequence, FinishReason.MAX_TOKENS)

    def _logprob(self, choice: Choice) -> TokenLogprob | None:
        if choice.logprob is None:
            return None
        bytes_of = self._vocabulary.bytes_of
        top = tuple(TokenLogprob(token, bytes_of(token), logprob) for token, logprob in choice.top)
        return TokenLogprob(choice.token, bytes_of(choice.token), choice.logprob, top)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        if sequence.number not in self._samplers:
            sequence.take_up(0)
            self._post.put(sequence.mailbox, Started(0, sequence.queue_seconds))
        held = sequence.reply.end() if reason is not FinishReason.STOP_STRING else None
        self._release(sequence)
        if held is not None:
            self._post.put(sequence.mailbox, held)
        self._post.put(sequence.mailbox, sequence.finished(reason))

    def _release(self, sequence: Sequence) -> None:
        self._scheduler.remove(sequence)
        self._samplers.pop(sequence.number, None)
        self._runner.close(sequence)
        self._note_load()

    def _note_load(self) -> None:
        running = self._scheduler.running
        kv_tokens = sum(sequence.computed for sequence in running)
        self._busy = (len(running), kv_tokens, self._scheduler.waiting)
