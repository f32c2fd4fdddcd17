"""A collection's settings: checked as Qdrant checks them, described as Qdrant describes them, and given to the engine."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import qdrant_edge as edge

from .errors import format_error, invalid, wrong_input
from .serde import display, member_end

MAX_SIZE = 65536
DISTANCES = {"Cosine", "Euclid", "Dot", "Manhattan"}
DATATYPES = {"float32", "float16", "uint8"}
VECTOR_MEMBERS = (
    "size", "distance", "hnsw_config", "quantization_config", "on_disk", "datatype", "multivector_config",
)  # fmt: skip
HNSW_MEMBERS = (
    "m", "ef_construct", "full_scan_threshold", "max_indexing_threads", "on_disk", "payload_m", "inline_storage",
)  # fmt: skip
HNSW_DEFAULTS = {
    "m": 16,
    "ef_construct": 100,
    "full_scan_threshold": 10000,
    "max_indexing_threads": 0,
    "on_disk": False,
}
OPTIMIZER_DEFAULTS = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "max_segment_size": None,
    "memmap_threshold": None,
    "indexing_threshold": 10000,
    "flush_interval_sec": 5,
    "max_optimization_threads": None,
    "prevent_unoptimized": None,
}
WAL_DEFAULTS = {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1}
# Segments that the recorded server makes of one shard when default_segment_number is 0.
SEGMENTS = 2
NO_VECTOR = "vecferry-none"

Config = dict[str, Any]


def create_config(body: Any, text: bytes) -> Config:
    """The settings of a new collection in the form that GET /collections/NAME shows. `text` is for error positions."""
    params: Config = {}
    vectors = body.get("vectors")
    params["vectors"] = {} if vectors is None else vectors_config(vectors, text)
    params["shard_number"] = at_least(body, "shard_number", 1, 1)
    params["replication_factor"] = at_least(body, "replication_factor", 1, 1)
    params["write_consistency_factor"] = at_least(body, "write_consistency_factor", 1, 1)
    on_disk = body.get("on_disk_payload")
    params["on_disk_payload"] = True if on_disk is None else on_disk
    sparse = compact(body.get("sparse_vectors") or {})
    if sparse:
        params["sparse_vectors"] = {name: compact(each) for name, each in sparse.items()}
        for each in params["sparse_vectors"].values():
            if each.get("modifier") not in (None, "idf", "none"):
                raise refused("sparse_vectors", "Modifier", text)
    config: Config = {
        "params": params,
        "hnsw_config": {**HNSW_DEFAULTS, **hnsw_diff(body.get("hnsw_config"))},
        "optimizer_config": {**OPTIMIZER_DEFAULTS, **compact(body.get("optimizers_config") or {})},
        "wal_config": {**WAL_DEFAULTS, **compact(body.get("wal_config") or {})},
        "quantization_config": quantization(body.get("quantization_config"), text),
    }
    if body.get("strict_mode_config") is not None:
        config["strict_mode_config"] = compact(body["strict_mode_config"])
    if body.get("metadata"):
        config["metadata"] = body["metadata"]
    return checked(config)


def update_config(config: Config, body: Any) -> Config:
    """The settings after PATCH; the given ones stay as they are."""
    changed = deepcopy(config)
    changed["optimizer_config"].update(compact(body.get("optimizers_config") or {}))
    changed["hnsw_config"].update(hnsw_diff(body.get("hnsw_config")))
    changed["params"].update(compact(body.get("params") or {}))
    wanted = body.get("quantization_config")
    if wanted is not None:
        changed["quantization_config"] = None if wanted == "Disabled" else quantization(wanted, b"")
    for name, each in compact(body.get("vectors") or {}).items():
        vector = named_vectors(changed).get(name)
        if vector is None:
            raise wrong_input(f"Not existing vector name error: {name}")
        update_vector(vector, each)
    for name, each in compact(body.get("sparse_vectors") or {}).items():
        if name not in changed["params"].get("sparse_vectors", {}):
            raise wrong_input(f"Not existing vector name error: {name}")
        changed["params"]["sparse_vectors"][name].update(compact(each))
    if body.get("strict_mode_config") is not None:
        kept = changed.get("strict_mode_config") or {}
        changed["strict_mode_config"] = {**kept, **compact(body["strict_mode_config"])}
    if body.get("metadata"):
        changed["metadata"] = {**changed.get("metadata", {}), **body["metadata"]}
    return checked(changed)


def checked(config: Config) -> Config:
    """Refuses values of a type or size that the engine's settings cannot hold."""
    try:
        engine_config(config)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise format_error(str(error)) from None
    return config


