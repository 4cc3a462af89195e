"""Benchmark runs as the bigcode harness does them: prompts from a file, samples, pass@k, exact match.

tasks       what a benchmark asks, and where an answer ends
record      the samples on disk, whole or in the middle of a run
generation  samples from one machine's model; `ray_engine` has them from many
syscalls, sandbox, sandboxed    programs that can do nothing but compute
scoring     which samples are right, pass@k and its confidence intervals
report      the results beside SantaCoder's published ones
"""
