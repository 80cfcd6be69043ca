"""Writes `docs/api.md` from the protos: every call, message, field and error, in their own words.

Run by `make docs`; a test fails where the page is not what this writes.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "gen")]

from services.rpc import errors  # noqa: E402 - the path above makes it importable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Proto = descriptor_pb2.FileDescriptorProto
Message = descriptor_pb2.DescriptorProto
Field = descriptor_pb2.FieldDescriptorProto
Enum = descriptor_pb2.EnumDescriptorProto

# The order a reader meets them in: the front door first.
FILES = ("chat_service", "memory_service", "inference_service", "chat_message")


class Comments:
    """The comments of one proto file, by the path of what they stand above."""

    def __init__(self, proto: Proto) -> None:
        self._by_path = {
            tuple(location.path): location.leading_comments.strip() for location in proto.source_code_info.location
        }

    def at(self, *path: int) -> str:
        """Returns the comment of one element, its lines joined, paragraphs kept."""
        paragraphs = self._by_path.get(path, "").split("\n\n")
        return "\n\n".join(" ".join(line.strip() for line in p.splitlines()) for p in paragraphs)


def page() -> str:
    """Returns the whole page."""
    lines = [
        "# API",
        "",
        "The protocol `chatbot.v1`, written from `protos/` by `make docs`. Clients speak to `ChatService`, the",
        "gateway; the other two are what it speaks to.",
        "",
        "## Errors",
        "",
        "A call that fails carries a `google.rpc.Status` (trailing metadata `grpc-status-details-bin`) with one",
        f'`ErrorInfo` of domain `"{errors.ERROR_DOMAIN}"`, a `BadRequest` where fields are wrong and a `RetryInfo`',
        "where trying again later makes sense.",
        "",
        "| reason | gRPC status | HTTP | meaning |",
        "|---|---|---|---|",
        *(
            f"| `{kind.reason}` | {kind.status.name} | {kind.http_status} | {(kind.__doc__ or '').splitlines()[0]} |"
            for kind in errors.error_types()
        ),
    ]
    protos = _descriptors()
    for name in FILES:
        proto = protos[name]
        comments = Comments(proto)
        for index, service in enumerate(proto.service):
            lines += _service(service, comments, index)
        lines += ["", f"## Messages of `{proto.name}`"]
        for index, message in enumerate(proto.message_type):
            lines += _message(message, comments, (4, index), message.name)
        for index, enum in enumerate(proto.enum_type):
            lines += _enum(enum, comments, (5, index), enum.name)
    return "\n".join(lines) + "\n"


def _descriptors() -> dict[str, Proto]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "descriptors"
        failed = protoc.main(
            [
                "protoc",
                f"-I{ROOT / 'protos'}",
                # The well-known types come with grpcio-tools.
                f"-I{Path(protoc.__file__).parent / '_proto'}",
                "--include_source_info",
                f"--descriptor_set_out={out}",
                *(f"chatbot/v1/{name}.proto" for name in FILES),
            ]
        )
        if failed:
            raise SystemExit("protoc failed")
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return {Path(proto.name).stem: proto for proto in files}


def _service(service: descriptor_pb2.ServiceDescriptorProto, comments: Comments, index: int) -> Iterator[str]:
    yield from ("", f"## {service.name}", "", comments.at(6, index))
    for number, method in enumerate(service.method):
        stream_in, stream_out = ("stream " if s else "" for s in (method.client_streaming, method.server_streaming))
        taken, given = (t.rsplit(".", 1)[-1] for t in (method.input_type, method.output_type))
        yield from ("", f"### {service.name}.{method.name}", "")
        yield f"`{method.name}({stream_in}{taken}) returns ({stream_out}{given})`"
        yield from ("", comments.at(6, index, 2, number))


def _message(message: Message, comments: Comments, path: Sequence[int], name: str) -> Iterator[str]:
    yield from ("", f"### {name}", "", comments.at(*path))
    if message.field:
        yield from ("", "| field | type | |", "|---|---|---|")
    for number, field in enumerate(message.field):
        text = comments.at(*path, 2, number).replace("\n\n", " ").replace("|", "\\|")
        yield f"| `{field.name}` | {_type(field, message)} | {text} |"
    for number, nested in enumerate(message.nested_type):
        yield from _message(nested, comments, (*path, 3, number), f"{name}.{nested.name}")
    for number, enum in enumerate(message.enum_type):
        yield from _enum(enum, comments, (*path, 4, number), f"{name}.{enum.name}")


def _enum(
    enum: descriptor_pb2.EnumDescriptorProto, comments: Comments, path: Sequence[int], name: str
) -> Iterator[str]:
    yield from ("", f"### {name}", "", comments.at(*path), "", "| value | number | |", "|---|---|---|")
    for number, value in enumerate(enum.value):
        yield f"| `{value.name}` | {value.number} | {comments.at(*path, 2, number)} |"


def _type(field: Field, message: Message) -> str:
    if field.type_name:
        name = field.type_name.removeprefix(".").removeprefix("chatbot.v1.")
    else:
        name = Field.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.label == Field.LABEL_REPEATED:
        return f"repeated {name}"
    if field.proto3_optional:
        return f"optional {name}"
    if field.HasField("oneof_index"):
        return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return name


if __name__ == "__main__":
    (ROOT / "docs" / "api.md").write_text(page(), encoding="utf-8")
