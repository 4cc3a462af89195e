"""Programs that nobody trusts, run apart."""
