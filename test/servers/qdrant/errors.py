"""Errors as Qdrant answers them: an HTTP status, a gRPC status and one text."""

from __future__ import annotations

import grpc


class QdrantError(Exception):
    """An answer other than success; `text` is what the client reads."""

    def __init__(self, status: int, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text


def wrong_input(text: str) -> QdrantError:
    """What the engine or the collection refuses."""
    return QdrantError(400, grpc.StatusCode.INVALID_ARGUMENT, f"Wrong input: {text}")


def bad_request(text: str) -> QdrantError:
    return QdrantError(400, grpc.StatusCode.INVALID_ARGUMENT, f"Bad request: {text}")


def format_error(text: str) -> QdrantError:
    """What serde refuses: JSON that is broken or of another form."""
    return QdrantError(400, grpc.StatusCode.INVALID_ARGUMENT, f"Format error in JSON body: {text}")


def invalid(field: str, text: str, where: str = "JSON body") -> QdrantError:
    """What the validation after parsing refuses."""
    return QdrantError(422, grpc.StatusCode.INVALID_ARGUMENT, f"Validation error in {where}: [{field}: {text}]")


def collection_not_found(name: str) -> QdrantError:
    return QdrantError(404, grpc.StatusCode.NOT_FOUND, f"Not found: Collection `{name}` doesn't exist!")


def collection_exists(name: str) -> QdrantError:
    return QdrantError(409, grpc.StatusCode.ALREADY_EXISTS, f"Wrong input: Collection `{name}` already exists!")


def point_not_found(text: str) -> QdrantError:
    return QdrantError(404, grpc.StatusCode.NOT_FOUND, f"Not found: Point with id {text} does not exists!")


def from_engine(error: Exception) -> QdrantError:
    """The engine's own refusals are the server's; its texts are the same."""
    return wrong_input(str(error))
