"""Payload indexes: Qdrant's field schemas to the engine's, and back as a collection's description shows them."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge

from .errors import format_error
from .serde import member_end

PARAMS = {
    "keyword": (edge.KeywordIndexParams, {"is_tenant", "on_disk", "enable_hnsw", "prefix"}),
    "integer": (edge.IntegerIndexParams, {"lookup", "range", "is_principal", "on_disk", "enable_hnsw"}),
    "float": (edge.FloatIndexParams, {"is_principal", "on_disk", "enable_hnsw"}),
    "geo": (edge.GeoIndexParams, {"on_disk", "enable_hnsw"}),
    "text": (edge.TextIndexParams, {
        "tokenizer", "min_token_len", "max_token_len", "lowercase", "ascii_folding", "phrase_matching", "on_disk",
        "enable_hnsw", "stopwords", "stemmer",
    }),
    "bool": (edge.BoolIndexParams, {"on_disk", "enable_hnsw"}),
    "datetime": (edge.DatetimeIndexParams, {"is_principal", "on_disk", "enable_hnsw"}),
    "uuid": (edge.UuidIndexParams, {"is_tenant", "on_disk", "enable_hnsw"}),
}  # fmt: skip
# The engine's binding takes these in other forms; they are kept in the description only.
DESCRIBED_ONLY = {"stopwords", "stemmer"}


def parse_schema(given: Any, text: bytes) -> tuple[Any, dict[str, Any]]:
    """The engine's schema, and what the collection's description says of it (without the number of points)."""
    if isinstance(given, str) and given in PARAMS:
        return PARAMS[given][0](), {"data_type": given}
    if isinstance(given, dict) and given.get("type") in PARAMS:
        kind = given["type"]
        make, known = PARAMS[kind]
        params = {name: value for name, value in given.items() if value is not None}
        wanted = {name: value for name, value in params.items() if name in known - DESCRIBED_ONLY}
        try:
            if "tokenizer" in wanted:
                wanted["tokenizer"] = getattr(edge.TokenizerType, wanted["tokenizer"].capitalize())
            schema = make(**wanted)
        except (AttributeError, TypeError, ValueError):
            raise refused(text) from None
        if kind == "integer":
            params.setdefault("is_principal", None)
        return schema, {"data_type": kind, "params": params}
    raise refused(text)


def refused(text: bytes) -> Exception:
    where = f" at line 1 column {member_end(text, 'field_schema')}" if text else ""
    return format_error(f"data did not match any variant of untagged enum PayloadFieldSchema{where}")
