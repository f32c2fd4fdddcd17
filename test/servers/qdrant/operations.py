"""What each REST route does, as plain functions from a call to its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import qdrant_edge as edge

from . import points as p
from . import queries as q
from .collection import Collection
from .config import create_config
from .errors import bad_request, format_error, invalid, point_not_found, wrong_input
from .filters import parse_filter
from .ids import parse_id
from .payload_index import parse_schema
from .registry import Registry, check_name
from .serde import parse
from .strict import check_count, check_scroll


@dataclass(slots=True)
class Call:
    """One request: the names in its path, its query string, its body as it came."""

    registry: Registry
    path: dict[str, str]
    query: dict[str, str]
    text: bytes
    # The body once it was read.
    parsed: Any = None

    def body(self) -> dict[str, Any]:
        self.parsed = parse(self.text)
        if not isinstance(self.parsed, dict):
            raise format_error("invalid type: expected a struct at line 1 column 0")
        return self.parsed

    def collection(self) -> Collection:
        return self.registry.get(self.path["name"])

    def waits(self) -> bool:
        return self.query.get("wait") == "true"


def member(body: dict[str, Any], name: str, kind: type) -> Any:
    """A member that must be there and of that kind."""
    if not isinstance(body.get(name), kind):
        raise format_error(f"missing field `{name}`")
    return body[name]


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


def optimizations(call: Call) -> Any:
    return call.collection().optimizations()


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
    call.registry.change_aliases(member(body, "actions", list))
    return True


def list_aliases(call: Call) -> Any:
    return {"aliases": call.registry.list_aliases(call.path.get("name"))}


def create_index(call: Call) -> Any:
    body = call.body()
    field = member(body, "field_name", str)
    if body.get("field_schema") is None:
        raise wrong_input("`field_schema` is required")
    schema, described = parse_schema(body["field_schema"], call.text)
    return updated(*make_index(call.collection(), field, schema, described, call.waits()))


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


def change_points(
    collection: Collection,
    chosen: tuple[list[Any] | None, edge.Filter | None],
    kind: str,
    arguments: tuple[Any, ...],
    wait: bool,
) -> tuple[int, bool]:
    """Runs the engine's update `kind` for ids, or its twin for a filter."""
    ids, filter_ = chosen
    if ids is None:
        operation = getattr(edge.UpdateOperation, f"{kind}_by_filter")(filter_, *arguments)
    elif ids:
        operation = getattr(edge.UpdateOperation, kind)(ids, *arguments)
    else:
        raise bad_request("Empty update request")
    return collection.update(operation, wait)


def change(call: Call, body: dict[str, Any], kind: str, *arguments: Any) -> dict[str, Any]:
    chosen = selected(body)
    return updated(*change_points(call.collection(), chosen, kind, arguments, call.waits()))


def delete_points(call: Call) -> Any:
    return change(call, call.body(), "delete_points")


def update_vectors(call: Call) -> Any:
    changes = []
    for at, each in enumerate(member(call.body(), "points", list)):
        if not isinstance(each, dict) or not {"id", "vector"} <= set(each):
            raise format_error("missing field `id` or `vector`")
        changes.append((parse_id(each["id"]), p.parse_vectors(each["vector"], f"points[{at}].vector")))
    return updated(*change_vectors(call.collection(), changes, call.waits()))


def change_vectors(collection: Collection, changes: list[tuple[Any, Any]], wait: bool) -> tuple[int, bool]:
    if not changes:
        raise bad_request("Empty update request")
    for _, vector in changes:
        p.check_dimensions(collection, vector)
    operation = edge.UpdateOperation.update_vectors([edge.PointVectors(*each) for each in changes])
    return collection.update(operation, wait, points=len(changes))


def delete_vectors(call: Call) -> Any:
    body = call.body()
    names = member(body, "vector", list)
    if not names:
        raise invalid("vector", "Validation error: length must be at least 1 [{}]")
    return change(call, body, "delete_vectors", names)


def set_payload(call: Call) -> Any:
    body = call.body()
    return change(call, body, "set_payload", member(body, "payload", dict), body.get("key"))


def overwrite_payload(call: Call) -> Any:
    body = call.body()
    return change(call, body, "overwrite_payload", member(body, "payload", dict), body.get("key"))


def delete_payload(call: Call) -> Any:
    body = call.body()
    return change(call, body, "delete_payload", member(body, "keys", list))


def clear_payload(call: Call) -> Any:
    return change(call, call.body(), "clear_payload")


# Reads


def scroll(call: Call) -> Any:
    request = q.scroll_request(call.body())
    check_scroll(call.collection(), call.body())
    records, after = call.collection().read(lambda shard: shard.scroll(request))
    return {
        "points": [p.json_record(each) for each in records],
        "next_page_offset": None if after is None else p.json_id(after),
    }


def retrieve(call: Call) -> Any:
    body = call.body()
    ids = [parse_id(each) for each in member(body, "ids", list)]
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
    check_count(call.collection(), exact is not False)
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
    searches = member(body, "searches", list)
    collection = call.collection()
    return [run_query(collection, each) for each in searches]


def facet(call: Call) -> Any:
    body = call.body()
    request = edge.FacetRequest(
        key=member(body, "key", str),
        limit=q.number(body, "limit", q.DEFAULT_LIMIT, 1),
        exact=body.get("exact") or False,
        filter=parse_filter(body.get("filter")),
    )
    hits = call.collection().read(lambda shard: shard.facet(request)).hits
    return {"hits": [{"value": hit.value, "count": hit.count} for hit in hits]}
