"""What a stage prints of the shared cache: for people to read, and for the experiment runner to tell them apart."""

FETCHED = "is in the shared cache: fetched, not computed"


def fetched(address: str) -> str:
    """Instead of computing."""
    return f"{address} {FETCHED}"


def pushed(address: str, remote: str) -> str:
    """After it computed."""
    return f"the result of {address} is in the shared cache {remote}"
