"""The checks that `capillary preflight` and the gate share, what they are called and where each is made."""
