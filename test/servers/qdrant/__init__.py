"""A Qdrant 1.18 for tests: its REST and its gRPC over its real engine (qdrant-edge-py), one shard a collection.

Collections, aliases, checks and error texts follow test/data/qdrant-rest.jsonl, recorded from a real Qdrant 1.18.3;
where the recording is silent they follow Qdrant's documentation. Points, filters, scores and indexes are the engine's.
"""
