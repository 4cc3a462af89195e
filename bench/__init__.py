"""A package, so that another `bench` on the path is not imported instead."""
