"""Finds model files: on the hub, in the package, or at a path."""
