"""For every tier."""

import os

# projects that tests make have none of this repository's settings: DVC would report home from each command in them
os.environ["DVC_NO_ANALYTICS"] = "1"
