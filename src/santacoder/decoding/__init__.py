"""From logits to the tokens and the text of one sequence."""
