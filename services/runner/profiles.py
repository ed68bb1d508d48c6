"""AWS profiles in the container dvc-runner, from variables that name what their keys are for.

Standard library alone.
"""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

# AWS profile → how the variables begin that it is made from
PROFILES = {"team": "S3_", "remote": "REMOTE_AWS_", "default": "SOURCE_AWS_"}
REMOTES = ("S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "REMOTE_AWS_")
# the rest of a variable's name → the setting of a profile
OPTIONS = {
    "ACCESS_KEY_ID": "aws_access_key_id",
    "SECRET_ACCESS_KEY": "aws_secret_access_key",
    "SESSION_TOKEN": "aws_session_token",
    "DEFAULT_REGION": "region",
    "ENDPOINT_URL": "endpoint_url",
}
KEYS = {"aws_access_key_id", "aws_secret_access_key"}
SECRETS = KEYS | {"aws_session_token"}


def keep_profiles(home: Path) -> None:
    """Put keys into AWS profiles of this container, each under the purpose that it serves.

    As AWS_* variables they would reach each stage that may read from S3, and hide the user's own keys from it. DVC
    takes the source's keys from the profile `default`, to see whether the source has changed; the stage that reads the
    source is handed them by the launcher. Those of remotes leave the environment: no process but DVC needs them.
    """
    found = {profile: settings_of(start, os.environ) for profile, start in PROFILES.items()}
    for name in [name for name in os.environ if name.startswith(REMOTES)]:
        del os.environ[name]
    profiles = {profile: settings for profile, settings in found.items() if settings.keys() >= KEYS}
    if not profiles:
        return
    folder = home / ".aws"
    folder.mkdir(mode=0o700, exist_ok=True)
    credentials = folder / "credentials"
    credentials.touch(mode=0o600)
    credentials.write_text("".join(section(name, only(each, SECRETS)) for name, each in profiles.items()))
    rest = {name: {"region": "us-east-1", **without(each, SECRETS)} for name, each in profiles.items()}
    heads = {name: name if name == "default" else f"profile {name}" for name in profiles}
    (folder / "config").write_text("".join(section(heads[name], each) for name, each in rest.items()))


def settings_of(start: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The settings of a profile whose variables begin with `start`; empty ones are unset."""
    given = {option: variables.get(start + name, "") for name, option in OPTIONS.items()}
    return {option: value for option, value in given.items() if value}


def section(head: str, settings: Mapping[str, str]) -> str:
    """A section of one of AWS's files."""
    return "\n".join([f"[{head}]", *(f"{option} = {value}" for option, value in settings.items()), ""])


def only(settings: Mapping[str, str], options: Collection[str]) -> dict[str, str]:
    """Those of `settings` that are among `options`."""
    return {option: value for option, value in settings.items() if option in options}


def without(settings: Mapping[str, str], options: Collection[str]) -> dict[str, str]:
    """Those of `settings` that are not among `options`."""
    return {option: value for option, value in settings.items() if option not in options}
