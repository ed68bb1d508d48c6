"""Settings of the service, from the environment and .env; read once, at its start."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from stages.common.program.messages import Format, Level

THREADS = "CAPILLARY_THREADS"  # passed on to the workers, which are separate processes


class ServeSettings(BaseSettings):
    """How the service runs. Sizes are in 10⁶ bytes (mb), times in seconds (s) or hours (h).

    `model` is a reference to the registry (NAME@ALIAS), or models/ for the cards there; empty: the champion of
    capillary-default, else the cards. `open_access` lets everybody in without a token where the service listens beyond
    this machine. `urls` are the addresses that stacks may be fetched from. `threads` is how many a stack is computed
    with; None: one per core that the service may use.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_file=".env", env_ignore_empty=True, populate_by_name=True
    )

    host: str = Field(default="127.0.0.1", validation_alias="SERVE_HOST")
    port: int = Field(default=8080, ge=0, le=65535, validation_alias="SERVE_PORT")
    tokens: SecretStr = Field(default=SecretStr(""), validation_alias="CAPILLARY_SERVE_TOKENS")
    admin_tokens: SecretStr = Field(default=SecretStr(""), validation_alias="CAPILLARY_SERVE_ADMIN_TOKENS")
    open_access: bool = Field(default=False, validation_alias="CAPILLARY_SERVE_OPEN")
    model: str = Field(default="", validation_alias="CAPILLARY_SERVE_MODEL")
    folder: Path = Field(default=Path(".capillary/serve"), validation_alias="CAPILLARY_SERVE_FOLDER")
    upload_mb: float = Field(default=2000.0, gt=0, validation_alias="CAPILLARY_SERVE_UPLOAD_MB")
    at_once_mb: float = Field(default=8.0, gt=0, validation_alias="CAPILLARY_SERVE_AT_ONCE_MB")
    at_once_s: float = Field(default=60.0, gt=0, validation_alias="CAPILLARY_SERVE_AT_ONCE_S")
    queue: int = Field(default=32, ge=1, validation_alias="CAPILLARY_SERVE_QUEUE")
    jobs_per_token: int = Field(default=16, ge=1, validation_alias="CAPILLARY_SERVE_JOBS_PER_TOKEN")
    keep_h: float = Field(default=48.0, gt=0, validation_alias="CAPILLARY_SERVE_KEEP_H")
    idle_s: float = Field(default=20.0, gt=0, validation_alias="CAPILLARY_SERVE_IDLE_S")
    urls: SecretStr = Field(default=SecretStr(""), validation_alias="CAPILLARY_SERVE_URLS")
    watch_s: float = Field(default=30.0, gt=0, validation_alias="CAPILLARY_SERVE_WATCH_S")
    grace_s: float = Field(default=10.0, gt=0, validation_alias="CAPILLARY_GRACE_S")
    log_level: Level = Field(default="info", validation_alias="CAPILLARY_LOG_LEVEL")
    log_format: Format = Field(default="text", validation_alias="CAPILLARY_LOG_FORMAT")
    threads: int | None = Field(default=None, ge=1, validation_alias=THREADS)

    @property
    def upload_bytes(self) -> int:
        """The largest body of a request."""
        return int(self.upload_mb * 1e6)

    @property
    def at_once_bytes(self) -> int:
        """The largest stack that a request may wait for."""
        return int(self.at_once_mb * 1e6)


def listed(text: SecretStr) -> tuple[str, ...]:
    """The parts of a comma-separated setting."""
    return tuple(part for each in text.get_secret_value().split(",") if (part := each.strip()))
