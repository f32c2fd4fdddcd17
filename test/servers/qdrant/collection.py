"""One collection: a shard of the engine, its settings, and the thread that applies its updates in order."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import orjson
import qdrant_edge as edge

from .config import Config, engine_config, named_vectors, segments, sparse_vectors, update_config
from .errors import QdrantError, collection_not_found, from_engine

T = TypeVar("T")
# The optimizer keeps updates waiting, so it starts once they have paused; the real one runs beside them.
QUIET_SECONDS = 0.2
INDEX_SETTINGS = ("params", "hnsw_config", "optimizer_config", "quantization_config")


class Collection:
    """All methods may be called from any thread. Updates apply one after another, and wait for a rebuild; reads do not."""

    def __init__(self, name: str, config: Config, directory: Path) -> None:
        self.name = name
        self.config = config
        self.directory = directory
        self.fields: dict[str, dict[str, Any]] = {}
        self.operation = 0
        self.lock = threading.RLock()
        self.submitting = threading.Lock()
        self.updates = ThreadPoolExecutor(1, thread_name_prefix=f"updates-{name}")
        # The engine counts its own operations; a point's version is ours.
        self.engine_version = 0
        self.versions: dict[int, int] = {}
        self.closed = False
        # Points written since the index was last built, and whether settings of the index changed since.
        self.written = 0
        self.settings_changed = False
        self.timer: threading.Timer | None = None
        self.last_update = 0.0
        self.seen: dict[str, int] = {"points": 0, "indexed": 0}
        self.rebuilding = False
        # Why the last rebuild failed: the collection is red then, as in the real server.
        self.failure: str | None = None
        self.set_dimensions()
        try:
            self.shard = edge.EdgeShard.create(str(directory), engine_config(config))
        except Exception as error:
            raise from_engine(error) from None

    def set_dimensions(self) -> None:
        self.dimensions = {name: each["size"] for name, each in named_vectors(self.config).items()}
        self.multi = {name for name, each in named_vectors(self.config).items() if each.get("multivector_config")}
        self.sparse = set(sparse_vectors(self.config))

    # Updates

    def update(self, operation: Any, wait: bool, points: int = 0, takes: int = 1) -> tuple[int, bool]:
        """Queues an engine operation; returns its number, and whether it is completed (with `wait`) or only taken.

        Without `wait` a refusal of the engine goes unseen, as in the real server.
        """
        with self.submitting:
            if self.closed:
                raise collection_not_found(self.name)
            self.operation += takes
            number = self.operation
            done = self.updates.submit(self.apply, operation, number, points)
        if not wait:
            return number, False
        done.result()
        return number, True

    def apply(self, operation: Any, number: int, points: int) -> None:
        with self.lock:
            if self.closed:
                raise collection_not_found(self.name)
            self.engine_version += 1
            self.versions[self.engine_version] = number
            try:
                self.shard.update(operation)
            except Exception as error:
                raise from_engine(error) from None
            finally:
                self.written += points
                self.last_update = time.monotonic()
        self.plan_rebuild()

    def change_settings(self, body: Any) -> None:
        """PATCH: the shard is opened again under the new settings, and its index rebuilt where they ask for it."""

        def change() -> None:
            with self.lock:
                config = update_config(self.config, body)
                self.shard.flush()
                self.shard.close()
                self.shard = edge.EdgeShard.load(str(self.directory), engine_config(config))
                index_changed = any(config[part] != self.config[part] for part in INDEX_SETTINGS)
                self.settings_changed = self.settings_changed or index_changed
                self.config = config
                self.last_update = 0.0
            self.plan_rebuild()

        self.queue(change).result()

    def pause(self, work: Callable[[], None]) -> None:
        """Runs `work` on the collection's files while the shard is closed; reads wait."""

        def run() -> None:
            with self.lock:
                self.shard.flush()
                self.shard.close()
                try:
                    work()
                finally:
                    self.shard = edge.EdgeShard.load(str(self.directory), engine_config(self.config))

        self.queue(run).result()

    def queue(self, task: Callable[[], T]) -> Future[T]:
        with self.submitting:
            if self.closed:
                raise collection_not_found(self.name)
            return self.updates.submit(task)

    # The index

    def needs_rebuild(self) -> bool:
        """The engine's own rule: a segment is indexed once its vectors hold more KiB than indexing_threshold; 0: never."""
        threshold = self.config["optimizer_config"]["indexing_threshold"]
        if not threshold or not self.dimensions or self.closed:
            return False
        points = self.shard.info().points_count if self.settings_changed else self.written
        return points * max(self.dimensions.values()) * 4 / 1024 > threshold

    def plan_rebuild(self) -> None:
        with self.lock:
            if self.timer is None and self.needs_rebuild():
                self.start_timer()

    def start_timer(self) -> None:
        self.timer = threading.Timer(QUIET_SECONDS, self.rebuild_when_quiet)
        self.timer.daemon = True
        self.timer.start()

    def rebuild_when_quiet(self) -> None:
        with self.lock:
            if self.closed:
                return
            # Settings are changed under an application that goes on writing.
            if not self.settings_changed and time.monotonic() - self.last_update < QUIET_SECONDS:
                self.start_timer()
                return
        self.queue(self.rebuild)

    def rebuild(self) -> None:
        """The engine's optimizer works on a copy, so that the old segments are searched meanwhile, as in the real server.

        Only updates change the shard, and this is their thread: what they would write waits, which the real server need not.
        """
        copy = self.directory.with_name(f"{self.directory.name}.rebuilt")
        with self.lock:
            if self.closed:
                return
            self.look()
            self.rebuilding = True
            self.shard.flush()
            shutil.copytree(self.directory, copy, dirs_exist_ok=True)
        command = [sys.executable, "-m", "qdrant.optimize", str(copy)]
        done = subprocess.run(command, input=orjson.dumps(self.config), stderr=subprocess.PIPE)
        with self.lock:
            self.rebuilding = False
            self.timer = None
            self.failure = done.stderr.decode()[-500:] if done.returncode else None
            if self.closed or self.failure is not None:
                shutil.rmtree(copy, ignore_errors=True)
                return
            self.shard.close()
            shutil.rmtree(self.directory)
            copy.rename(self.directory)
            self.shard = edge.EdgeShard.load(str(self.directory), engine_config(self.config))
            self.written = 0
            self.settings_changed = False
        self.plan_rebuild()

    def look(self) -> edge.ShardInfo:
        info = self.shard.info()
        self.seen = {"points": info.points_count, "indexed": info.indexed_vectors_count}
        self.seen.update({f"field {name}": each.points for name, each in info.payload_schema.items()})
        return info

    # Reads

    def read(self, ask: Callable[[edge.EdgeShard], T]) -> T:
        """Asks the engine; its refusals become Qdrant's."""
        with self.lock:
            if self.closed:
                raise collection_not_found(self.name)
            try:
                return ask(self.shard)
            except QdrantError:
                raise
            except Exception as error:
                raise from_engine(error) from None

    def version(self, point: edge.ScoredPoint) -> int:
        """The number of the operation that last changed the point."""
        return self.versions.get(point.version, point.version)

    def optimizations(self) -> dict[str, Any]:
        """What GET /collections/NAME/optimizations shows: all segments wait, or are being rebuilt; how far is not known."""
        points = 0 if self.timer is None else self.read(lambda shard: shard.info().points_count)
        count = segments(self.config)
        queued = self.timer is not None and not self.rebuilding
        return {
            "summary": {
                "queued_optimizations": count if queued else 0,
                "queued_segments": count if queued else 0,
                "queued_points": points if queued else 0,
                "idle_segments": count if self.timer is None else 0,
            },
            "running": [
                {
                    "uuid": str(uuid4()),
                    "optimizer": "config mismatch" if self.settings_changed else "indexing",
                    "status": "optimizing",
                    "segments": [{"uuid": str(uuid4()), "points_count": points}],
                    "progress": {"name": "Segment Optimizing"},
                }
            ]
            if self.rebuilding
            else [],
        }

    def describe(self) -> dict[str, Any]:
        """What GET /collections/NAME shows."""
        self.read(lambda _: self.look())
        calm = "green" if self.failure is None else "red"
        return {
            "status": calm if self.timer is None else "yellow",
            "optimizer_status": "ok" if self.failure is None else {"error": self.failure},
            "indexed_vectors_count": self.seen["indexed"],
            "points_count": self.seen["points"],
            "segments_count": segments(self.config),
            "config": self.config,
            "payload_schema": {
                name: {**each, "points": self.seen.get(f"field {name}", 0)} for name, each in self.fields.items()
            },
            "update_queue": {"length": self.updates._work_queue.qsize()},
        }

    def close(self) -> None:
        with self.submitting, self.lock:
            self.closed = True
            if self.timer is not None:
                self.timer.cancel()
            self.shard.close()
        self.updates.shutdown(wait=False)
