"""A Qdrant 1.18 for tests: its REST and its gRPC over its real engine (qdrant-edge-py), one shard a collection.

Collections, aliases, checks and error texts follow test/data/qdrant-rest.jsonl, recorded from a real Qdrant 1.18.3;
where the recording is silent they follow Qdrant's documentation. Points, filters, scores and indexes are the engine's.
"""

import importlib.util
import sys
import types


def _skip_client() -> None:
    """Lets `qdrant_client.grpc` load without the client around it, which would take half a second of every start."""
    found = importlib.util.find_spec("qdrant_client")
    if found is not None and found.submodule_search_locations is not None:
        package = types.ModuleType("qdrant_client")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules.setdefault("qdrant_client", package)


_skip_client()
