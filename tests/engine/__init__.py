"""A Docker engine for the tests: the one this machine has, or a private one that lives as long as the run.

`python -m tests.engine run COMMAND...` runs a command with `DOCKER_HOST`, `BB_TEST_BASE_IMAGE` and
`BB_TEST_BUSYBOX_IMAGE` set.  Nothing is pulled where a root file system can be made locally.
"""

from tests.engine.errors import EngineError

__all__ = ["EngineError"]
