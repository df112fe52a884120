"""The suite that authors of backends get (`bb_jupyter.testing.BACKEND_CHECKS`), on every backend of ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.testing import BACKEND_CHECKS


@pytest.mark.parametrize("check", BACKEND_CHECKS, ids=lambda check: check.__name__)
def test_promise(bottle: BottleHandle, check: Callable[[BottleHandle], None]) -> None:
    check(bottle)
