"""Run the command line as `python -m mhng COMMAND`."""

import sys

from mhng.cli import main

sys.exit(main())
