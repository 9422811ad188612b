"""Run the command line from a checkout: `python cli.py COMMAND`. The commands are in mhng/cli.py."""

import sys

from mhng.cli import main

if __name__ == "__main__":
    sys.exit(main(program="cli.py"))
