"""How processes end: what a request to stop leads to, who gets signals, and locks that end with their holder.

Standard library alone, and nothing from elsewhere in this repository. The first process in a stage's container and the
first one in the dvc-runner carry these files along: they run where no package is installed, and must outlive what they
supervise, so nothing that a user installs or edits may keep them from starting. Nor does a stage that waits for its
lock import more than it needs.
"""
