"""Many runs side by side: a grid of modes, seeds and variants, run and put into one table."""
