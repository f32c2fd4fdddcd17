"""Snapshots of collections: made, listed, fetched, deleted, and recovered from an upload.

Names, checksums and the answers to making and listing are as recorded from Qdrant 1.18. What a snapshot holds inside is our own, since
clients carry it unread. That a snapshot is refused by a collection of other vectors, and by a wrong checksum, is Qdrant's documented
behaviour; the words of those refusals are ours. api.qdrant.tech/api-reference/snapshots
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any

import grpc
import orjson

from . import operations as o
from .errors import QdrantError, bad_request, wrong_input
from .registry import Registry, check_name

PEER = 4765520268038621
MANIFEST = "collection.json"


def folder(registry: Registry, name: str) -> Path:
    return registry.directory.parent / "snapshots" / name


def describe(path: Path) -> dict[str, Any]:
    made = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(path.stat().st_mtime))
    sum_file = path.with_name(path.name + ".checksum")
    checksum = sum_file.read_text() if sum_file.exists() else None
    return {"name": path.name, "creation_time": made, "size": path.stat().st_size, "checksum": checksum}


def create(call: o.Call) -> Any:
    collection = call.collection()
    target = folder(call.registry, collection.name)
    target.mkdir(parents=True, exist_ok=True)
    made = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime())
    path = target / f"{collection.name}-{PEER}-{made}.snapshot"
    collection.pause(lambda: pack(collection, path))
    path.with_name(path.name + ".checksum").write_text(sum_of(path))
    return describe(path)


def pack(collection: Any, path: Path) -> None:
    about = {"config": collection.config, "fields": collection.fields, "operation": collection.operation}
    # The engine's files are made 32 MiB long before they are filled.
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        tar.add(collection.directory, arcname="shard")
        written = orjson.dumps(about)
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(written)
        tar.addfile(info, io.BytesIO(written))


def sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listed(call: o.Call) -> Any:
    made = folder(call.registry, call.collection().name)
    return [describe(path) for path in sorted(made.glob("*.snapshot"))]


def find(registry: Registry, name: str, snapshot: str) -> Path:
    path = folder(registry, registry.get(name).name) / snapshot
    if "/" in snapshot or not path.is_file():
        raise QdrantError(404, grpc.StatusCode.NOT_FOUND, f"Not found: Snapshot {snapshot} not found")
    return path


def delete(call: o.Call) -> Any:
    path = find(call.registry, call.path["name"], call.path["snapshot"])
    path.unlink()
    path.with_name(path.name + ".checksum").unlink(missing_ok=True)
    return True


def keep(registry: Registry, name: str, filename: str, path: Path) -> None:
    """An upload stays among the collection's snapshots under the name that it came with (do_save_uploaded_snapshot in Qdrant's source)."""
    target = folder(registry, name)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target / Path(filename).name)


def recover(registry: Registry, name: str, query: dict[str, str], path: Path) -> Any:
    """Puts the collection of an uploaded snapshot in place of what is there; makes it where there is none."""
    check_name(name)
    checksum = query.get("checksum")
    if checksum is not None and sum_of(path) != checksum:
        raise bad_request(f"Snapshot checksum mismatch: expected {checksum}, got {sum_of(path)}")
    try:
        with tarfile.open(path) as tar:
            about = orjson.loads(tar.extractfile(MANIFEST).read())
            if not registry.exists(name):
                registry.create(name, about["config"])
            collection = registry.get(name)
            if about["config"]["params"] != collection.config["params"]:
                raise wrong_input("Snapshot is not compatible with existing collection: its parameters are others")

            def unpack() -> None:
                shutil.rmtree(collection.directory)
                unpacked = collection.directory.with_suffix(".unpacked")
                tar.extractall(unpacked, filter="data")
                (unpacked / "shard").rename(collection.directory)
                shutil.rmtree(unpacked)
                collection.fields = about["fields"]

            collection.pause(unpack)
    except tarfile.TarError as error:
        raise bad_request(f"Failed to read the snapshot: {error}") from None
    return True
