"""The kinds by name, for the command line: it loads nothing else."""

import enum


class Kind(enum.StrEnum):
    """What `capillary remote setup` takes."""

    DAGSHUB = "dagshub"
    S3 = "s3"
    SSH = "ssh"
    GS = "gs"
    FOLDER = "folder"
