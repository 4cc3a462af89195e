"""Benchmark runs as the bigcode harness does them: prompts from a file, samples, pass@k, exact match.

tasks         what a benchmark asks, and where an answer ends
record        the samples on disk, whole or in the middle of a run
sampling_run  samples from one machine's model; `ray_cluster` has them from many
run_log       which machines and processes worked on a run
sandbox       programs that can do nothing but compute
pass_at_k     which samples are right, pass@k and its confidence intervals
report        the results beside SantaCoder's published ones
"""
