"""Reads in Qdrant's JSON form: scroll, retrieve, count, query, facet, as requests to the engine."""

from __future__ import annotations

from typing import Any

import grpc
import qdrant_edge as edge

from .collection import Collection
from .errors import QdrantError, format_error, invalid, wrong_input
from .filters import parse_filter
from .ids import parse_id
from .points import parse_vector
from .strict import check_query

DEFAULT_LIMIT = 10
DIRECTIONS = {"asc": edge.Direction.Asc, "desc": edge.Direction.Desc}


def with_payload(given: Any, default: bool) -> Any:
    match given:
        case None:
            return default
        case bool():
            return given
        case list():
            return edge.PayloadSelector.Include(given)
        case {"include": list(keys)}:
            return edge.PayloadSelector.Include(keys)
        case {"exclude": list(keys)}:
            return edge.PayloadSelector.Exclude(keys)
    raise format_error("data did not match any variant of untagged enum WithPayloadInterface")


def with_vector(body: dict[str, Any]) -> Any:
    """Both spellings are taken, as the real server does."""
    given = body.get("with_vector", body.get("with_vectors"))
    if given is None:
        return False
    if isinstance(given, bool) or (isinstance(given, list) and all(isinstance(each, str) for each in given)):
        return given
    raise format_error("data did not match any variant of untagged enum WithVector")


def number(body: dict[str, Any], name: str, default: int, least: int, where: str = "") -> int:
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or value < 0:
        raise format_error(f"invalid type or value for `{name}`: {value}, expected usize")
    if value < least:
        raise invalid(f"{where}{name}", f"value {value} invalid, must be {least} or larger")
    return value


def order_by(given: Any) -> edge.OrderBy | None:
    match given:
        case None:
            return None
        case str():
            return edge.OrderBy(given)
        case {"key": str(key)}:
            direction = given.get("direction")
            if direction is not None and direction not in DIRECTIONS:
                raise format_error("data did not match any variant of untagged enum OrderByInterface")
            return edge.OrderBy(key, DIRECTIONS.get(direction), given.get("start_from"))
    raise format_error("data did not match any variant of untagged enum OrderByInterface")


def scroll_request(body: dict[str, Any]) -> edge.ScrollRequest:
    limit = number(body, "limit", DEFAULT_LIMIT, 1, "scroll_request.")
    offset = body.get("offset")
    order = order_by(body.get("order_by"))
    if order is not None and offset is not None:
        raise wrong_input(
            "Cannot use an `offset` when using `order_by`. The alternative for paging is to use `order_by.start_from` "
            "and a filter to exclude the IDs that you've already seen for the `order_by.start_from` value"
        )
    return edge.ScrollRequest(
        offset=None if offset is None else parse_id(offset),
        limit=limit,
        filter=parse_filter(body.get("filter")),
        with_payload=with_payload(body.get("with_payload"), True),
        with_vector=with_vector(body),
        order_by=order,
    )


def search_params(given: Any) -> edge.SearchParams | None:
    if given is None:
        return None
    try:
        return engine_params(given)
    except (AttributeError, TypeError) as error:
        raise format_error(f"invalid search params: {error}") from None


def engine_params(given: dict[str, Any]) -> edge.SearchParams:
    quantization = given.get("quantization")
    ef = given.get("hnsw_ef")
    if ef is not None and (type(ef) is not int or ef < 0):
        raise TypeError(f"invalid type or value for `hnsw_ef`: {ef}, expected usize")
    oversampling = quantization.get("oversampling") if quantization else None
    if oversampling is not None and oversampling < 1:
        raise invalid("params.quantization.oversampling", f"value {oversampling} invalid, must be 1.0 or larger")
    return edge.SearchParams(
        hnsw_ef=ef,
        exact=given.get("exact") or False,
        indexed_only=given.get("indexed_only") or False,
        quantization=edge.QuantizationSearchParams(
            ignore=quantization.get("ignore") or False,
            rescore=quantization.get("rescore"),
            oversampling=oversampling,
        )
        if quantization
        else None,
    )


def query_request(collection: Collection, body: Any) -> edge.QueryRequest:
    if not isinstance(body, dict):
        raise format_error("invalid type, expected struct QueryRequest")
    query, filter_ = parse_query(collection, body)
    check_query(collection, body)
    prefetch = body.get("prefetch")
    listed = [] if prefetch is None else prefetch if isinstance(prefetch, list) else [prefetch]
    return edge.QueryRequest(
        limit=number(body, "limit", DEFAULT_LIMIT, 1, "internal."),
        offset=number(body, "offset", 0, 0),
        query=query,
        prefetches=[parse_prefetch(collection, each) for each in listed],
        with_vector=with_vector(body),
        with_payload=with_payload(body.get("with_payload"), False),
        filter=filter_,
        score_threshold=body.get("score_threshold"),
        params=search_params(body.get("params")),
    )


def parse_prefetch(collection: Collection, body: dict[str, Any]) -> edge.Prefetch:
    query, filter_ = parse_query(collection, body)
    return edge.Prefetch(
        limit=number(body, "limit", DEFAULT_LIMIT, 1),
        query=query,
        filter=filter_,
        score_threshold=body.get("score_threshold"),
        params=search_params(body.get("params")),
    )


def parse_query(collection: Collection, body: dict[str, Any]) -> tuple[Any, edge.Filter | None]:
    """The query, and the filter; a query by id leaves that point out."""
    given = body.get("query")
    using = body.get("using") or ""
    filter_ = parse_filter(body.get("filter"))
    if isinstance(given, dict) and len(given) == 1:
        [(kind, value)] = given.items()
        if kind == "nearest":
            given = value
        elif kind == "sample" and value == "random":
            return edge.Sample.Random, filter_
        elif kind == "order_by":
            return order_by(value), filter_
        elif kind == "fusion" and value in ("rrf", "dbsf"):
            return (edge.Fusion.Rrf(2) if value == "rrf" else edge.Fusion.Dbsf()), filter_
        else:
            raise format_error("data did not match any variant of untagged enum QueryInterface")
    if given is None:
        return None, filter_
    if isinstance(given, (list, dict)):
        return edge.Query.Nearest(parse_vector(given, "query", "QueryInterface"), using=using or None), filter_
    point_id = parse_id(given)
    found = collection.read(lambda shard: shard.retrieve([point_id], False, True))
    if not found:
        raise QdrantError(404, grpc.StatusCode.NOT_FOUND, f"Not found: No point with id {point_id} found")
    vectors = found[0].vector
    vector = vectors.get(using) if isinstance(vectors, dict) else vectors if using == "" else None
    if vector is None:
        raise wrong_input(f"Not existing vector name error: {using}")
    others = edge.HasIdCondition({point_id})
    return (
        edge.Query.Nearest(vector, using=using or None),
        edge.Filter(must=[filter_] if filter_ else None, must_not=[others]),
    )