def update_vector(vector: Config, diff: Config) -> None:
    diff = compact(diff)
    if diff.get("hnsw_config") == {}:
        # "Update params for HNSW index. If empty object - it will be unset": VectorParamsDiff of its OpenAPI.
        vector.pop("hnsw_config", None)
    elif diff.get("hnsw_config") is not None:
        vector["hnsw_config"] = {**vector.get("hnsw_config", {}), **hnsw_diff(diff["hnsw_config"])}
    if diff.get("quantization_config") == "Disabled":
        vector.pop("quantization_config", None)
    elif diff.get("quantization_config") is not None:
        vector["quantization_config"] = quantization(diff["quantization_config"], b"")
    if diff.get("on_disk") is not None:
        vector["on_disk"] = diff["on_disk"]


def named_vectors(config: Config) -> dict[str, Config]:
    """Dense and multi vectors by name; the unnamed one is ''."""
    vectors = config["params"].get("vectors") or {}
    return {"": vectors} if "size" in vectors and isinstance(vectors["size"], int) else vectors


def sparse_vectors(config: Config) -> dict[str, Config]:
    return config["params"].get("sparse_vectors") or {}


def segments(config: Config) -> int:
    return config["params"]["shard_number"] * (config["optimizer_config"]["default_segment_number"] or SEGMENTS)


def vectors_config(given: Any, text: bytes) -> Config:
    if isinstance(given, dict) and type(given.get("size")) is int and "distance" in given:
        return vector_params(given, "vectors", text)
    if isinstance(given, dict) and all(isinstance(each, dict) for each in given.values()):
        return {name: vector_params(each, f"vectors.{name}", text) for name, each in given.items()}
    raise refused("vectors", "VectorsConfig", text)


def vector_params(given: Config, field: str, text: bytes) -> Config:
    size = given.get("size")
    if type(size) is not int or size < 1 or given.get("distance") not in DISTANCES:
        raise refused("vectors", "VectorsConfig", text)
    if given.get("datatype") not in {None, *DATATYPES}:
        raise refused("vectors", "VectorsConfig", text)
    if size > MAX_SIZE:
        raise invalid(f"{field}.size", f"value {size} invalid, must be from 1 to {MAX_SIZE}")
    kept = {name: given[name] for name in VECTOR_MEMBERS if given.get(name) is not None}
    if "hnsw_config" in kept:
        kept["hnsw_config"] = hnsw_diff(kept["hnsw_config"])
    if "quantization_config" in kept:
        kept["quantization_config"] = quantization(kept["quantization_config"], text)
    return kept


def refused(member: str, enum: str, text: bytes) -> Exception:
    where = f" at line 1 column {member_end(text, member)}" if text else ""
    return format_error(f"data did not match any variant of untagged enum {enum}{where}")


def hnsw_diff(given: Any) -> Config:
    kept = {name: value for name, value in compact({} if given is None else given).items() if name in HNSW_MEMBERS}
    construct = kept.get("ef_construct")
    if construct is not None and construct < 4:
        raise invalid("hnsw_config.ef_construct", f"value {construct} invalid, must be 4 or larger")
    return kept


