"""Serves Qdrant's REST and gRPC until it is ended.

python -m qdrant --directory DIRECTORY --port PORT --grpc-port PORT [--api-key KEY]
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from .faults import Faults
from .grpc_server import serve
from .registry import Registry
from .rest import Rest

HOST = "127.0.0.1"


async def main() -> None:
    parser = argparse.ArgumentParser(prog="qdrant")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--api-key")
    options = parser.parse_args()
    registry = Registry(options.directory / "collections")
    faults = Faults()
    # gRPC first: the REST port answering /readyz means that both are ready.
    server = serve(registry, faults, options.api_key, f"{HOST}:{options.grpc_port}")
    await Rest(registry, faults, options.api_key).start(HOST, options.port)
    await asyncio.to_thread(server.wait_for_termination)


asyncio.run(main())
