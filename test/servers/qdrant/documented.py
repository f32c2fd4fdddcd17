"""Holds each REST request against Qdrant's documented API: path, method, query parameters and body.

The models and operations of qdrant-client are generated from Qdrant's OpenAPI, and forbid what it does not name. A real server passes over
a member or parameter that it does not know, so a request with one would seem to work in a test, and do less than it says.
"""

from __future__ import annotations

import inspect
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from .serde import dump

UNDOCUMENTED = "not in the documented API"
# A longer body's points are looked at by their members, and in full only those at its ends: the floats of a thousand take as long as the upsert.
MAX_WHOLE_BYTES = 128 * 1024
POINTS_AT_ENDS = 16
POINT_MEMBERS = {"id", "vector", "payload"}
GROUPS = (
    "aliases", "beta", "collections", "distributed", "indexes", "points", "search", "service", "snapshots",
)  # fmt: skip


@dataclass(slots=True)
class Operation:
    """One operation: the types of its query parameters and of its body, None where it has none."""

    parameters: dict[str, Any]
    body: Any
    takes_file: bool


class Documented:
    """The operations by method and path; loaded beside the start of the server, since the models take a quarter of a second."""

    def __init__(self) -> None:
        loader = ThreadPoolExecutor(1, thread_name_prefix="documented")
        self.loaded = loader.submit(load)
        loader.shutdown(wait=False)

    def problem(self, method: str, path: str, query: dict[str, str], text: bytes | None) -> str | None:
        """What of a request is not documented; None: nothing. `text` None is a body that was not read, as a file is not."""
        operation = self.loaded.result().get((method, shape(path)))
        if operation is None:
            return f"{method} {path} is {UNDOCUMENTED}"
        unknown = sorted(set(query) - set(operation.parameters))
        if unknown:
            return f"{method} {path}: the query parameter {', '.join(unknown)} is {UNDOCUMENTED}"
        for name, value in query.items():
            wrong = refusal(operation.parameters[name], value)
            if wrong is not None:
                return f"{method} {path}: the query parameter {name}={value} is {UNDOCUMENTED}: {wrong}"
        if text is None or operation.takes_file:
            return None
        if operation.body is None:
            return f"{method} {path}: a body is {UNDOCUMENTED}" if text else None
        wrong = refusal(operation.body, text)
        return None if wrong is None else f"{method} {path}: its body is {UNDOCUMENTED}: {wrong}"


def thinned(text: bytes, body: Any) -> bytes:
    """The body with the points of its ends alone, if it is long and every other point has the members of one."""
    points = body.get("points") if isinstance(body, dict) else None
    if len(text) <= MAX_WHOLE_BYTES or not isinstance(points, list) or len(points) <= 2 * POINTS_AT_ENDS:
        return text
    if any(not isinstance(each, dict) or not each.keys() <= POINT_MEMBERS for each in points):
        return text
    return dump({**body, "points": points[:POINTS_AT_ENDS] + points[-POINTS_AT_ENDS:]})


def shape(path: str) -> tuple[str, ...]:
    """`/collections/{name}/points` without the names, which differ from ours."""
    return tuple("{}" if part.startswith("{") else part for part in path.split("/"))


def refusal(kind: Any, value: str | bytes) -> str | None:
    """Why a query parameter (text) or a body (bytes) is not of that type; None: it is."""
    from pydantic import ValidationError

    try:
        if isinstance(value, bytes):
            # As serde: no text for a number, no 1 for true; a whole number is a float, too.
            adapter(kind).validate_json(value, strict=True)
        else:
            adapter(kind).validate_strings(value)
    except ValidationError as error:
        # A union is refused by each of its members: the deepest have come furthest.
        found = sorted(error.errors(include_url=False, include_context=False), key=lambda each: -len(each["loc"]))
        return "; ".join(f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in found[:3])
    return None


@cache
def adapter(kind: Any) -> Any:
    """Made on first use: a test speaks few of the operations."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def load() -> dict[tuple[str, tuple[str, ...]], Operation]:
    skip_http_client()
    allow_null_payloads()
    found: dict[tuple[str, tuple[str, ...]], Operation] = {}
    for group in GROUPS:
        module = import_module(f"qdrant_client.http.api.{group}_api")
        api = getattr(module, f"_{group.capitalize()}Api")(Recorder())
        for name, build in inspect.getmembers(api, inspect.ismethod):
            if not name.startswith("_build_for_"):
                continue
            given = inspect.signature(build).parameters
            made = build(**{each: each for each in given})
            parameters = made.get("params") or {}
            body = made.get("content")
            found[made["method"], shape(made["url"])] = Operation(
                {each: given[argument].annotation for each, argument in parameters.items()},
                None if body is None else given[body].annotation,
                bool(made.get("files")),
            )
    return found


def allow_null_payloads() -> None:
    """The OpenAPI has `"items": {"anyOf": [{"$ref": Payload}, {"nullable": true}]}`, of which the generated model lost the null."""
    from qdrant_client.http.models import models

    models.Batch.model_fields["payloads"].annotation = list[models.Payload | None] | None
    models.Batch.model_rebuild(force=True)


class Recorder:
    """Stands for the client's connection: gives back what a request is made of."""

    def request(self, **made: Any) -> dict[str, Any]:
        return made


def skip_http_client() -> None:
    """Lets the models load without the HTTP client around them, which would take twice as long as they do."""
    package = types.ModuleType("qdrant_client.http")
    package.__path__ = [f"{each}/http" for each in sys.modules["qdrant_client"].__path__]
    sys.modules.setdefault("qdrant_client.http", package)
