"""Points in Qdrant's JSON form: read as serde reads them, checked as Qdrant checks them, and written back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as edge

from .collection import Collection
from .errors import bad_request, format_error, invalid, wrong_input
from .ids import json_id, parse_id
from .strict import check_upsert

NUMBERS = {int, float}
UPDATE_MODES = {
    "upsert": edge.UpdateMode.Upsert,
    "insert_only": edge.UpdateMode.InsertOnly,
    "update_only": edge.UpdateMode.UpdateOnly,
}


@dataclass(slots=True)
class NewPoint:
    """A point as it came over either protocol. `vector` is a list, a list of lists, or those and sparse ones by name."""

    id: int | UUID
    vector: Any
    payload: dict[str, Any] | None


def parse_points(body: dict[str, Any]) -> list[NewPoint]:
    """The points of an upsert, in the list form or the batch form."""
    if isinstance(body.get("points"), list):
        return [parse_point(each, f"points[{index}]") for index, each in enumerate(body["points"])]
    if isinstance(body.get("batch"), dict):
        return parse_batch(body["batch"])
    raise format_error("Invalid PointInsertOperations format")


def parse_point(given: Any, where: str) -> NewPoint:
    if not isinstance(given, dict):
        raise format_error("invalid type, expected struct PointStruct")
    for member in ("id", "vector"):
        if member not in given:
            raise format_error(f"missing field `{member}`")
    point_id = parse_id(given["id"])
    return NewPoint(point_id, parse_vectors(given["vector"], f"{where}.vector"), parse_payload(given.get("payload")))


def parse_batch(batch: dict[str, Any]) -> list[NewPoint]:
    for member in ("ids", "vectors"):
        if member not in batch:
            raise format_error(f"missing field `{member}`")
    ids = [parse_id(each) for each in batch["ids"]]
    vectors = batch["vectors"]
    count = len(ids)
    if isinstance(vectors, dict):
        lengths = {len(each) for each in vectors.values()}
        rows = [{name: each[at] for name, each in vectors.items()} for at in range(min(lengths, default=count))]
    else:
        lengths = {len(vectors)}
        rows = vectors
    payloads = batch.get("payloads")
    if lengths - {count}:
        raise invalid("batch", f"number of ids ({count}) and vectors ({min(lengths)}) must be equal")
    if payloads is not None and len(payloads) != count:
        raise invalid("batch", f"number of ids ({count}) and payloads ({len(payloads)}) must be equal")
    return [
        NewPoint(
            ids[at], parse_vectors(rows[at], f"batch.vectors[{at}]"), parse_payload(payloads[at] if payloads else None)
        )
        for at in range(count)
    ]


def parse_payload(given: Any) -> dict[str, Any] | None:
    if given is not None and not isinstance(given, dict):
        raise format_error("invalid type, expected a map")
    return given


def parse_vectors(given: Any, where: str) -> Any:
    """One unnamed vector, or vectors by name."""
    if isinstance(given, dict):
        return {name: parse_vector(each, where, "VectorStruct") for name, each in given.items()}
    return parse_vector(given, where, "VectorStruct")


def parse_vector(given: Any, where: str, enum: str) -> Any:
    if isinstance(given, list):
        if set(map(type, given)) <= NUMBERS:
            return given
        if all(type(row) is list and set(map(type, row)) <= NUMBERS for row in given):
            return given
    if isinstance(given, dict) and set(given) == {"indices", "values"}:
        indices, values = given["indices"], given["values"]
        kinds = set(map(type, indices)) <= {int} and set(map(type, values)) <= NUMBERS
        if kinds and all(0 <= index < 2**32 for index in indices):
            return sparse_vector(indices, values, where)
    raise format_error(f"data did not match any variant of untagged enum {enum}")


def sparse_vector(indices: list[int], values: list[float], where: str) -> edge.SparseVector:
    if len(indices) != len(values):
        raise invalid(f"{where}.?.values", "Validation error: must be the same length as indices [{}]")
    if len(set(indices)) != len(indices):
        raise invalid(f"{where}.?.indices", "Validation error: must be unique [{}]")
    return edge.SparseVector(indices, values)


def check_dimensions(collection: Collection, vector: Any) -> None:
    """Refuses wrong dimensions before the operation is taken; unknown names are left to the engine."""
    named = vector.items() if isinstance(vector, dict) else (("", vector),)
    for name, each in named:
        dimension = collection.dimensions.get(name)
        if dimension is None or isinstance(each, edge.SparseVector):
            continue
        rows = each if each and isinstance(each[0], list) else [each]
        for row in rows:
            if len(row) != dimension:
                raise wrong_input(f"Vector dimension error: expected dim: {dimension}, got {len(row)}")


def upsert(
    collection: Collection,
    points: list[NewPoint],
    wait: bool,
    condition: edge.Filter | None,
    mode: edge.UpdateMode | None,
) -> tuple[int, bool]:
    if not points:
        raise bad_request("Empty update request")
    check_upsert(collection, len(points))
    for point in points:
        check_dimensions(collection, point.vector)
    try:
        made = [edge.Point(point.id, point.vector, point.payload or {}) for point in points]
    except (OverflowError, TypeError, ValueError) as error:
        # NaN in a payload, which only gRPC can carry.
        raise wrong_input(str(error)) from None
    operation = edge.UpdateOperation.upsert_points(made, condition, mode)
    return collection.update(operation, wait, points=len(points))


def parse_mode(given: Any) -> edge.UpdateMode | None:
    if given is None:
        return None
    if given not in UPDATE_MODES:
        raise format_error(f"unknown variant `{given}`, expected one of `upsert`, `insert_only`, `update_only`")
    return UPDATE_MODES[given]


def json_vector(vector: Any) -> Any:
    if isinstance(vector, edge.SparseVector):
        return {"indices": vector.indices, "values": np.asarray(vector.values, dtype=np.float32)}
    return np.asarray(vector, dtype=np.float32)


def json_vectors(vectors: Any) -> Any:
    if isinstance(vectors, dict):
        return {name: json_vector(each) for name, each in vectors.items()}
    return json_vector(vectors)


def json_record(record: edge.Record | edge.ScoredPoint) -> dict[str, Any]:
    """A record as scroll and retrieve show it."""
    shown: dict[str, Any] = {"id": json_id(record.id)}
    add_data(shown, record)
    return shown


def json_scored(collection: Collection, point: edge.ScoredPoint) -> dict[str, Any]:
    """A record as a query shows it."""
    shown = {"id": json_id(point.id), "version": collection.version(point), "score": np.float32(point.score)}
    add_data(shown, point)
    return shown


def add_data(shown: dict[str, Any], record: edge.Record | edge.ScoredPoint) -> None:
    payload = record.payload
    if payload is not None:
        shown["payload"] = payload
    vector = record.vector
    if vector is not None:
        shown["vector"] = json_vectors(vector)
    if record.order_value is not None:
        shown["order_value"] = record.order_value
