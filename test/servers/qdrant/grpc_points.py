"""The Points service: each method takes a request message and returns the answer message."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from qdrant_client.grpc import points_pb2 as pb

from . import points as p
from . import queries as q
from .collection import Collection
from .filters import parse_filter
from .grpc_convert import (
    filter_json,
    payload_json,
    read_id,
    read_point,
    read_sparse,
    read_value,
    read_vectors,
    refused,
    vectors_json,
    write_id,
    write_record,
)
from .operations import change_points, change_vectors, drop_index, make_index
from .payload_index import parse_schema
from .registry import Registry
from .strict import check_count, check_scroll

UPDATE_MODES = (edge.UpdateMode.Upsert, edge.UpdateMode.InsertOnly, edge.UpdateMode.UpdateOnly)
FIELD_TYPES = ("keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid")


def optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def updated(result: tuple[int, bool]) -> pb.PointsOperationResponse:
    number, completed = result
    status = pb.UpdateStatus.Completed if completed else pb.UpdateStatus.Acknowledged
    return pb.PointsOperationResponse(result=pb.UpdateResult(operation_id=number, status=status))


def plain(message: Any) -> dict[str, Any]:
    """The fields that are set, as JSON has them; enum values in lower case."""
    made: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.enum_type is not None:
            made[field.name] = field.enum_type.values_by_number[value].name.lower()
        elif field.message_type is not None and not field.is_repeated:
            made[field.name] = plain(value)
        elif not field.is_repeated:
            made[field.name] = value
    return made


class PointMethods:
    """The names are those of the protocol."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    # Updates

    def Upsert(self, request: pb.UpsertPoints) -> Any:
        points = [read_point(each) for each in request.points]
        condition = parse_filter(filter_json(optional(request, "update_filter")))
        mode = UPDATE_MODES[request.update_mode] if request.HasField("update_mode") else None
        return updated(p.upsert(self.registry.get(request.collection_name), points, request.wait, condition, mode))

    def change(self, request: Any, selector: pb.PointsSelector, kind: str, *arguments: Any) -> Any:
        """An update of the points that a selector names: by ids or by filter."""
        chosen: tuple[list[Any] | None, edge.Filter | None]
        kind_of = selector.WhichOneof("points_selector_one_of")
        if kind_of == "points":
            chosen = ([read_id(each) for each in selector.points.ids], None)
        elif kind_of == "filter":
            chosen = (None, parse_filter(filter_json(selector.filter)))
        else:
            raise refused("PointsSelector is missing")
        return updated(change_points(self.registry.get(request.collection_name), chosen, kind, arguments, request.wait))

    def Delete(self, request: pb.DeletePoints) -> Any:
        return self.change(request, request.points, "delete_points")

    def DeleteVectors(self, request: pb.DeletePointVectors) -> Any:
        return self.change(request, request.points_selector, "delete_vectors", list(request.vectors.names))

    def SetPayload(self, request: pb.SetPayloadPoints) -> Any:
        return self.set_payload(request, "set_payload")

    def OverwritePayload(self, request: pb.SetPayloadPoints) -> Any:
        return self.set_payload(request, "overwrite_payload")

    def set_payload(self, request: pb.SetPayloadPoints, kind: str) -> Any:
        payload = {key: read_value(each) for key, each in request.payload.items()}
        return self.change(request, request.points_selector, kind, payload, optional(request, "key"))

    def DeletePayload(self, request: pb.DeletePayloadPoints) -> Any:
        return self.change(request, request.points_selector, "delete_payload", list(request.keys))

    def ClearPayload(self, request: pb.ClearPayloadPoints) -> Any:
        return self.change(request, request.points, "clear_payload")

    def UpdateVectors(self, request: pb.UpdatePointVectors) -> Any:
        changes = [(read_id(each.id), read_vectors(each.vectors)) for each in request.points]
        return updated(change_vectors(self.registry.get(request.collection_name), changes, request.wait))

    def CreateFieldIndex(self, request: pb.CreateFieldIndexCollection) -> Any:
        kind: Any = FIELD_TYPES[request.field_type] if request.HasField("field_type") else None
        params = request.field_index_params
        chosen = params.WhichOneof("index_params") if request.HasField("field_index_params") else None
        if chosen is not None:
            kind = {"type": chosen.removesuffix("_index_params"), **plain(getattr(params, chosen))}
        schema, described = parse_schema(kind, b"")
        collection = self.registry.get(request.collection_name)
        return updated(make_index(collection, request.field_name, schema, described, request.wait))

    def DeleteFieldIndex(self, request: pb.DeleteFieldIndexCollection) -> Any:
        return updated(drop_index(self.registry.get(request.collection_name), request.field_name, request.wait))

    # Reads

    def Get(self, request: pb.GetPoints) -> Any:
        ids = [read_id(each) for each in request.ids]
        payload = q.with_payload(payload_json(request.with_payload), True)
        vectors = vectors_json(request.with_vectors) or False
        collection = self.registry.get(request.collection_name)
        answer = pb.GetResponse()
        for record in collection.read(lambda shard: shard.retrieve(ids, payload, vectors)):
            write_record(answer.result.add(), record)
        return answer

    def Scroll(self, request: pb.ScrollPoints) -> Any:
        body: dict[str, Any] = {
            "filter": filter_json(optional(request, "filter")),
            "limit": optional(request, "limit"),
            "with_payload": payload_json(request.with_payload),
            "with_vector": vectors_json(request.with_vectors),
        }
        if request.HasField("offset"):
            offset = read_id(request.offset)
            body["offset"] = offset if isinstance(offset, int) else str(offset)
        if request.HasField("order_by"):
            body["order_by"] = order_json(request.order_by)
        asked = q.scroll_request(body)
        check_scroll(self.registry.get(request.collection_name), body)
        records, after = self.registry.get(request.collection_name).read(lambda shard: shard.scroll(asked))
        answer = pb.ScrollResponse()
        for record in records:
            write_record(answer.result.add(), record)
        if after is not None:
            answer.next_page_offset.CopyFrom(write_id(after))
        return answer

    def Count(self, request: pb.CountPoints) -> Any:
        exact = request.exact if request.HasField("exact") else True
        check_count(self.registry.get(request.collection_name), exact)
        asked = edge.CountRequest(exact=exact, filter=parse_filter(filter_json(optional(request, "filter"))))
        count = self.registry.get(request.collection_name).read(lambda shard: shard.count(asked))
        return pb.CountResponse(result=pb.CountResult(count=count))

    def Query(self, request: pb.QueryPoints) -> Any:
        return pb.QueryResponse(result=self.scored(request.collection_name, query_json(request)))

    def QueryBatch(self, request: pb.QueryBatchPoints) -> Any:
        name = request.collection_name
        results = [pb.BatchResult(result=self.scored(name, query_json(each))) for each in request.query_points]
        return pb.QueryBatchResponse(result=results)

    def Search(self, request: pb.SearchPoints) -> Any:
        sparse = request.HasField("sparse_indices")
        vector = list(request.vector)
        body = {
            "query": read_sparse(request.sparse_indices.data, vector, True) if sparse else vector,
            "using": optional(request, "vector_name"),
            "limit": request.limit,
            **read_options(request),
        }
        return pb.SearchResponse(result=self.scored(request.collection_name, body))

    def scored(self, name: str, body: dict[str, Any]) -> list[pb.ScoredPoint]:
        collection: Collection = self.registry.get(name)
        asked = q.query_request(collection, body)
        made = []
        for point in collection.read(lambda shard: shard.query(asked)):
            message = pb.ScoredPoint(score=point.score, version=collection.version(point))
            write_record(message, point)
            made.append(message)
        return made


