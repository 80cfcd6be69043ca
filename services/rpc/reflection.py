"""Server reflection in both of its versions.

Newer grpcurl, evans and Postman ask for `grpc.reflection.v1` first; grpcio-reflection serves `v1alpha` alone. The two
differ in the name of their package and in nothing else, so one servicer answers both
(https://github.com/grpc/grpc/blob/master/src/proto/grpc/reflection/v1/reflection.proto).
"""

from __future__ import annotations

import functools
from collections import deque
from typing import TYPE_CHECKING, cast

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable

    from services.rpc.interceptor import Context

SERVICE_NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def enable_reflection(service_names: Iterable[str], server: grpc.aio.Server) -> None:
    """Lets callers ask a server for its services, reflection included, and for their protos."""
    pool = _pool_with_v1()
    servicer = reflection.aio.ReflectionServicer((*service_names, *SERVICE_NAMES), pool=pool)

    async def answer(
        requests: AsyncIterable[ServerReflectionRequest], context: Context
    ) -> AsyncGenerator[ServerReflectionResponse, None]:
        asked: deque[ServerReflectionRequest] = deque()

        async def understood() -> AsyncGenerator[ServerReflectionRequest, None]:
            async for request in requests:
                asked.append(request)
                yield _by_service(request, pool)

        # It is an async generator, which its stub does not say.
        responses = cast(
            "AsyncIterable[ServerReflectionResponse]", servicer.ServerReflectionInfo(understood(), context)
        )
        async for response in responses:
            response.original_request.CopyFrom(asked.popleft())
            yield response

    handler = grpc.stream_stream_rpc_method_handler(
        answer,
        request_deserializer=ServerReflectionRequest.FromString,
        response_serializer=ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in SERVICE_NAMES)
    )


def _by_service(request: ServerReflectionRequest, pool: descriptor_pool.DescriptorPool) -> ServerReflectionRequest:
    """Returns a request for the file of a method as one for that of its service: the pool finds no file by a method."""
    try:
        method = pool.FindMethodByName(request.file_containing_symbol)
    except KeyError:
        return request
    return ServerReflectionRequest(host=request.host, file_containing_symbol=method.containing_service.full_name)


@functools.cache
def _pool_with_v1() -> descriptor_pool.DescriptorPool:
    """Returns the pool of all protos of this process, with v1's own in it: a caller may ask for that too."""
    alpha = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    v1 = text_format.Parse(
        text_format.MessageToString(alpha).replace("v1alpha", "v1"), descriptor_pb2.FileDescriptorProto()
    )
    v1.name = "grpc/reflection/v1/reflection.proto"
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(v1.SerializeToString())
    return pool
