"""Stages in images of Apptainer, which clusters have where no daemon may run."""
