"""``python -m bb_jupyter.gateway``: the gateway of one bottle."""

import sys

from bb_jupyter.gateway.process import main

sys.exit(main())
