"""Point ids: unsigned 64-bit integers or UUIDs, nothing else."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from .errors import format_error
from .serde import display

MAX_ID = 2**64 - 1
# The forms that Rust's uuid crate parses; Python's UUID takes dashes anywhere.
UUID_FORMS = re.compile(
    r"[0-9a-f]{32}|(urn:uuid:)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}",
    re.IGNORECASE,
)


def parse_id(given: Any) -> int | UUID:
    """Raises the format error that Qdrant answers for any other value."""
    if type(given) is int and 0 <= given <= MAX_ID:
        return given
    if isinstance(given, str) and UUID_FORMS.fullmatch(given):
        return UUID(given)
    raise format_error(
        f"value {display(given)} is not a valid point ID, valid values are either an unsigned integer or a UUID"
    )


def json_id(point_id: int | UUID | str) -> int | str:
    """As JSON carries it: UUIDs in lower case with dashes."""
    return point_id if isinstance(point_id, int) else str(point_id)
