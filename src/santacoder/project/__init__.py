"""The user's own files, as texts to guess from."""
