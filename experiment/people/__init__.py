"""People in the game: the study page, its trials, and what they say about the acceptance rule."""
