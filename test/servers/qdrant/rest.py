"""Qdrant's REST: routes, API keys, the limit on a request, and the frame around each answer."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import orjson
from aiohttp import web

from . import operations as o
from . import snapshots
from .documented import Documented, thinned
from .errors import QdrantError, bad_request
from .faults import Faults
from .registry import Registry
from .serde import dump

VERSION = "1.18.3"
COMMIT = "db8fa43fcb6aedec1e739487e17a99731b74590a"
# service.max_request_size_mb of Qdrant's default configuration.
MAX_REQUEST_BYTES = 32 * 1024 * 1024
OPEN_PATHS = {"/", "/healthz", "/livez", "/readyz"}
TEXTS = {"/healthz": "healthz check passed", "/livez": "healthz check passed", "/readyz": "all shards are ready"}
THREADS = 16

ROUTES: list[tuple[str, str, Callable[[o.Call], Any]]] = [
    ("GET", "/collections", o.list_collections),
    ("POST", "/collections/aliases", o.change_aliases),
    ("GET", "/aliases", o.list_aliases),
    ("GET", "/collections/{name}", o.describe_collection),
    ("PUT", "/collections/{name}", o.create_collection),
    ("PATCH", "/collections/{name}", o.update_collection),
    ("DELETE", "/collections/{name}", o.delete_collection),
    ("GET", "/collections/{name}/exists", o.collection_exists),
    ("GET", "/collections/{name}/optimizations", o.optimizations),
    ("GET", "/collections/{name}/aliases", o.list_aliases),
    ("PUT", "/collections/{name}/index", o.create_index),
    ("DELETE", "/collections/{name}/index/{field}", o.delete_index),
    ("PUT", "/collections/{name}/points", o.upsert_points),
    ("POST", "/collections/{name}/points", o.retrieve),
    ("GET", "/collections/{name}/points/{id}", o.retrieve_one),
    ("POST", "/collections/{name}/points/delete", o.delete_points),
    ("PUT", "/collections/{name}/points/vectors", o.update_vectors),
    ("POST", "/collections/{name}/points/vectors/delete", o.delete_vectors),
    ("POST", "/collections/{name}/points/payload", o.set_payload),
    ("PUT", "/collections/{name}/points/payload", o.overwrite_payload),
    ("POST", "/collections/{name}/points/payload/delete", o.delete_payload),
    ("POST", "/collections/{name}/points/payload/clear", o.clear_payload),
    ("POST", "/collections/{name}/points/scroll", o.scroll),
    ("POST", "/collections/{name}/points/count", o.count),
    ("POST", "/collections/{name}/points/query", o.query),
    ("POST", "/collections/{name}/points/query/batch", o.query_batch),
    ("POST", "/collections/{name}/facet", o.facet),
    ("POST", "/collections/{name}/snapshots", snapshots.create),
    ("GET", "/collections/{name}/snapshots", snapshots.listed),
    ("DELETE", "/collections/{name}/snapshots/{snapshot}", snapshots.delete),
    ("GET", "/cluster", lambda _: {"status": "disabled"}),
]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Rest:
    """The application; `start` serves it."""

    def __init__(self, registry: Registry, faults: Faults, api_key: str | None) -> None:
        self.registry = registry
        self.faults = faults
        self.api_key = api_key
        self.documented = Documented()
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="rest")

    async def start(self, host: str, port: int) -> web.AppRunner:
        app = web.Application(middlewares=[self.guard], client_max_size=0)
        for method, path, operation in ROUTES:
            app.router.add_route(method, path, self.handler(operation))
        app.router.add_post("/collections/{name}/snapshots/upload", self.recover)
        app.router.add_get("/collections/{name}/snapshots/{snapshot}", self.download)
        app.router.add_get("/", self.root)
        for path, text in TEXTS.items():
            app.router.add_get(path, self.text(text))
        app.router.add_route("*", "/_test/faults", self.change_faults)
        app.on_response_prepare.append(drop_made_up_type)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        return runner

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Faults first, then the key, then the route.

        A path that Qdrant does not have is answered 400, where the real one says 404: that may be taken for a thing that is not there.
        """
        if request.path.startswith("/_test/"):
            return await handler(request)
        fault = self.faults.take("rest", f"{request.method} {request.path}")
        if fault is not None:
            await asyncio.sleep(fault.delayMs / 1000)
            if fault.status is not None:
                headers = {} if fault.retryAfter is None else {"Retry-After": f"{fault.retryAfter:g}"}
                return answer({"status": {"error": fault.words()}, "time": 0.0}, fault.status, headers)
        if self.api_key is not None and request.path not in OPEN_PATHS:
            refusal = check_key(request.headers, self.api_key)
            if refusal is not None:
                return web.Response(status=401, body=refusal.encode())
        resource = request.match_info.route.resource
        path = request.path if resource is None else resource.canonical
        problem = self.documented.problem(request.method, path, dict(request.query), None)
        if problem is not None:
            return refuse(problem)
        return await handler(request)

    def handler(self, operation: Callable[[o.Call], Any]) -> Handler:
        def run(call: o.Call, method: str, path: str) -> bytes:
            started = time.perf_counter()
            result = operation(call)
            # After it: what Qdrant itself refuses is refused in its words.
            problem = self.documented.problem(method, path, {}, thinned(call.text, call.parsed))
            if problem is not None:
                raise bad_request(problem)
            return dump({"result": result, "status": "ok", "time": time.perf_counter() - started})

        async def handle(request: web.Request) -> web.StreamResponse:
            started = time.perf_counter()
            try:
                call = o.Call(self.registry, dict(request.match_info), dict(request.query), await read(request))
                path = request.match_info.route.resource.canonical
                made = await asyncio.get_running_loop().run_in_executor(self.threads, run, call, request.method, path)
                return web.Response(body=made, content_type="application/json")
            except QdrantError as error:
                return answer({"status": {"error": error.text}, "time": time.perf_counter() - started}, error.status)
            except Exception as error:  # A defect of the front: say so as the server would.
                text = f"Service internal error: {type(error).__name__}: {error}"
                return answer({"status": {"error": text}, "time": 0.0}, 500)

        return handle

    async def download(self, request: web.Request) -> web.StreamResponse:
        try:
            found = snapshots.find(self.registry, request.match_info["name"], request.match_info["snapshot"])
        except QdrantError as error:
            return answer({"status": {"error": error.text}, "time": 0.0}, error.status)
        return web.FileResponse(found)

    async def recover(self, request: web.Request) -> web.StreamResponse:
        """Multipart, of any size: the part `snapshot` is the file."""
        name, query = request.match_info["name"], dict(request.query)
        filename = "upload.snapshot"
        with tempfile.NamedTemporaryFile(suffix=".snapshot") as file:
            async for part in await request.multipart():
                if part.name == "snapshot":
                    filename = part.filename or filename
                    while chunk := await part.read_chunk(1 << 20):
                        file.write(chunk)
            file.flush()
            try:
                snapshots.keep(self.registry, name, filename, Path(file.name))
                take = (snapshots.recover, self.registry, name, query, Path(file.name))
                done = await asyncio.get_running_loop().run_in_executor(self.threads, *take)
            except QdrantError as error:
                return answer({"status": {"error": error.text}, "time": 0.0}, error.status)
        return answer({"result": done, "status": "ok", "time": 0.0})

    async def root(self, _: web.Request) -> web.StreamResponse:
        return answer({"title": "qdrant - vector search engine", "version": VERSION, "commit": COMMIT})

    def text(self, text: str) -> Handler:
        async def handle(_: web.Request) -> web.StreamResponse:
            return web.Response(text=text)

        return handle

    async def change_faults(self, request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            try:
                self.faults.add(orjson.loads(await request.content.read()))
            except (TypeError, orjson.JSONDecodeError) as error:
                return answer({"error": str(error)}, 400)
        elif request.method == "DELETE":
            self.faults.clear()
        return answer({"faults": self.faults.list()})


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=dump(value), status=status, content_type="application/json", headers=headers)


