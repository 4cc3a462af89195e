"""`python -m santacoder`."""

import sys

from santacoder.cli import main

if __name__ == "__main__":
    sys.exit(main())
