"""`capillary predict --blocks`: one stack in blocks, on this machine or spread over a place (docs/predict.md)."""