def refuse(problem: str) -> web.Response:
    return answer({"status": {"error": f"Bad request: {problem}"}, "time": 0.0}, 400)


def check_key(headers: Any, api_key: str) -> str | None:
    """What is wrong with the request's key; None when it is right."""
    given = headers.get("api-key")
    bearer = headers.get("authorization", "")
    if given is None and bearer.startswith("Bearer "):
        given = bearer.removeprefix("Bearer ")
    if given is None:
        return "Must provide an API key or an Authorization bearer token"
    return None if given == api_key else "Invalid API key or JWT"


async def read(request: web.Request) -> bytes:
    """The body. One that is too large is read to its end, so that the client gets the answer, and refused."""
    length = 0
    chunks: list[bytes] = []
    async for chunk in request.content.iter_any():
        length += len(chunk)
        if length <= MAX_REQUEST_BYTES:
            chunks.append(chunk)
    if length > MAX_REQUEST_BYTES:
        text = f"JSON payload ({length} bytes) is larger than allowed (limit: {MAX_REQUEST_BYTES} bytes)."
        raise QdrantError(400, grpc.StatusCode.INVALID_ARGUMENT, text)
    return b"".join(chunks)


async def drop_made_up_type(_: web.Request, response: web.StreamResponse) -> None:
    """aiohttp says octet-stream where no type was given; Qdrant says nothing."""
    if response.headers.get("Content-Type") == "application/octet-stream":
        del response.headers["Content-Type"]
