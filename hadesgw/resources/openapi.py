"""The OpenAPI 3.1 document of the calls to coding sessions, made of the table by which requests are routed."""

from __future__ import annotations

import re
from typing import Any

from msgspec import json
from msgspec.structs import fields

from hadesgw import __version__
from hadesgw.resources.codex_answers import Failed
from hadesgw.resources.codex_calls import CALLS, Call
from hadesgw.sessions.incoming import Input, Steer

_REF = "#/components/schemas/{name}"
_PLACE = re.compile(r"\{([a-z_]+)\}")
_PLACES = {
    "session_id": "A session's id, or `default` for the client's default session.",
    "approval_id": "The id of a request for approval.",
}
_SHARED_FAULTS = {
    "400": "The request is not well formed.",
    "401": "No credential, or none that is good.",
    "403": "The client may not do this, or the page's origin is not listed.",
    "404": "The client has no such session, workspace, engine, turn or file.",
    "409": "The session, its workspace or its repository is in no state for this.",
    "413": "The body is larger than allowed.",
    "414": "The address is too long; that is said before its path is known, so in the form of OpenAI's errors.",
    "415": "The body is not JSON, or does not say so.",
    "429": "More than the client's share; `Retry-After` says when to ask again.",
    "503": "No engine is ready, or the gateway is going away; `Retry-After` says when to ask again.",
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "What has been received with this key is answered as it was, and not done a second time.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}
_WITH_TEXT = (Input.__name__, Steer.__name__)
"""Bodies whose text a client needs, though not to be read: without one the session refuses, in the guide's words."""
_ALWAYS = ("400", "401", "403", "414", "429", "503")
_OF_BODIES = ("413", "415")
Json = dict[str, Any]


def document(path: str) -> Json:
    """The document.

    :param path: where the calls are mounted.
    """
    paths: dict[str, Json] = {}
    for call in CALLS:
        paths.setdefault(f"{path}/{call.path}", {})[call.method.decode("ascii").lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hadesgw coding sessions",
            "version": __version__,
            "description": "Coding agents behind the gateway, by plain HTTP. A WebSocket is at /ws/codex.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{"bearer": []}, {"basic": []}],  # x-api-key would do as well, in place of them
    }


def _schemas() -> Json:
    bodies = [call.body for call in CALLS if call.body is not None]
    answers = [call.answer for call in CALLS if call.answer is not None]
    _, components = json.schema_components([Failed, *bodies, *answers], ref_template=_REF)
    for name in _WITH_TEXT:
        components[name]["properties"]["text"] = {"type": "string", "pattern": r"\S"}
        components[name]["required"] = ["text"]
    return components


def _schema(kind: type) -> Json:
    (schema,), _ = json.schema_components([kind], ref_template=_REF)
    return schema


def _operation(call: Call) -> Json:
    operation: Json = {
        "operationId": call.act.__name__,
        "summary": call.summary,
        "parameters": [*_places(call), *_queries(call), *([_KEY] if call.keyed else [])],
        "responses": {"200": _answer(call), **{status: _fault(status) for status in _statuses(call)}},
    }
    if call.body is not None:
        schema = _schema(call.body)
        required = call.body.__name__ in _WITH_TEXT or any(field.required for field in fields(call.body))
        operation["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
    return operation


def _places(call: Call) -> list[Json]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PLACES[name],
            "schema": {"type": "string", "minLength": 1},
        }
        for name in _PLACE.findall(call.path)
    ]


def _queries(call: Call) -> list[Json]:
    properties = json.schema_components([call.query])[1][call.query.__name__]
    parameters = []
    for name, schema in properties["properties"].items():
        schema = {key: value for key, value in schema.items() if key not in ("description", "default")}
        kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": name in properties.get("required", ()),
                "description": properties["properties"][name].get("description", ""),
                "schema": kinds[0] if kinds else schema,
            }
        )
    return parameters


def _statuses(call: Call) -> list[str]:
    own = [str(status) for status in call.faults]
    return sorted({*_ALWAYS, *own, *(_OF_BODIES if call.body is not None else ())})


def _answer(call: Call) -> Json:
    if call.answer is None:
        return {
            "description": "Messages as they are told, one an event.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    return {"description": "Done.", "content": {"application/json": {"schema": _schema(call.answer)}}}


def _fault(status: str) -> Json:
    if status == "414":
        return {"description": _SHARED_FAULTS[status]}
    return {
        "description": _SHARED_FAULTS[status],
        "content": {"application/json": {"schema": {"$ref": _REF.format(name=Failed.__name__)}}},
    }
