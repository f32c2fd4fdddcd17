"""JSON as serde_json reads it: 64-bit integers kept, larger ones as doubles, and its error texts with line and column."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson

from .errors import format_error

SPACE = b" \t\n\r"
NUMBER_STARTS = tuple(b"-0123456789"[at : at + 1] for at in range(11))
NUMBER_BYTES = b"0123456789.eE+-"


class Broken(Exception):
    """The text is not JSON: serde's words and the byte where it noticed (0-based)."""

    def __init__(self, words: str, at: int) -> None:
        super().__init__(words)
        self.words = words
        self.at = at


def parse(text: bytes) -> Any:
    """The value, or a format error as Qdrant words it."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        try:
            end = skip_value(text, skip_space(text, 0))
            trailing = skip_space(text, end)
            if trailing < len(text):
                raise Broken("trailing characters", trailing + 1)
        except Broken as broken:
            raise format_error(f"{broken.words} at {position(text, broken.at)}") from None
        raise format_error(str(error)) from None


def dump(value: Any) -> bytes:
    """Floats of numpy's float32 are printed with the fewest digits that give the same float32, as serde_json does."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def position(text: bytes, at: int) -> str:
    line_start = text.rfind(b"\n", 0, at) + 1
    return f"line {text.count(bytes([10]), 0, at) + 1} column {at - line_start}"


def display(value: Any) -> str:
    """A JSON value as Rust's Display prints it in error texts: no exponent."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        digits = format(Decimal(repr(value)), "f")
        return digits.removesuffix(".0")
    return orjson.dumps(value).decode()


def member_end(text: bytes, name: str) -> int:
    """How many bytes serde has read when it refuses the member `name` of the top-level object."""
    at = skip_space(text, skip_space(text, 0) + 1)
    while at < len(text) and text[at : at + 1] == b'"':
        key_end = skip_string(text, at)
        key = orjson.loads(text[at:key_end])
        at = skip_value(text, skip_space(text, skip_space(text, key_end) + 1))
        after = skip_space(text, at)
        if key == name:
            # serde also reads the closing brace when it comes next.
            return after + 1 if text[after : after + 1] == b"}" else at
        at = skip_space(text, after + 1)
    return len(text)


def skip_space(text: bytes, at: int) -> int:
    while at < len(text) and text[at] in SPACE:
        at += 1
    return at


def skip_value(text: bytes, at: int) -> int:
    """The end of the value at `at`. Raises Broken with serde's words."""
    if at >= len(text):
        raise Broken("EOF while parsing a value", len(text))
    first = text[at : at + 1]
    if first == b"{":
        return skip_object(text, at)
    if first == b"[":
        return skip_list(text, at)
    if first == b'"':
        return skip_string(text, at)
    for word in (b"true", b"false", b"null"):
        if first == word[:1]:
            for offset, letter in enumerate(word):
                if at + offset >= len(text):
                    raise Broken("EOF while parsing a value", len(text))
                if text[at + offset] != letter:
                    raise Broken("expected ident", at + offset + 1)
            return at + len(word)
    if first in NUMBER_STARTS:
        end = at + 1
        while end < len(text) and text[end] in NUMBER_BYTES:
            end += 1
        try:
            orjson.loads(text[at:end])
        except orjson.JSONDecodeError:
            raise Broken("invalid number", end) from None
        return end
    raise Broken("expected value", at + 1)


def skip_list(text: bytes, at: int) -> int:
    at = skip_space(text, at + 1)
    first = True
    while True:
        if at >= len(text):
            raise Broken("EOF while parsing a list", len(text))
        if text[at : at + 1] == b"]":
            if not first:
                raise Broken("trailing comma", at + 1)
            return at + 1
        at = skip_space(text, skip_value(text, at))
        if at >= len(text):
            raise Broken("EOF while parsing a list", len(text))
        if text[at : at + 1] == b"]":
            return at + 1
        if text[at : at + 1] != b",":
            raise Broken("expected `,` or `]`", at + 1)
        at = skip_space(text, at + 1)
        first = False


def skip_object(text: bytes, at: int) -> int:
    at = skip_space(text, at + 1)
    first = True
    while True:
        if at >= len(text):
            raise Broken("EOF while parsing an object", len(text))
        if text[at : at + 1] == b"}" and first:
            return at + 1
        if text[at : at + 1] == b"}":
            raise Broken("trailing comma", at + 1)
        if text[at : at + 1] != b'"':
            raise Broken("key must be a string", at + 1)
        at = skip_space(text, skip_string(text, at))
        if at >= len(text):
            raise Broken("EOF while parsing an object", len(text))
        if text[at : at + 1] != b":":
            raise Broken("expected `:`", at + 1)
        at = skip_space(text, skip_value(text, skip_space(text, at + 1)))
        if at >= len(text):
            raise Broken("EOF while parsing an object", len(text))
        if text[at : at + 1] == b"}":
            return at + 1
        if text[at : at + 1] != b",":
            raise Broken("expected `,` or `}`", at + 1)
        at = skip_space(text, at + 1)
        first = False


def skip_string(text: bytes, at: int) -> int:
    end = at + 1
    while end < len(text):
        if text[end] == 0x5C:
            end += 2
            continue
        if text[end] < 0x20:
            raise Broken("control character (\\u0000-\\u001F) found while parsing a string", end + 1)
        if text[end] == 0x22:
            return end + 1
        end += 1
    raise Broken("EOF while parsing a string", len(text))
