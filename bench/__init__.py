"""A package, so that no other `bench` on the path is taken for it."""
