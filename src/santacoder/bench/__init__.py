"""Benchmark of a model on this machine."""
