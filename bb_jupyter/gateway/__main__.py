"""``python -m bb_jupyter.gateway``: the gateway of one bottle."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_system_cas() -> Iterator[None]:
    """Spare aiohttp, while it is imported, the reading of system CAs for contexts never used here: 50 ms."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


if __name__ == "__main__":
    with _no_system_cas():
        from bb_jupyter.gateway.process import main
    sys.exit(main())