def quantization(given: Any, text: bytes) -> Config | None:
    if given is None:
        return None
    if isinstance(given, dict) and len(given) == 1:
        [(kind, settings)] = given.items()
        if kind in {"scalar", "product", "binary", "turbo"} and isinstance(settings, dict):
            return {kind: compact(settings)}
    raise refused("quantization_config", "QuantizationConfig", text)


def compact(given: Config) -> Config:
    """Without the members that are null: serde leaves those at their defaults."""
    if not isinstance(given, dict):
        raise format_error(f"invalid type: {display(given)}, expected a map")
    return {name: value for name, value in given.items() if value is not None}


def at_least(body: Config, name: str, least: int, default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if value < least:
        raise invalid(name, f"value {value} invalid, must be {least} or larger")
    return value


def engine_config(config: Config) -> edge.EdgeConfig:
    """The engine's form. Data is thrown away with the test run, so it writes no log of its own."""
    optimizers = config["optimizer_config"]
    sparse = sparse_vectors(config)
    if not sparse and not named_vectors(config):
        # The server holds collections of payloads alone; the engine wants one vector, so it gets one.
        sparse = {NO_VECTOR: {}}
    return edge.EdgeConfig(
        vectors={name: engine_vector(each, config) for name, each in named_vectors(config).items()},
        sparse_vectors={name: engine_sparse(each) for name, each in sparse.items()},
        on_disk_payload=False,
        hnsw_config=engine_hnsw(config["hnsw_config"]),
        # The collection's stands at every vector without one: the engine takes none of its own for "as it was".
        quantization_config=None,
        optimizers=edge.EdgeOptimizersConfig(
            deleted_threshold=optimizers["deleted_threshold"],
            vacuum_min_vector_number=optimizers["vacuum_min_vector_number"],
            default_segment_number=optimizers["default_segment_number"] or SEGMENTS,
            max_segment_size=optimizers["max_segment_size"],
            indexing_threshold=optimizers["indexing_threshold"],
        ),
        wal_enabled=False,
    )


def engine_vector(vector: Config, config: Config) -> edge.EdgeVectorParams:
    hnsw = config["hnsw_config"]
    multi = vector.get("multivector_config")
    datatype = vector.get("datatype")
    return edge.EdgeVectorParams(
        size=vector["size"],
        distance=getattr(edge.Distance, vector["distance"]),
        multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if multi else None,
        datatype=getattr(edge.VectorStorageDatatype, datatype.capitalize()) if datatype else None,
        quantization_config=engine_quantization(vector.get("quantization_config") or config["quantization_config"]),
        hnsw_config=engine_hnsw({**hnsw, **vector["hnsw_config"]}) if "hnsw_config" in vector else None,
    )


def engine_sparse(vector: Config) -> edge.EdgeSparseVectorParams:
    return edge.EdgeSparseVectorParams(
        full_scan_threshold=(vector.get("index") or {}).get("full_scan_threshold"),
        modifier=edge.Modifier.Idf if vector.get("modifier") == "idf" else None,
    )


def engine_hnsw(hnsw: Config) -> edge.HnswIndexConfig:
    return edge.HnswIndexConfig(
        m=hnsw["m"],
        ef_construct=hnsw["ef_construct"],
        full_scan_threshold=hnsw["full_scan_threshold"],
        max_indexing_threads=hnsw["max_indexing_threads"],
        payload_m=hnsw.get("payload_m"),
    )


def engine_quantization(given: Config | None) -> Any:
    match given:
        case {"scalar": settings}:
            return edge.ScalarQuantizationConfig(
                edge.ScalarType.Int8, quantile=settings.get("quantile"), always_ram=settings.get("always_ram")
            )
        case {"product": settings}:
            ratio = getattr(edge.CompressionRatio, settings["compression"].upper())
            return edge.ProductQuantizationConfig(ratio, always_ram=settings.get("always_ram"))
        case {"binary": settings}:
            return edge.BinaryQuantizationConfig(always_ram=settings.get("always_ram"))
        case _:
            # TurboQuant is kept in the settings, but the engine's index goes without it.
            return None
