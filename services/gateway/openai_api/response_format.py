"""What form a reply must have."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from chatbot.v1.inference_service_pb2 import ResponseFormat
from services.gateway.openai_api.schema import RequestModel
from services.rpc.errors import invalid_field


class NamedSchema(RequestModel):
    """A JSON Schema. Replies always keep to it, whatever `strict` says."""

    name: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")


class FormatFields(RequestModel):
    """What form a reply must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    """With `json_object`: a schema as llama.cpp's server takes one. With the type `json_schema`: as the Responses API
    has it."""


class StructuredOutputs(RequestModel):
    """What form a reply must have, as vLLM's server takes it. Its other forms than a JSON Schema are refused."""

    json_: dict[str, Any] | None = Field(None, alias="json")
    json_object: bool | None = None
    regex: Any = None
    choice: Any = None
    grammar: Any = None
    structural_tag: Any = None

    @property
    def fields(self) -> FormatFields | None:
        """The same as OpenAI's clients ask for it; None for free text.

        Raises:
            InvalidArgument: It is a form that is not supported.
        """
        for name in ("regex", "choice", "grammar", "structural_tag"):
            if getattr(self, name) is not None:
                raise invalid_field(f"structured_outputs.{name}", "is not supported; json is, a JSON Schema")
        if self.json_ is None and not self.json_object:
            return None
        return FormatFields(type="json_object", schema=self.json_)


def response_format(fields: FormatFields | None, where: str = "response_format") -> ResponseFormat | None:
    """Returns what the inference service is asked for; None for free text.

    Raises:
        InvalidArgument: A schema is missing.
    """
    if fields is None or fields.type == "text":
        return None
    if fields.type == "json_object":
        schema = fields.schema_ if fields.schema_ is not None else {"type": "object"}
    else:
        named = fields.json_schema.schema_ if fields.json_schema is not None else fields.schema_
        if named is None:
            raise invalid_field(f"{where}.json_schema", "must have a schema")
        schema = named
    return ResponseFormat(json_schema=json.dumps(schema, ensure_ascii=False))
