"""``python -m bb_jupyter.gateway``: the gateway of one bottle."""

from __future__ import annotations

import sys

from bb_jupyter.gateway.gateway_process import main

if __name__ == "__main__":
    sys.exit(main())
