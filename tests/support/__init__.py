"""Help that tests of several tiers share."""
