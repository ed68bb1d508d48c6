"""How often kills and rounds are repeated: once of each kind in every run of the tests, for hours by hand.

So are trainings and places of which one or two show in every run what all of them promise.
"""

import os

BY_HAND = os.environ.get("CAPILLARY_TEST_CHAOS") == "1"  # ./just test-chaos


def rounds(usual: int, by_hand: int) -> int:
    """`usual`, or `by_hand` under `./just test-chaos`."""
    return by_hand if BY_HAND else usual
