"""`capillary remote`: where `dvc push` and `dvc pull` keep data, set up and proved before anything is written."""
