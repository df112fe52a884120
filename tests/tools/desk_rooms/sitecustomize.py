"""Stands in for the rooms of every desk whose PYTHONPATH names this folder."""

import asyncio
import sys
import types

MEGABYTE = b"\0" * (1 << 20)


def room(name):
    def app(config, desk):
        if desk.name.endswith("-broken"):
            raise RuntimeError("as tested")

        async def asgi(scope, receive, send):
            if scope["type"] == "lifespan":
                return await lifespan(receive, send)
            assert scope["type"] == "http"
            await answer(name, desk, scope, receive, send)

        return asgi

    return app


async def lifespan(receive, send):
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": message["type"] + ".complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def answer(name, desk, scope, receive, send):
    path, size, more = scope["path"], 0, True
    await_first = path == "/slow"
    if await_first:
        await asyncio.sleep(1)
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if path == "/emit":
        desk.emit("told", room=name)
    if path == "/apply":
        number = int(scope["query_string"])
        desk.emit("apply", id=number)
        result = repr(await desk.applied(number))
    elif path == "/stage":
        desk.emit("stage", id=-11, path=scope["query_string"].decode())
        result = repr(await desk.applied(-11))
    else:
        result = f"{name} {desk.name} {scope['method']} {path} {size}\n"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if path == "/big":
        for _ in range(int(scope["query_string"])):
            await send({"type": "http.response.body", "body": MEGABYTE, "more_body": True})
        result = ""
    await send({"type": "http.response.body", "body": result.encode()})


if "bb_jupyter.gateway.desk" in sys.orig_argv:
    for module, name in (("git", "git-gate"), ("desk.supervise", "supervise")):
        full = f"bb_jupyter.gateway.{module}"
        sys.modules[full] = types.ModuleType(full)
        sys.modules[full].app = room(name)