def order_json(order: pb.OrderBy) -> dict[str, Any]:
    made: dict[str, Any] = {"key": order.key}
    if order.HasField("direction"):
        made["direction"] = ("asc", "desc")[order.direction]
    if order.HasField("start_from"):
        kind = order.start_from.WhichOneof("value")
        if kind is None:
            raise refused("Malformed StartFrom")
        value = getattr(order.start_from, kind)
        made["start_from"] = value.ToJsonString() if kind == "timestamp" else value
    return made


def read_options(request: Any) -> dict[str, Any]:
    """What queries and searches have in common."""
    return {
        "filter": filter_json(optional(request, "filter")),
        "params": plain(request.params) if request.HasField("params") else None,
        "score_threshold": optional(request, "score_threshold"),
        "offset": optional(request, "offset"),
        "with_payload": payload_json(request.with_payload) or False,
        "with_vector": vectors_json(request.with_vectors),
    }


def query_json(request: pb.QueryPoints) -> dict[str, Any]:
    if request.prefetch:
        raise refused("this test server takes prefetches over REST only")
    body: dict[str, Any] = {"using": optional(request, "using"), "limit": optional(request, "limit")}
    if request.HasField("query"):
        body["query"] = variant_json(request.query)
    return {**body, **read_options(request)}


def variant_json(query: pb.Query) -> Any:
    match query.WhichOneof("variant"):
        case "nearest":
            return input_json(query.nearest)
        case "sample":
            return {"sample": "random"}
        case "order_by":
            return {"order_by": order_json(query.order_by)}
    raise refused(f"this test server does not know the query {query.WhichOneof('variant')}")


def input_json(given: pb.VectorInput) -> Any:
    match given.WhichOneof("variant"):
        case "id":
            point_id = read_id(given.id)
            return point_id if isinstance(point_id, int) else str(point_id)
        case "dense":
            return list(given.dense.data)
        case "sparse":
            return read_sparse(given.sparse.indices, given.sparse.values, True)
        case "multi_dense":
            return [list(row.data) for row in given.multi_dense.vectors]
    raise refused("VectorInput variant is missing")
