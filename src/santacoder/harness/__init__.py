"""Benchmark runs after the example of the bigcode harness: prompts from a file, samples, pass@k, exact match.

tasks         the benchmarks: problems, and where a sample ends
record        the samples on disk, of a finished run or one in progress
sampling_run  generating samples on this machine; `ray_cluster` does so on several
run_log       the machines and processes that worked on a run
sandbox       executing programs that can only compute
pass_at_k     scoring: correct samples, pass@k, confidence intervals
report        the results, with SantaCoder's published ones
"""
