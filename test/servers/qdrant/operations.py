"""What each REST route does, as plain functions from a call to its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import qdrant_edge as edge

from . import points as p
from . import queries as q
from .collection import Collection
from .config import create_config
from .errors import format_error, point_not_found, wrong_input
from .filters import parse_filter
from .ids import parse_id
from .payload_index import parse_schema
from .registry import Registry, check_name
from .serde import parse


@dataclass(slots=True)
class Call:
    """One request: the names in its path, its query string, its body as it came."""

    registry: Registry
    path: dict[str, str]
    query: dict[str, str]
    text: bytes

    def body(self) -> dict[str, Any]:
        body = parse(self.text)
        if not isinstance(body, dict):
            raise format_error("invalid type: expected a struct at line 1 column 0")
        return body

    def collection(self) -> Collection:
        return self.registry.get(self.path["name"])

    def waits(self) -> bool:
        return self.query.get("wait") == "true"


def updated(number: int, completed: bool) -> dict[str, Any]:
    return {"operation_id": number, "status": "completed" if completed else "acknowledged"}


# Collections


def list_collections(call: Call) -> Any:
    return {"collections": [{"name": name} for name in sorted(call.registry.collections)]}


def create_collection(call: Call) -> Any:
    check_name(call.path["name"])
    call.registry.create(call.path["name"], create_config(call.body(), call.text))
    return True


def describe_collection(call: Call) -> Any:
    return call.collection().describe()


def update_collection(call: Call) -> Any:
    body = call.body()
    call.collection().change_settings(body)
    return True


def delete_collection(call: Call) -> Any:
    return call.registry.delete(call.path["name"])


def collection_exists(call: Call) -> Any:
    return {"exists": call.registry.exists(call.path["name"])}


def change_aliases(call: Call) -> Any:
    body = call.body()
    if not isinstance(body.get("actions"), list):
        raise format_error("missing field `actions`")
    call.registry.change_aliases(body["actions"])
    return True


def list_aliases(call: Call) -> Any:
    return {"aliases": call.registry.list_aliases(call.path.get("name"))}


def create_index(call: Call) -> Any:
    body = call.body()
    if not isinstance(body.get("field_name"), str):
        raise format_error("missing field `field_name`")
    if body.get("field_schema") is None:
        raise wrong_input("`field_schema` is required")
    schema, described = parse_schema(body["field_schema"], call.text)
    return updated(*make_index(call.collection(), body["field_name"], schema, described, call.waits()))


def make_index(collection: Collection, field: str, schema: Any, described: Any, wait: bool) -> tuple[int, bool]:
    # Two operations in the real server's log: it drops an index of that name first.
    result = collection.update(edge.UpdateOperation.create_field_index(field, schema), wait, takes=2)
    collection.fields[field] = described
    return result


def drop_index(collection: Collection, field: str, wait: bool) -> tuple[int, bool]:
    result = collection.update(edge.UpdateOperation.delete_field_index(field), wait, takes=2)
    collection.fields.pop(field, None)
    return result


def delete_index(call: Call) -> Any:
    return updated(*drop_index(call.collection(), call.path["field"], call.waits()))


# Updates


def upsert_points(call: Call) -> Any:
    body = call.body()
    new_points = p.parse_points(body)
    condition = parse_filter(body.get("update_filter"))
    mode = p.parse_mode(body.get("update_mode"))
    return updated(*p.upsert(call.collection(), new_points, call.waits(), condition, mode))


def selected(body: dict[str, Any]) -> tuple[list[Any] | None, edge.Filter | None]:
    """The points that an update is for: ids or a filter."""
    if isinstance(body.get("points"), list):
        return [parse_id(each) for each in body["points"]], None
    if body.get("filter") is not None:
        return None, parse_filter(body["filter"])
    raise format_error("data did not match any variant of untagged enum PointsSelector")


def delete_points(call: Call) -> Any:
    ids, filter_ = selected(call.body())
    operations = edge.UpdateOperation
    operation = operations.delete_points(ids) if ids is not None else operations.delete_points_by_filter(filter_)
    return updated(*call.collection().update(operation, call.waits()))


def update_vectors(call: Call) -> Any:
    body = call.body()
    if not isinstance(body.get("points"), list):
        raise format_error("missing field `points`")
    changes = [
        (parse_id(each["id"]), p.parse_vectors(each["vector"], f"points[{at}].vector")) for at, each in enumerate(body["points"])
    ]
    collection = call.collection()
    for _, vector in changes:
        p.check_dimensions(collection, vector)
    operation = edge.UpdateOperation.update_vectors([edge.PointVectors(*each) for each in changes])
    return updated(*collection.update(operation, call.waits(), points=len(changes)))


def delete_vectors(call: Call) -> Any:
    body = call.body()
    ids, filter_ = selected(body)
    if not isinstance(body.get("vector"), list) or not body["vector"]:
        raise format_error("missing field `vector`")
    operations = edge.UpdateOperation
    operation = (
        operations.delete_vectors(ids, body["vector"])
        if ids is not None
        else operations.delete_vectors_by_filter(filter_, body["vector"])
    )
    return updated(*call.collection().update(operation, call.waits()))


def set_payload(call: Call) -> Any:
    return change_payload(call, "set_payload")


def overwrite_payload(call: Call) -> Any:
    return change_payload(call, "overwrite_payload")


def change_payload(call: Call, how: str) -> Any:
    body = call.body()
    ids, filter_ = selected(body)
    if not isinstance(body.get("payload"), dict):
        raise format_error("missing field `payload`")
    arguments = (body["payload"], body.get("key"))
    if ids is not None:
        operation = getattr(edge.UpdateOperation, how)(ids, *arguments)
    else:
        operation = getattr(edge.UpdateOperation, f"{how}_by_filter")(filter_, *arguments)
    return updated(*call.collection().update(operation, call.waits()))


def delete_payload(call: Call) -> Any:
    body = call.body()
    ids, filter_ = selected(body)
    if not isinstance(body.get("keys"), list):
        raise format_error("missing field `keys`")
    operations = edge.UpdateOperation
    operation = (
        operations.delete_payload(ids, body["keys"])
        if ids is not None
        else operations.delete_payload_by_filter(filter_, body["keys"])
    )
    return updated(*call.collection().update(operation, call.waits()))


def clear_payload(call: Call) -> Any:
    ids, filter_ = selected(call.body())
    operations = edge.UpdateOperation
    operation = operations.clear_payload(ids) if ids is not None else operations.clear_payload_by_filter(filter_)
    return updated(*call.collection().update(operation, call.waits()))


# Reads


def scroll(call: Call) -> Any:
    request = q.scroll_request(call.body())
    records, after = call.collection().read(lambda shard: shard.scroll(request))
    return {
        "points": [p.json_record(each) for each in records],
        "next_page_offset": None if after is None else p.json_id(after),
    }


def retrieve(call: Call) -> Any:
    body = call.body()
    if not isinstance(body.get("ids"), list):
        raise format_error("missing field `ids`")
    ids = [parse_id(each) for each in body["ids"]]
    payload, vector = q.with_payload(body.get("with_payload"), True), q.with_vector(body)
    return [p.json_record(each) for each in call.collection().read(lambda shard: shard.retrieve(ids, payload, vector))]


def retrieve_one(call: Call) -> Any:
    text = call.path["id"]
    point_id = parse_id(int(text) if text.isdigit() else text)
    found = call.collection().read(lambda shard: shard.retrieve([point_id], True, True))
    if not found:
        raise point_not_found(str(point_id))
    return p.json_record(found[0])


def count(call: Call) -> Any:
    body = call.body()
    exact = body.get("exact", True)
    request = edge.CountRequest(exact=exact is not False, filter=parse_filter(body.get("filter")))
    return {"count": call.collection().read(lambda shard: shard.count(request))}


def run_query(collection: Collection, body: Any) -> dict[str, Any]:
    request = q.query_request(collection, body)
    return {"points": [p.json_scored(collection, each) for each in collection.read(lambda shard: shard.query(request))]}


def query(call: Call) -> Any:
    body = call.body()
    return run_query(call.collection(), body)


def query_batch(call: Call) -> Any:
    body = call.body()
    if not isinstance(body.get("searches"), list):
        raise format_error("missing field `searches`")
    collection = call.collection()
    return [run_query(collection, each) for each in body["searches"]]


def facet(call: Call) -> Any:
    body = call.body()
    if not isinstance(body.get("key"), str):
        raise format_error("missing field `key`")
    request = edge.FacetRequest(
        key=body["key"],
        limit=q.number(body, "limit", q.DEFAULT_LIMIT, 1) or q.DEFAULT_LIMIT,
        exact=body.get("exact") or False,
        filter=parse_filter(body.get("filter")),
    )
    hits = call.collection().read(lambda shard: shard.facet(request)).hits
    return {"hits": [{"value": hit.value, "count": hit.count} for hit in hits]}
