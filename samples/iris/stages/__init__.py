"""The stages of this pipeline, one package each, and what they share."""
