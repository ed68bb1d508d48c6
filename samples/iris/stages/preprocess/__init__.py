"""Preprocess: data/valid.csv is split into data/train.csv and data/test.csv."""
