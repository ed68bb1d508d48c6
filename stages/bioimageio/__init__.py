"""A registered network as a BioImage.IO model package (docs/export.md)."""
