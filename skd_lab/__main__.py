"""python -m skd_lab: the command line."""

import sys

from skd_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
