"""What the agents of a trained run mean by their signs: naming, recall, and who judges them."""
