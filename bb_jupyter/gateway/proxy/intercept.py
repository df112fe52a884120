"""Intercepted requests: each is judged, given its credential and forwarded, and the answer is streamed back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from bb_jupyter.gateway.proxy.flows import Flow
from bb_jupyter.gateway.proxy.headers import refuse_overrides, to_client, to_upstream
from bb_jupyter.gateway.proxy.proxy_state import Origin, ProxyState
from bb_jupyter.gateway.proxy.redact import MaskedStream, Masker
from bb_jupyter.gateway.proxy.upstream import UpstreamFailed, describe
from bb_jupyter.gateway.proxy.websocket import bridge
from bb_jupyter.policy import Denied
from bb_jupyter.policy.hosts import parse_authority
from bb_jupyter.policy.matcher import Policy, refuse_git
from bb_jupyter.policy.routes import RouteConfig

# An allowed server answers in one of these if it ignores `Accept-Encoding: identity`; aiohttp can undo them.
_DECODABLE = ("gzip", "deflate")
# A server may ignore the body of one of these (RFC 9110, 9.3.1) and take it for a further, unjudged request.
# So the connection must end after it.
_WITHOUT_BODY = ("DELETE", "GET", "HEAD", "OPTIONS")


async def serve(state: ProxyState, request: web.BaseRequest, origin: Origin, target: str) -> web.StreamResponse:
    """Answer one request for *origin*.

    Args:
        state: the proxy's.
        request: as parsed by aiohttp.
        origin: where the connection (CONNECT and TLS name) or the absolute URL points.
        target: raw request target in origin form.

    Returns:
        The server's answer, a refusal, or 502.
    """
    await state.events.ready()
    facts = {**origin.facts(), "method": request.method, "path": target.partition("?")[0]}
    try:
        route = _judge(state.policy, request, origin, target)
        return await _forward(state, request, route, origin, target, facts)
    except Denied as denied:
        return state.refuse(denied, **facts)
    except UpstreamFailed as failure:
        return state.failed(str(failure), **facts)


def _judge(policy: Policy, request: web.BaseRequest, origin: Origin, target: str) -> RouteConfig:
    """Return the route that allows a request, or raise Denied."""
    route = policy.request(origin.scheme, origin.host, origin.port, request.method, target)
    default = 443 if origin.scheme == "https" else 80
    if parse_authority(request.headers.get("Host", ""), default) != (origin.host, origin.port):
        raise Denied("host-mismatch", f"the Host header does not name {origin.host}, where this connection leads")
    refuse_overrides(request.headers, target.partition("?")[2], route)
    refuse_git(target, request.headers.get("Content-Type", ""))
    return route


async def _forward(
    state: ProxyState,
    request: web.BaseRequest,
    route: RouteConfig,
    origin: Origin,
    target: str,
    facts: dict[str, object],
) -> web.StreamResponse:
    """Pass an allowed request on, as a flow that a later policy can end."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - aiohttp runs handlers in tasks; for the type checker

    def allowed(policy: Policy) -> bool:
        try:
            return policy.request(origin.scheme, origin.host, origin.port, request.method, target).auth == route.auth
        except Denied:
            return False

    more = {"mode": "intercept", "rule": route.label, "injected": True if route.auth else None}
    with state.flows.open(allowed, task.cancel, **facts, **more) as flow:
        facts["flow"] = flow.number  # joins a later refusal or failure to this flow
        try:
            if _is_websocket(request):
                return await bridge(state, request, route, origin, target, flow)
            return await _exchange(state, request, route, origin, target, flow)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            flow.error = flow.error or describe(error)
            if request.writer.output_size > 0:
                raise ConnectionResetError("the answer ended early") from None
            raise UpstreamFailed(f"{origin}: {describe(error)}") from None


def _is_websocket(request: web.BaseRequest) -> bool:
    """Say whether the request asks for a WebSocket; any other upgrade is ignored, as RFC 9110, 7.8 lets a proxy do."""
    return request.method == "GET" and request.headers.get("Upgrade", "").strip().lower() == "websocket"


async def _body(request: web.BaseRequest, flow: Flow) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_any():
        flow.sent(len(chunk))
        yield chunk


async def _exchange(
    state: ProxyState, request: web.BaseRequest, route: RouteConfig, origin: Origin, target: str, flow: Flow
) -> web.StreamResponse:
    """Send the request, stream the answer."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # an interim answer: the real one may still be an error of ours
    masker = state.masker_for(origin.host)
    headers = to_upstream(request.headers, route, masked=masker is not None)
    if request.body_exists and request.method in _WITHOUT_BODY:
        headers["Connection"] = "close"
    async with state.upstreams.session(route).request(
        request.method,
        origin.url(target),
        headers=headers,
        data=_body(request, flow) if request.body_exists else None,
        allow_redirects=False,
        auto_decompress=masker is not None,
    ) as answer:
        flow.status = answer.status
        if answer.status < 200:
            raise UpstreamFailed(f"{origin}: it changed the protocol, which nobody asked for")
        if masker is not None and not _can_be_masked(answer):
            raise UpstreamFailed(f"{origin}: it answered in an encoding that was not asked for")
        return await _reply(request, route, answer, flow, masker)


def _encoding(answer: aiohttp.ClientResponse) -> str:
    return ",".join(answer.headers.getall("Content-Encoding", ())).strip().lower()


def _can_be_masked(answer: aiohttp.ClientResponse) -> bool:
    """Say whether a body comes as it is, or in an encoding that has been undone."""
    transfer = ",".join(answer.headers.getall("Transfer-Encoding", ())).strip().lower()
    return transfer in ("", "chunked") and _encoding(answer) in ("", "identity", *_DECODABLE)


async def _reply(
    request: web.BaseRequest, route: RouteConfig, answer: aiohttp.ClientResponse, flow: Flow, masker: Masker | None
) -> web.StreamResponse:
    """Stream a server's answer to the client, masked where its host is given a credential."""
    decoded = masker is not None and _encoding(answer) in _DECODABLE
    drop: tuple[str, ...] = ("content-encoding", "content-length") if decoded else ()
    if "Transfer-Encoding" in answer.headers:
        drop = (*drop, "content-length")  # RFC 9112, 6.3: Transfer-Encoding overrides the length
    reason = (masker.mask_text(answer.reason or "") if masker else answer.reason) or ""
    headers = to_client(answer.headers, route, masker, drop=drop)
    if answer.content.is_eof() and request.method != "HEAD" and answer.status not in (204, 304):
        body = await answer.read()  # a small answer that has arrived whole goes out in one piece
        flow.received(len(body))
        return web.Response(
            status=answer.status, reason=reason, headers=headers, body=masker.mask(body) if masker else body
        )
    reply = web.StreamResponse(status=answer.status, reason=reason, headers=headers)
    await reply.prepare(request)
    masked = MaskedStream(masker) if masker else None
    async for chunk in answer.content.iter_any():
        flow.received(len(chunk))
        passed = masked.feed(chunk) if masked else chunk
        if passed:
            await reply.write(passed)
    if masked and (rest := masked.finish()):
        await reply.write(rest)
    await reply.write_eof()
    return reply
