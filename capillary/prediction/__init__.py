"""`capillary predict`: a stack that nobody labelled, through registered models. The work is stages/predict."""
