"""The inference service's life: its door opens at once, its model is loaded meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING

import structlog

from chatbot.v1 import inference_service_pb2, inference_service_pb2_grpc
from services.inference.admission import Admission
from services.inference.engine.protocol import Reachable
from services.inference.progress import Progress
from services.inference.servicer import InferenceServicer
from services.inference.settings import is_address
from services.rpc.settings import variable_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import grpc

    from services.inference.engine.protocol import Engine
    from services.inference.settings import InferenceSettings

    LoadEngine = Callable[[InferenceSettings, Progress], Engine]

_log = structlog.get_logger()

_PROGRESS_SECONDS = 1.0


def _load_engine(settings: InferenceSettings, progress: Progress) -> Engine:
    if is_address(settings.model):
        from services.inference.engine.remote import load_remote_engine  # noqa: PLC0415 - only where it is asked for

        return load_remote_engine(settings, progress)
    # Imported on the loading thread, while health is answered already, and torch, which takes seconds, only once
    # there is a model for it.
    from services.inference.engine.model_source import locate  # noqa: PLC0415 - see above

    folder = locate(settings.model, settings.data_dir, progress)
    progress.begin("starting torch")
    from services.inference.engine.native import load_native_engine  # noqa: PLC0415 - see above

    return load_native_engine(settings, folder, progress)


class InferenceService:
    """The service as `services.rpc.server.run` keeps it alive.

    Args:
        settings: What it was told.
        load_engine: Makes the engine, on a thread of its own; raises StartupError where it cannot.
    """

    full_names = (inference_service_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name,)
    port_variable = variable_name("inference_grpc_port")
    metrics_port_variable = variable_name("inference_metrics_port")

    def __init__(self, settings: InferenceSettings, load_engine: LoadEngine = _load_engine) -> None:
        self.port = settings.inference_grpc_port
        self.metrics_port = settings.inference_metrics_port
        self._settings = settings
        self._load_engine = load_engine
        self._servicer = InferenceServicer(
            Admission(
                settings.max_running_requests, settings.max_queued_requests, settings.max_queued_requests_per_caller
            ),
            settings.max_tokens_limit,
        )

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer, which answers MODEL_LOADING until `start` has returned."""
        inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(self._servicer, server)

    async def start(self) -> None:
        """Loads the model, telling the log once a second how far it is.

        Raises:
            StartupError: It cannot be loaded; the message says what to do.
        """
        progress = Progress()
        loading = asyncio.ensure_future(self._load(progress))
        try:
            while not (await asyncio.wait({loading}, timeout=_PROGRESS_SECONDS))[0]:
                _log.info("loading", step=progress.describe())
        finally:
            loading.cancel()
        self._servicer.engine = engine = loading.result()
        model = engine.model
        _log.info(
            "model loaded", model=model.id, weights=model.weights, device=model.device, context=model.context_tokens
        )

    async def stop(self) -> None:
        """Stops the engine and gives its memory back."""
        if self._servicer.engine is not None:
            await self._servicer.engine.close()

    async def lost(self) -> str:
        """Returns, once the engine has died, what to tell whoever started the service."""
        if self._servicer.engine is None:
            raise RuntimeError("start has not returned")
        await self._servicer.engine.died()
        return "the engine died; the log says where"

    async def availability(self) -> AsyncGenerator[bool, None]:
        """Yields whether the model can be reached, each time that changes."""
        engine: object = self._servicer.engine
        if isinstance(engine, Reachable):
            async with aclosing(engine.changes()) as changes:
                async for reachable in changes:
                    yield reachable

    async def _load(self, progress: Progress) -> Engine:
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[Engine] = loop.create_future()

        def settle(engine: Engine | None, failure: BaseException | None) -> None:
            if loaded.cancelled():
                return
            if engine is not None:
                loaded.set_result(engine)
            elif failure is not None:
                loaded.set_exception(failure)

        def work() -> None:
            try:
                engine = self._load_engine(self._settings, progress)
            except BaseException as failure:
                loop.call_soon_threadsafe(settle, None, failure)
            else:
                loop.call_soon_threadsafe(settle, engine, None)

        # Not the loop's executor: a stop that is asked for in the middle of a download does not wait for its end.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(work,), name="loading", daemon=True).start()
        return await loaded
