"""The Collections service, over the JSON forms that REST uses."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import ParseDict
from qdrant_client.grpc import collections_pb2 as pb

from .config import create_config, named_vectors
from .grpc_points import optional, plain
from .registry import Registry, check_name

STATUSES = {"green": pb.CollectionStatus.Green, "yellow": pb.CollectionStatus.Yellow, "red": pb.CollectionStatus.Red}


def done(result: bool) -> pb.CollectionOperationResponse:
    return pb.CollectionOperationResponse(result=result)


def vector_json(params: pb.VectorParams) -> dict[str, Any]:
    made = plain(params)
    made["distance"] = pb.Distance.Name(params.distance)
    if "multivector_config" in made or params.HasField("multivector_config"):
        made["multivector_config"] = {"comparator": "max_sim"}
    return made


def create_json(request: pb.CreateCollection) -> dict[str, Any]:
    """The body that PUT /collections/NAME would have."""
    body: dict[str, Any] = {}
    if request.HasField("vectors_config"):
        vectors = request.vectors_config
        if vectors.WhichOneof("config") == "params":
            body["vectors"] = vector_json(vectors.params)
        else:
            body["vectors"] = {name: vector_json(each) for name, each in vectors.params_map.map.items()}
    if request.HasField("sparse_vectors_config"):
        body["sparse_vectors"] = {name: plain(each) for name, each in request.sparse_vectors_config.map.items()}
    for name in ("hnsw_config", "wal_config", "optimizers_config", "quantization_config"):
        if request.HasField(name):
            body[name] = plain(getattr(request, name))
    for name in ("shard_number", "on_disk_payload", "replication_factor", "write_consistency_factor"):
        body[name] = optional(request, name)
    return body


def update_json(request: pb.UpdateCollection) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name in ("hnsw_config", "optimizers_config", "params"):
        if request.HasField(name):
            body[name] = plain(getattr(request, name))
    if request.HasField("quantization_config"):
        quantization = plain(request.quantization_config)
        body["quantization_config"] = "Disabled" if "disabled" in quantization else quantization
    if request.HasField("vectors_config"):
        vectors = request.vectors_config
        one = vectors.WhichOneof("config") == "params"
        body["vectors"] = (
            {"": plain(vectors.params)} if one else {n: plain(v) for n, v in vectors.params_map.map.items()}
        )
    return body


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return value


def vector_message(vector: dict[str, Any]) -> dict[str, Any]:
    made = {**vector}
    if "datatype" in made:
        made["datatype"] = made["datatype"].capitalize()
    if "multivector_config" in made:
        made["multivector_config"] = {"comparator": "MaxSim"}
    if "quantization_config" in made:
        made["quantization_config"] = quantization_message(made["quantization_config"])
    return made


def quantization_message(given: dict[str, Any]) -> dict[str, Any]:
    if "scalar" in given:
        return {"scalar": {**given["scalar"], "type": "Int8"}}
    return {kind: dict(settings) for kind, settings in given.items() if kind in {"product", "binary"}}


def info_message(info: dict[str, Any]) -> pb.CollectionInfo:
    """A collection's description as a message; settings that the message has no place for are left out."""
    config = info["config"]
    params = without_nulls(config["params"])
    vectors = {name: vector_message(each) for name, each in named_vectors(config).items()}
    sparse = params.pop("sparse_vectors", None)
    params.pop("vectors", None)
    params["vectors_config"] = {"params": vectors[""]} if list(vectors) == [""] else {"params_map": {"map": vectors}}
    if sparse is not None:
        params["sparse_vectors_config"] = {
            "map": {
                n: {**v, **({"modifier": v["modifier"].capitalize()} if "modifier" in v else {})}
                for n, v in sparse.items()
            }
        }
    made = {
        "optimizer_status": {"ok": True}
        if info["optimizer_status"] == "ok"
        else {"ok": False, **info["optimizer_status"]},
        "segments_count": info["segments_count"],
        "points_count": info["points_count"],
        "indexed_vectors_count": info["indexed_vectors_count"],
        "update_queue": info["update_queue"],
        "config": {
            "params": params,
            "hnsw_config": config["hnsw_config"],
            "optimizer_config": without_nulls(config["optimizer_config"]),
            "wal_config": config["wal_config"],
        },
        "payload_schema": {
            name: {"data_type": each["data_type"].capitalize(), "points": each["points"], **index_params(each)}
            for name, each in info["payload_schema"].items()
        },
    }
    if config["quantization_config"] is not None:
        made["config"]["quantization_config"] = quantization_message(config["quantization_config"])
    message = ParseDict(made, pb.CollectionInfo(), ignore_unknown_fields=True)
    message.status = STATUSES[info["status"]]
    return message


def index_params(field: dict[str, Any]) -> dict[str, Any]:
    params = without_nulls(field.get("params"))
    if params is None:
        return {}
    kind = params.pop("type")
    if "tokenizer" in params:
        params["tokenizer"] = params["tokenizer"].capitalize()
    return {"params": {f"{kind}_index_params": params}}


class CollectionMethods:
    """The names are those of the protocol."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def Get(self, request: pb.GetCollectionInfoRequest) -> Any:
        return pb.GetCollectionInfoResponse(result=info_message(self.registry.get(request.collection_name).describe()))

    def List(self, _: pb.ListCollectionsRequest) -> Any:
        names = sorted(self.registry.collections)
        return pb.ListCollectionsResponse(collections=[pb.CollectionDescription(name=name) for name in names])

    def Create(self, request: pb.CreateCollection) -> Any:
        check_name(request.collection_name)
        self.registry.create(request.collection_name, create_config(create_json(request), b""))
        return done(True)

    def Update(self, request: pb.UpdateCollection) -> Any:
        self.registry.get(request.collection_name).change_settings(update_json(request))
        return done(True)

    def Delete(self, request: pb.DeleteCollection) -> Any:
        return done(self.registry.delete(request.collection_name))

    def CollectionExists(self, request: pb.CollectionExistsRequest) -> Any:
        return pb.CollectionExistsResponse(
            result=pb.CollectionExists(exists=self.registry.exists(request.collection_name))
        )

    def UpdateAliases(self, request: pb.ChangeAliases) -> Any:
        self.registry.change_aliases([plain(each) for each in request.actions])
        return done(True)

    def ListAliases(self, _: pb.ListAliasesRequest) -> Any:
        return self.aliases(None)

    def ListCollectionAliases(self, request: pb.ListCollectionAliasesRequest) -> Any:
        return self.aliases(request.collection_name)

    def aliases(self, collection: str | None) -> Any:
        listed = self.registry.list_aliases(collection)
        return pb.ListAliasesResponse(aliases=[pb.AliasDescription(**each) for each in listed])
