"""Many sequences at once, and what they share: steps, prefixes, sessions."""
