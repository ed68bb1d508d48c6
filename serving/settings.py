"""Settings of the service, from the environment and .env; read once, at its start."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from stages.common.lifetimes.shutdown import GRACE_S
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

    host: str = Field(
        default="127.0.0.1",
        validation_alias="SERVE_HOST",
        description="where the service listens; beyond this machine only with tokens",
    )
    port: int = Field(default=8080, ge=0, le=65535, validation_alias="SERVE_PORT", description="its port")
    tokens: SecretStr = Field(
        default=SecretStr(""),
        validation_alias="CAPILLARY_SERVE_TOKENS",
        description="tokens of those who may send stacks, separated by commas",
    )
    admin_tokens: SecretStr = Field(
        default=SecretStr(""),
        validation_alias="CAPILLARY_SERVE_ADMIN_TOKENS",
        description="tokens of those who may also go back to the previous model",
    )
    open_access: bool = Field(
        default=False,
        validation_alias="CAPILLARY_SERVE_OPEN",
        description="`yes`: no token is needed, even if it listens beyond this machine",
    )
    model: str = Field(
        default="",
        validation_alias="CAPILLARY_SERVE_MODEL",
        description="`NAME`, `NAME@ALIAS` or `NAME/VERSION` in the registry, `models/`; empty: champion, else cards",
    )
    folder: Path = Field(
        default=Path(".capillary/serve"), validation_alias="CAPILLARY_SERVE_FOLDER", description="where jobs are kept"
    )
    upload_mb: float = Field(
        default=2000.0,
        gt=0,
        validation_alias="CAPILLARY_SERVE_UPLOAD_MB",
        description="the largest stack, in 10⁶ bytes",
    )
    at_once_mb: float = Field(
        default=8.0,
        gt=0,
        validation_alias="CAPILLARY_SERVE_AT_ONCE_MB",
        description="the largest stack that a request may wait for, in 10⁶ bytes",
    )
    at_once_s: float = Field(
        default=60.0, gt=0, validation_alias="CAPILLARY_SERVE_AT_ONCE_S", description="seconds that a request waits"
    )
    queue: int = Field(
        default=32, ge=1, validation_alias="CAPILLARY_SERVE_QUEUE", description="how many stacks may wait"
    )
    jobs_per_token: int = Field(
        default=16, ge=1, validation_alias="CAPILLARY_SERVE_JOBS_PER_TOKEN", description="how many of them per token"
    )
    keep_h: float = Field(
        default=48.0,
        gt=0,
        validation_alias="CAPILLARY_SERVE_KEEP_H",
        description="hours that a job is kept after it ended",
    )
    idle_s: float = Field(
        default=20.0,
        gt=0,
        validation_alias="CAPILLARY_SERVE_IDLE_S",
        description="seconds after which a silent client is cut off",
    )
    urls: SecretStr = Field(
        default=SecretStr(""),
        validation_alias="CAPILLARY_SERVE_URLS",
        description="beginnings of the addresses that stacks may be fetched from, separated by commas",
    )
    watch_s: float = Field(
        default=30.0,
        gt=0,
        validation_alias="CAPILLARY_SERVE_WATCH_S",
        description="seconds between two looks at the model's alias",
    )
    grace_s: float = Field(default=GRACE_S, gt=0, validation_alias="CAPILLARY_GRACE_S")
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
