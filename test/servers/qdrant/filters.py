"""Filters in Qdrant's JSON form to the engine's. gRPC filters are turned into that form first (grpc_convert.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import qdrant_edge as edge

from .errors import format_error
from .ids import parse_id

CLAUSES = {"must", "should", "must_not", "min_should"}
FIELD_MEMBERS = {
    "key", "match", "range", "geo_bounding_box", "geo_radius", "geo_polygon", "values_count", "is_empty", "is_null",
}  # fmt: skip


def parse_filter(given: Any) -> edge.Filter | None:
    """None for no filter. Raises a format error where serde would refuse the form."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise format_error("invalid type, expected struct Filter")
    unknown = set(given) - CLAUSES
    if unknown:
        name = sorted(unknown)[0]
        raise format_error(f"unknown field `{name}`, expected one of `should`, `min_should`, `must`, `must_not`")
    clauses: dict[str, Any] = {}
    for name in ("must", "should", "must_not"):
        value = given.get(name)
        if value is not None:
            clauses[name] = [parse_condition(each) for each in (value if isinstance(value, list) else [value])]
    least = given.get("min_should")
    if least is not None:
        conditions = [parse_condition(each) for each in least["conditions"]]
        clauses["min_should"] = edge.MinShould(conditions, least["min_count"])
    return edge.Filter(**clauses)


def parse_condition(given: Any) -> Any:
    if isinstance(given, dict):
        try:
            if set(given) <= FIELD_MEMBERS and "key" in given:
                return field_condition(given)
            if set(given) == {"has_id"}:
                # The real server keeps a set; the engine's binding takes one too.
                return edge.HasIdCondition({parse_id(each) for each in given["has_id"]})
            if set(given) == {"has_vector"}:
                return edge.HasVectorCondition(given["has_vector"])
            if set(given) == {"is_empty"}:
                return edge.IsEmptyCondition(given["is_empty"]["key"])
            if set(given) == {"is_null"}:
                return edge.IsNullCondition(given["is_null"]["key"])
            if set(given) == {"nested"}:
                inner = parse_filter(given["nested"]["filter"])
                return edge.NestedCondition(given["nested"]["key"], inner or edge.Filter())
            if set(given) <= CLAUSES:
                return parse_filter(given)
        except (KeyError, TypeError, ValueError):
            pass
    raise format_error("data did not match any variant of untagged enum Condition")


def field_condition(given: dict[str, Any]) -> edge.FieldCondition:
    wanted: dict[str, Any] = {}
    if given.get("match") is not None:
        wanted["match"] = parse_match(given["match"])
    if given.get("range") is not None:
        wanted["range"] = parse_range(given["range"])
    if given.get("values_count") is not None:
        wanted["values_count"] = edge.ValuesCount(**given["values_count"])
    for name in ("is_empty", "is_null"):
        if given.get(name) is not None:
            wanted[name] = given[name]
    if given.get("geo_radius") is not None:
        radius = given["geo_radius"]
        wanted["geo_radius"] = edge.GeoRadius(point(radius["center"]), radius["radius"])
    if given.get("geo_bounding_box") is not None:
        box = given["geo_bounding_box"]
        wanted["geo_bounding_box"] = edge.GeoBoundingBox(point(box["top_left"]), point(box["bottom_right"]))
    if not wanted:
        raise ValueError("at least one field condition must be specified")
    return edge.FieldCondition(given["key"], **wanted)


def point(given: dict[str, float]) -> edge.GeoPoint:
    return edge.GeoPoint(given["lon"], given["lat"])


def parse_match(given: dict[str, Any]) -> Any:
    [(name, value)] = given.items()
    match name:
        case "value":
            if isinstance(value, float):
                raise ValueError("a float cannot be matched")
            # The binding takes a Python bool for the integer it also is; numpy's is none.
            return edge.MatchValue(np.bool_(value) if isinstance(value, bool) else value)
        case "text":
            return edge.MatchText(value)
        case "text_any":
            return edge.MatchTextAny(value)
        case "phrase":
            return edge.MatchPhrase(value)
        case "any":
            return edge.MatchAny(value)
        case "except":
            return edge.MatchExcept(value)
        case _:
            raise ValueError(f"unknown match {name}")


def parse_range(given: dict[str, Any]) -> Any:
    bounds = {name: value for name, value in given.items() if value is not None}
    if any(isinstance(value, str) for value in bounds.values()):
        return edge.RangeDateTime(**bounds)
    return edge.RangeFloat(**{name: float(value) for name, value in bounds.items()})
