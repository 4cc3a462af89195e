"""How probable a text is."""
