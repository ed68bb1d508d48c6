"""The stage behind `capillary predict`: a stack that nobody labelled → its mask (docs/predict.md)."""
