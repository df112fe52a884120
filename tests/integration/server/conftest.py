"""A Jupyter server with our extension, as pytest-jupyter starts it: in this process, behind a token."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_jupyter.jupyter_core import *  # noqa: F403 -- fixtures
from pytest_jupyter.jupyter_server import *  # noqa: F403

#: Calls the server: path, method, body, query, headers.
Call = Callable[..., "Answer"]


@dataclass(frozen=True)
class Answer:
    """What the server answered; every status is one."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@pytest.fixture
def jp_server_config(home: Path) -> Mapping[str, Any]:
    """Our extension on; its home is this test's own before it looks for the first time."""
    return {"ServerApp": {"jpserver_extensions": {"bb_jupyter.server": True}, "allow_unauthenticated_access": False}}


@pytest.fixture
def anonymous(jp_serverapp: Any, http_server_client: Any, jp_asyncio_loop: Any) -> Call:
    """Call the server without a token; a path below its root."""

    def call(path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        options = {"method": method, "body": body, "headers": headers, "raise_error": False}
        asked = http_server_client.fetch(jp_serverapp.base_url + path, **options, allow_nonstandard_methods=True)
        found = jp_asyncio_loop.run_until_complete(asked)
        return Answer(found.code, found.headers, found.body.decode())

    return call


@pytest.fixture
def call(anonymous: Call, jp_serverapp: Any) -> Call:
    """Call our API with the token."""

    def authorised(path: str, method: str = "GET", body: Any = None) -> Answer:
        text = json.dumps(body) if body is not None else None
        return anonymous(f"bb-jupyter/{path}", method, text, Authorization=f"token {jp_serverapp.token}")

    return authorised
