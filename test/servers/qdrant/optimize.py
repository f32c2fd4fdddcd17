"""Runs the engine's optimizer on a closed shard in a process of its own, for it holds Python's lock while it builds.

python -m qdrant.optimize DIRECTORY < settings.json
"""

from __future__ import annotations

import sys

import orjson
import qdrant_edge as edge

from .config import engine_config

if __name__ == "__main__":
    shard = edge.EdgeShard.load(sys.argv[1], engine_config(orjson.loads(sys.stdin.buffer.read())))
    shard.optimize()
    shard.flush()
    shard.close()
