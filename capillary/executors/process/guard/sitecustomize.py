"""Python loads this at its start: the Python processes of a guarded stage are held to the policy of that stage."""

import importlib
import os

if "CAPILLARY_POLICY" in os.environ:
    # by the name that the sandbox gives this folder
    importlib.import_module("capillary_guard.install").install(os.environ["CAPILLARY_POLICY"])
