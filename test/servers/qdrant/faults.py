"""Faults that tests ask for: the next N matching requests are answered 429, 503 and the like, and reach nothing.

POST /_test/faults {"status": 429, "times": 5, "retryAfter": 1, "path": "articles", "protocol": "grpc"}
GET /_test/faults lists what is left; DELETE /_test/faults removes all.
`path` is a part of `METHOD /rest/path`, or of `/qdrant.Service/Method collection`; test files share the server, so each
names its own collection. `delayMs` makes the matching requests slow; without `status` they are only slow.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, fields
from typing import Any

import grpc

GRPC_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

TEXTS = {
    429: "Rate limiting exceeded: Write rate limit exceeded, retry later",
    503: "Service is temporarily unavailable",
}


@dataclass
class Fault:
    status: int | None = None
    times: int = 1
    retryAfter: float | None = None
    path: str = ""
    protocol: str | None = None
    delayMs: int = 0
    text: str | None = None

    def words(self) -> str:
        return self.text or TEXTS.get(
            self.status or 0, f"Service internal error: fault {self.status} asked for by a test"
        )

    def code(self) -> grpc.StatusCode:
        return GRPC_CODES.get(self.status or 0, grpc.StatusCode.UNKNOWN)


class Faults:
    """The faults that are still to come, in the order they were asked for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pending: list[Fault] = []

    def add(self, wanted: dict[str, Any]) -> None:
        """Raises TypeError for a member that no fault has."""
        known = {field.name for field in fields(Fault)}
        unknown = set(wanted) - known
        if unknown:
            raise TypeError(f"unknown members {sorted(unknown)}; a fault has {sorted(known)}")
        with self.lock:
            self.pending.append(Fault(**wanted))

    def clear(self) -> None:
        with self.lock:
            self.pending.clear()

    def list(self) -> list[dict[str, Any]]:
        with self.lock:
            return [asdict(fault) for fault in self.pending]

    def take(self, protocol: str, request: str) -> Fault | None:
        """The fault that this request meets, counted down."""
        if not self.pending:
            return None
        with self.lock:
            for fault in self.pending:
                if fault.path in request and fault.protocol in (None, protocol):
                    fault.times -= 1
                    if fault.times <= 0:
                        self.pending.remove(fault)
                    return fault
        return None
