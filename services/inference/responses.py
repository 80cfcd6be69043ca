"""The engine's values to responses of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration

from chatbot.v1 import chat_message_pb2, inference_service_pb2
from services.inference.engine.protocol import Delta, Event, Finished, FinishReason, Started

if TYPE_CHECKING:
    from services.inference.engine.protocol import ModelInfo, SamplingParams, TokenLogprob

_FINISH_REASONS = {
    FinishReason.EOS: chat_message_pb2.FINISH_REASON_EOS,
    FinishReason.STOP_STRING: chat_message_pb2.FINISH_REASON_STOP_STRING,
    FinishReason.MAX_TOKENS: chat_message_pb2.FINISH_REASON_MAX_TOKENS,
    FinishReason.CONTEXT_FULL: chat_message_pb2.FINISH_REASON_CONTEXT_FULL,
    FinishReason.DEADLINE: chat_message_pb2.FINISH_REASON_DEADLINE,
}


def generate_response(
    event: Event, model: ModelInfo, prompt_tokens: int, sampling: SamplingParams
) -> inference_service_pb2.GenerateResponse:
    """Returns the response for one event of a reply."""
    response = inference_service_pb2.GenerateResponse
    if isinstance(event, Started):
        return response(
            started=response.Started(
                model=model.id,
                sampling=_sampling_config(sampling),
                prompt_tokens=prompt_tokens,
                cached_tokens=event.cached_tokens,
                queue_time=_duration(event.queue_seconds),
                context_tokens=model.context_tokens,
            )
        )
    if isinstance(event, Delta):
        return response(
            delta=response.Delta(
                text=event.text, token_count=event.token_count, logprobs=map(_token_logprob, event.logprobs)
            )
        )
    return response(finished=_finished(event))


def _finished(event: Finished) -> inference_service_pb2.GenerateResponse.Finished:
    return inference_service_pb2.GenerateResponse.Finished(
        finish_reason=_FINISH_REASONS[event.reason],
        usage=chat_message_pb2.Usage(
            prompt_tokens=event.prompt_tokens,
            cached_tokens=event.cached_tokens,
            completion_tokens=event.completion_tokens,
        ),
        timings=chat_message_pb2.GenerationTimings(
            queue_time=_duration(event.queue_seconds),
            prefill_time=_duration(event.prefill_seconds),
            decode_time=_duration(event.decode_seconds),
            tokens_per_second=event.tokens_per_second,
        ),
        stop=event.stop,
    )


def _token_logprob(token: TokenLogprob) -> inference_service_pb2.TokenLogprob:
    return inference_service_pb2.TokenLogprob(
        token_id=token.token_id, token=token.token, logprob=token.logprob, top=map(_token_logprob, token.top)
    )


def _sampling_config(sampling: SamplingParams) -> inference_service_pb2.SamplingConfig:
    return inference_service_pb2.SamplingConfig(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        frequency_penalty=sampling.frequency_penalty,
        presence_penalty=sampling.presence_penalty,
        seed=sampling.seed,
        max_tokens=sampling.max_tokens,
        stop=sampling.stop,
        logprobs=sampling.logprobs,
    )


def model_message(model: ModelInfo, max_tokens_limit: int) -> inference_service_pb2.Model:
    """Returns a model's description."""
    default = model.sampling
    return inference_service_pb2.Model(
        id=model.id,
        weights=model.weights,
        description=model.description,
        languages=model.languages,
        context_tokens=model.context_tokens,
        device=model.device,
        parameters=model.parameters,
        architecture=model.architecture,
        default_sampling=inference_service_pb2.SamplingConfig(
            temperature=default.temperature,
            top_p=default.top_p,
            top_k=default.top_k,
            min_p=default.min_p,
            repetition_penalty=default.repetition_penalty,
            frequency_penalty=default.frequency_penalty,
            presence_penalty=default.presence_penalty,
            max_tokens=min(max_tokens_limit, model.context_tokens),
        ),
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration
