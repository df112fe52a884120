"""Stands in for the services of a broker: `--service git-gate=stand_in_services:git_gate`, and `supervise` likewise."""

import asyncio

MEGABYTE = b"\0" * (1 << 20)


def service(name):
    def app(config, broker):
        if broker.name.endswith("-broken"):
            raise RuntimeError("as tested")

        async def asgi(scope, receive, send):
            if scope["type"] == "lifespan":
                return await lifespan(receive, send)
            assert scope["type"] == "http"
            await answer(name, broker, scope, receive, send)

        return asgi

    return app


async def lifespan(receive, send):
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": message["type"] + ".complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def answer(name, broker, scope, receive, send):
    path, size, more = scope["path"], 0, True
    await_first = path == "/slow"
    if await_first:
        await asyncio.sleep(1)
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if path == "/emit":
        broker.emit("told", service=name)
    if path == "/apply":
        number = int(scope["query_string"])
        broker.emit("apply", id=number)
        result = repr(await broker.applied(number))
    elif path == "/stage":
        broker.emit("stage", id=-11, path=scope["query_string"].decode())
        result = repr(await broker.applied(-11))
    else:
        result = f"{name} {broker.name} {scope['method']} {path} {size}\n"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if path == "/big":
        for _ in range(int(scope["query_string"])):
            await send({"type": "http.response.body", "body": MEGABYTE, "more_body": True})
        result = ""
    await send({"type": "http.response.body", "body": result.encode()})


git_gate, supervise = service("git-gate"), service("supervise")
