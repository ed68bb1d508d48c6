"""One module per format that ingest and predict read beside TIFF and NIfTI."""
