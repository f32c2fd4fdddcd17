"""All collections and the aliases that stand for them."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import grpc

from .collection import Collection
from .config import Config
from .errors import QdrantError, collection_exists, collection_not_found, format_error, invalid, wrong_input

# Characters that a file system refuses in a name; the collection's name is one.
FORBIDDEN = '<>:"/\\|?*\0\x1f'
MAX_NAME = 255


def check_name(name: str) -> None:
    if not name or len(name) > MAX_NAME:
        text = f"value {name!r} invalid, must be from 1 to {MAX_NAME} characters"
        raise invalid("collection_name", text, "path parameters")
    for character in name:
        if character in FORBIDDEN:
            text = f'collection name cannot contain "{character}" char'
            raise invalid("collection_name", text, "path parameters")


class Registry:
    """Safe to use from any thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.collections: dict[str, Collection] = {}
        self.aliases: dict[str, str] = {}
        self.made = 0
        self.lock = threading.RLock()

    def get(self, name: str) -> Collection:
        """The collection of that name or alias."""
        found = self.collections.get(self.aliases.get(name, name))
        if found is None:
            raise collection_not_found(name)
        return found

    def exists(self, name: str) -> bool:
        return self.aliases.get(name, name) in self.collections

    def create(self, name: str, config: Config) -> None:
        with self.lock:
            if name in self.collections:
                raise collection_exists(name)
            if name in self.aliases:
                raise wrong_input(f"Can't create collection with name {name}. Alias with the same name already exists")
            self.made += 1
            directory = self.directory / f"collection-{self.made}"
            directory.mkdir(parents=True)
            self.collections[name] = Collection(name, config, directory)

    def delete(self, name: str) -> bool:
        """False when there is none: Qdrant does not call that an error. Its aliases go with it."""
        with self.lock:
            name = self.aliases.get(name, name)
            collection = self.collections.pop(name, None)
            if collection is None:
                return False
            self.aliases = {alias: of for alias, of in self.aliases.items() if of != name}
        collection.close()
        shutil.rmtree(collection.directory, ignore_errors=True)
        return True

    def change_aliases(self, actions: Any) -> None:
        """Seen at once, but not all or none: those before one that is refused stay (TableOfContent::update_aliases in Qdrant's source)."""
        with self.lock:
            changed = dict(self.aliases)
            try:
                for action in actions:
                    self.change_alias(changed, action)
            finally:
                self.aliases = changed

    def change_alias(self, aliases: dict[str, str], action: Any) -> None:
        match action:
            case {"create_alias": {"collection_name": str(collection), "alias_name": str(alias)}}:
                if collection not in self.collections:
                    raise collection_not_found(collection)
                if alias in self.collections:
                    raise collection_exists(alias)
                aliases[alias] = collection
            case {"delete_alias": {"alias_name": str(alias)}}:
                aliases.pop(alias, None)
            case {"rename_alias": {"old_alias_name": str(old), "new_alias_name": str(new)}}:
                if old not in aliases:
                    raise alias_not_found(old)
                if new in self.collections:
                    raise collection_exists(new)
                aliases[new] = aliases.pop(old)
            case _:
                raise format_error("data did not match any variant of untagged enum AliasOperations")

    def list_aliases(self, collection: str | None = None) -> list[dict[str, str]]:
        if collection is not None:
            collection = self.get(collection).name
        return [
            {"alias_name": alias, "collection_name": of}
            for alias, of in sorted(self.aliases.items())
            if collection in (None, of)
        ]


def alias_not_found(name: str) -> QdrantError:
    return QdrantError(404, grpc.StatusCode.NOT_FOUND, f"Not found: Alias {name} does not exists!")
