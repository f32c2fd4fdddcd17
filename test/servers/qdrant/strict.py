"""Strict mode, on by default on Qdrant Cloud: what a collection forbids of a query, in the words of Qdrant's source."""

from __future__ import annotations

from typing import Any

from .collection import Collection
from .errors import QdrantError, bad_request
from .ids import UUID_FORMS

DEFAULT_LIMIT = 10
CLAUSES = ("must", "should", "must_not")


def check_query(collection: Collection, body: dict[str, Any]) -> None:
    """Raises Bad request for a query that strict mode refuses."""
    strict = rules(collection)
    check_limit(body.get("limit") or DEFAULT_LIMIT, strict.get("max_query_limit"), "limit")
    if strict.get("unindexed_filtering_retrieve") is False:
        indexed = {key.strip('"'): each["data_type"] for key, each in collection.fields.items()}
        check_filter(body.get("filter"), indexed)
    params = body.get("params") or {}
    check_exact(params.get("exact"), strict)
    check_limit(params.get("hnsw_ef"), strict.get("search_max_hnsw_ef"), "hnsw_ef")
    oversampling = (params.get("quantization") or {}).get("oversampling")
    check_limit(oversampling, strict.get("search_max_oversampling"), "oversampling")


def check_scroll(collection: Collection, body: dict[str, Any]) -> None:
    check_limit(body.get("limit") or DEFAULT_LIMIT, rules(collection).get("max_query_limit"), "limit")


def check_count(collection: Collection, exact: bool) -> None:
    check_exact(exact, rules(collection))


def check_upsert(collection: Collection, points: int) -> None:
    strict = rules(collection)
    check_limit(points, strict.get("upsert_max_batchsize"), "upsert limit")
    most = strict.get("max_points_count")
    # check_collection_points_count_limit in Qdrant's source: what is there is counted, not what comes.
    if most is not None and collection.read(lambda shard: shard.info()).points_count >= most:
        raise bad_request(f"Max points count limit of {most} reached!")


def rules(collection: Collection) -> dict[str, Any]:
    strict = collection.config.get("strict_mode_config") or {}
    return strict if strict.get("enabled") else {}


def check_exact(exact: Any, strict: dict[str, Any]) -> None:
    if exact and strict.get("search_allow_exact") is False:
        raise refusal("Exact search disabled!", "Set exact=false.")


def refusal(error: str, mend: str) -> QdrantError:
    return bad_request(f"{error}. Help: {mend}")


def check_limit(value: Any, limit: Any, name: str) -> None:
    if value is not None and limit is not None and value > limit:
        text = f'Limit exceeded {value} > {limit} for "{name}"'
        raise refusal(text, f'Reduce the "{name}" parameter to or below {limit}.')


def check_filter(given: Any, indexed: dict[str, str]) -> None:
    """Every field of the filter has an index of a type that its condition can use."""
    if not isinstance(given, dict):
        return
    for clause in CLAUSES:
        conditions = given.get(clause) or []
        for each in conditions if isinstance(conditions, list) else [conditions]:
            if "key" not in each:
                check_filter(each, indexed)
                continue
            types = usable(each)
            if types and indexed.get(each["key"].strip('"')) not in types:
                wanted = f"of one of the following types: [{', '.join(types)}]"
                text = f'Index required but not found for "{each["key"]}" {wanted}'
                raise refusal(text, "Create an index for this key or use a different filter.")


def usable(condition: dict[str, Any]) -> list[str]:
    if condition.get("range") is not None:
        return ["float", "integer"]
    match = condition.get("match") or {}
    values = match["any"] if "any" in match else [match["value"]] if "value" in match else []
    if all(isinstance(each, str) for each in values):
        uuids = values and all(UUID_FORMS.fullmatch(each) for each in values)
        return ["uuid", "keyword"] if uuids else ["keyword"] if values else []
    return ["bool"] if isinstance(values[0], bool) else ["integer"]
