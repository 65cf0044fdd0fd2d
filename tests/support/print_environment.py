"""Stands in for a worker: prints its environment and fails."""

import os
import sys

sys.exit(str(dict(os.environ)))
