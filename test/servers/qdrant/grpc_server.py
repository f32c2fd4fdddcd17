"""Qdrant's gRPC: keys, faults and errors around every method, and the services that a client of vectors needs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from qdrant_client.grpc import collections_service_pb2_grpc as collections_rpc
from qdrant_client.grpc import points_service_pb2_grpc as points_rpc
from qdrant_client.grpc import qdrant_pb2
from qdrant_client.grpc import qdrant_pb2_grpc as qdrant_rpc

from .documented import UNDOCUMENTED
from .errors import QdrantError
from .faults import Faults
from .grpc_collections import CollectionMethods
from .grpc_points import PointMethods
from .registry import Registry
from .rest import COMMIT, VERSION, check_key

THREADS = 16
# The real server takes messages of any size (max_decoding_message_size(usize::MAX)); a client limits what it receives.
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]

OPEN_METHOD = "/qdrant.Qdrant/HealthCheck"
# Validation names fields as the protocol does: the bodies of REST have these around them.
REST_FIELDS = re.compile(r" in JSON body: \[(scroll_request\.|internal\.)?")

Method = Callable[[Any], Any]


class Guard:
    """What happens around every method."""

    def __init__(self, faults: Faults, api_key: str | None) -> None:
        self.faults = faults
        self.api_key = api_key

    def wrap(self, path: str, method: Method) -> Callable[[Any, grpc.ServicerContext], Any]:
        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            self.fail_if_asked(path, request, context)
            if self.api_key is not None and path != OPEN_METHOD:
                refusal = check_key(dict(context.invocation_metadata()), self.api_key)
                if refusal is not None:
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, refusal)
            given = request.ByteSize()
            request.DiscardUnknownFields()
            if request.ByteSize() != given:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{path}: a field of the request is {UNDOCUMENTED}")
            started = time.perf_counter()
            try:
                answer = method(request)
            except QdrantError as error:
                context.abort(error.code, REST_FIELDS.sub(" in body: [", error.text))
            except Exception as error:  # A defect of the front: say so as the server would.
                context.abort(grpc.StatusCode.INTERNAL, f"Service internal error: {type(error).__name__}: {error}")
            if "time" in answer.DESCRIPTOR.fields_by_name:
                answer.time = time.perf_counter() - started
            return answer

        return handle

    def fail_if_asked(self, path: str, request: Any, context: grpc.ServicerContext) -> None:
        fault = self.faults.take("grpc", f"{path} {getattr(request, 'collection_name', '')}")
        if fault is None:
            return
        time.sleep(fault.delayMs / 1000)
        if fault.status is not None:
            if fault.retryAfter is not None:
                context.set_trailing_metadata((("retry-after", f"{fault.retryAfter:g}"),))
            context.abort(fault.code(), fault.words())


def servicer(base: type, service: str, methods: Any, guard: Guard) -> Any:
    """A servicer with the methods that `methods` has; the others answer UNIMPLEMENTED."""
    made = base()
    for name in dir(base):
        method = getattr(methods, name, None)
        if not name.startswith("_") and method is not None:
            setattr(made, name, guard.wrap(f"/qdrant.{service}/{name}", method))
    return made


class Health:
    def HealthCheck(self, _: Any) -> Any:
        return qdrant_pb2.HealthCheckReply(title="qdrant - vector search engine", version=VERSION, commit=COMMIT)


def serve(registry: Registry, faults: Faults, api_key: str | None, address: str) -> grpc.Server:
    guard = Guard(faults, api_key)
    server = grpc.server(ThreadPoolExecutor(THREADS, thread_name_prefix="grpc"), options=OPTIONS)
    points = servicer(points_rpc.PointsServicer, "Points", PointMethods(registry), guard)
    points_rpc.add_PointsServicer_to_server(points, server)
    collections = servicer(collections_rpc.CollectionsServicer, "Collections", CollectionMethods(registry), guard)
    collections_rpc.add_CollectionsServicer_to_server(collections, server)
    qdrant_rpc.add_QdrantServicer_to_server(servicer(qdrant_rpc.QdrantServicer, "Qdrant", Health(), guard), server)
    if server.add_insecure_port(address) == 0:
        raise OSError(f"cannot listen on {address}")
    server.start()
    return server
