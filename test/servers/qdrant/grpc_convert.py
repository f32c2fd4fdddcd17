"""gRPC messages to the JSON forms that the rest of the front reads, and the engine's answers to messages."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import grpc as rpc
import qdrant_edge as edge
from google.protobuf.json_format import MessageToDict
from qdrant_client.grpc import json_with_int_pb2 as json_pb
from qdrant_client.grpc import points_pb2 as pb
from qdrant_client.grpc import qdrant_common_pb2 as common

from .errors import QdrantError
from .ids import UUID_FORMS
from .points import NewPoint

I64 = 2**63


def refused(text: str) -> QdrantError:
    return QdrantError(400, rpc.StatusCode.INVALID_ARGUMENT, text)


# Ids and values


def read_id(message: common.PointId) -> int | UUID:
    match message.WhichOneof("point_id_options"):
        case "num":
            return message.num
        case "uuid":
            if UUID_FORMS.fullmatch(message.uuid):
                return UUID(message.uuid)
            raise refused(f"Unable to parse UUID: {message.uuid}")
    raise refused("No ID options provided")


def write_id(point_id: int | UUID) -> common.PointId:
    if isinstance(point_id, int):
        return common.PointId(num=point_id)
    return common.PointId(uuid=str(point_id))


def read_value(value: json_pb.Value) -> Any:
    match value.WhichOneof("kind"):
        case "integer_value":
            return value.integer_value
        case "double_value":
            return value.double_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return {key: read_value(each) for key, each in value.struct_value.fields.items()}
        case "list_value":
            return [read_value(each) for each in value.list_value.values]
    return None


def write_value(into: json_pb.Value, value: Any) -> None:
    """Integers above i64 become doubles, as in the real server: the message has no unsigned integer."""
    if value is None:
        into.null_value = json_pb.NULL_VALUE
    elif isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, int):
        if -I64 <= value < I64:
            into.integer_value = value
        else:
            into.double_value = float(value)
    elif isinstance(value, float):
        into.double_value = value
    elif isinstance(value, str):
        into.string_value = value
    elif isinstance(value, dict):
        into.struct_value.SetInParent()
        for key, each in value.items():
            write_value(into.struct_value.fields[key], each)
    else:
        into.list_value.SetInParent()
        for each in value:
            write_value(into.list_value.values.add(), each)


# Vectors


def read_vector(vector: pb.Vector, named: bool) -> Any:
    match vector.WhichOneof("vector"):
        case "dense":
            return list(vector.dense.data)
        case "sparse":
            return read_sparse(vector.sparse.indices, vector.sparse.values, named)
        case "multi_dense":
            return [list(row.data) for row in vector.multi_dense.vectors]
        case None:
            # The old form: floats with indices beside them, or how many vectors they are.
            if vector.HasField("indices"):
                return read_sparse(vector.indices.data, vector.data, named)
            if vector.HasField("vectors_count"):
                return split(list(vector.data), vector.vectors_count)
            return list(vector.data)
    raise refused("this test server embeds nothing: send vectors, not documents, images or objects")


def read_sparse(indices: Any, values: Any, named: bool) -> edge.SparseVector:
    if not named:
        raise refused("Sparse vector must be named")
    if len(indices) != len(values):
        raise refused("Validation error: values must be the same length as indices")
    if len(set(indices)) != len(indices):
        raise refused("Validation error: indices must be unique")
    return edge.SparseVector(list(indices), list(values))


def split(data: list[float], count: int) -> list[list[float]]:
    if count == 0 or not data or len(data) % count:
        raise refused(f"Unable to convert to multi-dense vector: {len(data)} floats are not {count} vectors")
    size = len(data) // count
    return [data[at : at + size] for at in range(0, len(data), size)]


def read_vectors(vectors: pb.Vectors) -> Any:
    match vectors.WhichOneof("vectors_options"):
        case "vector":
            return read_vector(vectors.vector, named=False)
        case "vectors":
            return {name: read_vector(each, named=True) for name, each in vectors.vectors.vectors.items()}
    raise refused("No Vector Provided")


def read_point(point: pb.PointStruct) -> NewPoint:
    if not point.HasField("id"):
        raise refused("Empty ID is not allowed")
    payload = {key: read_value(each) for key, each in point.payload.items()}
    if not point.HasField("vectors"):
        raise refused("Expected some vectors")
    return NewPoint(read_id(point.id), read_vectors(point.vectors), payload)


def write_vector(into: pb.VectorOutput, vector: Any) -> None:
    if isinstance(vector, edge.SparseVector):
        into.sparse.indices.extend(vector.indices)
        into.sparse.values.extend(vector.values)
    elif vector and isinstance(vector[0], list):
        for row in vector:
            into.multi_dense.vectors.add().data.extend(row)
    else:
        into.dense.data.extend(vector)


def write_record(into: pb.RetrievedPoint | pb.ScoredPoint, record: edge.Record | edge.ScoredPoint) -> None:
    into.id.CopyFrom(write_id(record.id))
    payload = record.payload
    if payload is not None:
        for key, value in payload.items():
            write_value(into.payload[key], value)
    vector = record.vector
    if isinstance(vector, dict):
        into.vectors.vectors.SetInParent()
        for name, each in vector.items():
            write_vector(into.vectors.vectors.vectors[name], each)
    elif vector is not None:
        write_vector(into.vectors.vector, vector)
    order = record.order_value
    if isinstance(order, int):
        into.order_value.int = order
    elif order is not None:
        into.order_value.float = order


# Filters and selectors, in their JSON forms


def filter_json(message: Any) -> dict[str, Any] | None:
    """The JSON form of the optional `filter` or `update_filter`."""
    if message is None:
        return None
    made: dict[str, Any] = {}
    for clause in ("must", "should", "must_not"):
        conditions = getattr(message, clause)
        if conditions:
            made[clause] = [condition_json(each) for each in conditions]
    if message.HasField("min_should"):
        conditions = [condition_json(each) for each in message.min_should.conditions]
        made["min_should"] = {"conditions": conditions, "min_count": message.min_should.min_count}
    return made


def condition_json(message: common.Condition) -> dict[str, Any]:
    kind = message.WhichOneof("condition_one_of")
    match kind:
        case "field":
            return field_json(message.field)
        case "has_id":
            ids = [read_id(each) for each in message.has_id.has_id]
            return {"has_id": [each if isinstance(each, int) else str(each) for each in ids]}
        case "has_vector":
            return {"has_vector": message.has_vector.has_vector}
        case "is_empty" | "is_null":
            return {kind: {"key": getattr(message, kind).key}}
        case "nested":
            return {"nested": {"key": message.nested.key, "filter": filter_json(message.nested.filter)}}
        case "filter":
            return filter_json(message.filter) or {}
    raise refused("Malformed Condition type")


def field_json(field: common.FieldCondition) -> dict[str, Any]:
    made: dict[str, Any] = {"key": field.key}
    if field.HasField("match"):
        kind = field.match.WhichOneof("match_value")
        if kind is None:
            raise refused("Malformed Match condition")
        value = getattr(field.match, kind)
        match kind:
            case "keyword" | "integer" | "boolean":
                made["match"] = {"value": value}
            case "keywords":
                made["match"] = {"any": list(value.strings)}
            case "integers":
                made["match"] = {"any": list(value.integers)}
            case "except_keywords":
                made["match"] = {"except": list(value.strings)}
            case "except_integers":
                made["match"] = {"except": list(value.integers)}
            case _:
                made["match"] = {kind: value}
    if field.HasField("range"):
        made["range"] = {each.name: value for each, value in field.range.ListFields()}
    if field.HasField("datetime_range"):
        made["range"] = {each.name: value.ToJsonString() for each, value in field.datetime_range.ListFields()}
    if field.HasField("values_count"):
        made["values_count"] = {each.name: value for each, value in field.values_count.ListFields()}
    for name in ("is_empty", "is_null"):
        if field.HasField(name):
            made[name] = getattr(field, name)
    for name in ("geo_radius", "geo_bounding_box"):
        if field.HasField(name):
            made[name] = MessageToDict(getattr(field, name), preserving_proto_field_name=True)
    return made


def payload_json(message: pb.WithPayloadSelector) -> Any:
    match message.WhichOneof("selector_options"):
        case "enable":
            return message.enable
        case "include":
            return {"include": list(message.include.fields)}
        case "exclude":
            return {"exclude": list(message.exclude.fields)}
    return None


def vectors_json(message: pb.WithVectorsSelector) -> Any:
    match message.WhichOneof("selector_options"):
        case "enable":
            return message.enable
        case "include":
            return list(message.include.names)
    return None
