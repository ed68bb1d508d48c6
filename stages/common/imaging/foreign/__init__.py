"""One module per format that ingest and predict read besides TIFF and NIfTI."""
