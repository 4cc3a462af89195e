"""Reads published checkpoints: where they are, what they hold, and which tensor of ours comes from which of theirs.

Nothing of a checkpoint is run or unpickled, and every file is read in the folder that was named. The rules are in
docs/reference/checkpoints.md.
"""
