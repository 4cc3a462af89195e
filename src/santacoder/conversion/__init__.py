"""Converts published checkpoints: finds and checks their files, and maps their tensors to GGUF's.

No code in a checkpoint is run or unpickled, and only files in the named folder are read. The rules are in
docs/reference/checkpoints.md.
"""
