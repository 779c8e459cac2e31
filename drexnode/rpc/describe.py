"""OpenRPC and OpenAPI documents, both made from the registry of methods alone.

Parameters bring their own JSON schema (drexnode/rpc/params.py), results theirs by their type
(drexnode/rpc/answers.py), so that a method is described where it is written and nowhere else.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from drexnode.rpc.registry import METHODS, Method, Param
from drexnode.rpc.rest_errors import REST_STATUSES

LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
REST_ROOT = "/v1"
ERROR_SCHEMA = {
    "type": "object",
    "description": "A refusal; data.code is stable (docs/rpc.md, Errors).",
    "required": ["code", "message", "data"],
    "properties": {
        "code": {"type": "integer", "description": "The number of JSON-RPC."},
        "message": {"type": "string"},
        "data": {
            "type": "object",
            "required": ["code"],
            "properties": {"code": {"type": "string"}},
        },
    },
}


def methods() -> list[Method]:
    """Every method, ascending by name."""
    return sorted(METHODS.values(), key=lambda entry: entry.name)


@cache
def answer_schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """(method name -> schema of its result, component name -> schema)."""
    names = [entry.name for entry in methods()]
    found, components = msgspec.json.schema_components(
        [METHODS[name].answer for name in names], ref_template="#/components/schemas/{name}"
    )
    return dict(zip(names, map(_as_sent, found), strict=True)), _as_sent(components)


def _as_sent(schema: Any) -> Any:
    """An amount is an integer to a client, and text on the wire: whatever has the pattern of one."""
    if isinstance(schema, list):
        return [_as_sent(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    sent = {key: _as_sent(value) for key, value in schema.items()}
    if sent.get("type") == "integer" and "pattern" in sent:
        sent["type"] = "string"
    return sent


@cache
def open_rpc(version: str) -> dict[str, Any]:
    """The OpenRPC document of all methods; the same object each time, not to be changed."""
    answers, components = answer_schemas()
    return {
        "openrpc": "1.3.2",
        "info": {"title": "drexnode", "version": version, "license": {"name": LICENSE["name"]}},
        "methods": [_rpc_method(entry, answers[entry.name]) for entry in methods()],
        "components": {"schemas": components},
    }


def _rpc_method(entry: Method, answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "summary": entry.summary,
        "paramStructure": "either",
        "params": [
            {"name": param.name, "required": param.required, "schema": _param_schema(param)}
            for param in entry.params
        ],
        "result": {"name": "result", "description": entry.result, "schema": answer},
        "x-admin": entry.admin,
        "x-example": list(entry.example),
    }


def _param_schema(param: Param) -> dict[str, Any]:
    if param.required or param.default is None:
        return param.kind.schema
    return {**param.kind.schema, "default": param.default}


def open_api(version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of every method that is served by REST."""
    answers, components = answer_schemas()
    paths: dict[str, dict[str, Any]] = {}
    for entry in methods():
        if entry.rest is not None:
            operation = _operation(entry, answers[entry.name])
            paths.setdefault(REST_ROOT + entry.rest.path, {})[entry.rest.verb.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "drexnode",
            "version": version,
            "license": LICENSE,
            "description": "The calls of the JSON-RPC as REST: the same parameters, answers and errors.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": ERROR_SCHEMA},
            "securitySchemes": {"admin": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(entry: Method, answer: dict[str, Any]) -> dict[str, Any]:
    assert entry.rest is not None
    operation: dict[str, Any] = {
        "operationId": entry.name,
        "summary": entry.summary,
        "tags": [entry.name.split("_")[0].split(".")[0]],
        "security": [{"admin": []}] if entry.admin else [{}],
        "responses": {
            "200": {
                "description": entry.result,
                "content": {"application/json": {"schema": _present(answer)}},
            },
            **_refusals(),
        },
    }
    in_path = [param for param in entry.params if f"{{{param.name}}}" in entry.rest.path]
    others = [param for param in entry.params if param not in in_path]
    in_body = entry.rest.verb in ("POST", "PUT")
    parameters = [
        {"name": param.name, "in": "path", "required": True, "schema": param.kind.text_schema}
        for param in in_path
    ]
    if others and in_body:
        operation["requestBody"] = _body(others)
    else:
        parameters += [
            {
                "name": param.name,
                "in": "query",
                "required": param.required,
                "schema": param.kind.text_schema,
            }
            for param in others
        ]
    if parameters:
        operation["parameters"] = parameters
    return operation


def _body(params: list[Param]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": [param.name for param in params if param.required],
        "properties": {param.name: _param_schema(param) for param in params},
    }
    required = any(param.required for param in params)
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _present(answer: dict[str, Any]) -> dict[str, Any]:
    """By REST what is not there is a 404, never null."""
    if "anyOf" not in answer:
        return answer
    left = [item for item in answer["anyOf"] if item != {"type": "null"}]
    return left[0] if len(left) == 1 else {**answer, "anyOf": left}


def _refusals() -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {
        str(status): {"description": what, "content": {"application/json": {"schema": schema}}}
        for status, what in sorted(REST_STATUSES.items())
    }
