"""How signs are agreed on and parameters learned: proposals, the MH game, starts, SVI and the rounds of both."""
