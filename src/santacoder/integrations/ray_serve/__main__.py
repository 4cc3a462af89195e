"""Runs the command."""

import sys

from santacoder.integrations.ray_serve.command import main

sys.exit(main(sys.argv[1:]))
