"""What the host hands to a stage: one frozen value, written as order.json next to the stage's params.yaml.

The one place where a stage reads that file, and the one where it reads environment variables. Only secrets, addresses
and what libraries read themselves are variables; a stage that is started by hand without the file has the defaults.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from stages.common.errors import ParamsError
from stages.common.params import nearest
from stages.common.program.messages import Format, Level

ORDER_FILE = Path("order.json")
BY_HAND = "by-hand"
# auto: a server may be missing; offline: none is asked; required: nothing begins or ends well without one
TrackingMode = Literal["auto", "offline", "required"]

_STRICT = ConfigDict(extra="forbid", strict=True)
_Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _cores() -> int:
    return os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Compute:
    """How to compute, as the hardware profile says (docs/compute.md). It decides how fast a result comes, never which.

    `device` is auto or cpu. `micro_batch` is how many patches go through the network at a time, None: the most that
    fit. `amp` and `compile` allow what they name, where it pays. `cache` is map or memory. `processes` is on how many
    of them one training runs, in equal numbers on each of `nodes` machines, `workers` how many processes or loader
    workers to use, and `threads` how many threads per process may use.
    """

    profile: str = BY_HAND
    device: Literal["auto", "cpu"] = "auto"
    micro_batch: PositiveInt | None = None
    workers: PositiveInt = dataclasses.field(default_factory=_cores)
    threads: PositiveInt = dataclasses.field(default_factory=_cores)
    amp: bool = True
    cache: Literal["map", "memory"] = "map"
    compile: bool = False
    processes: PositiveInt = 1
    nodes: PositiveInt = 1


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Rendezvous:
    """Where the launchers of a training on several nodes meet: `host` and `port` are those of node 0, which leads.

    `node` is the number of this node. `interface` is the network interface by which it reaches the others, None where
    libraries choose one themselves.
    """

    node: NonNegativeInt
    host: str
    port: PositiveInt
    interface: str | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Monitoring:
    """Seconds between samples of the load; resident memory (GB, 10⁹ bytes) that stops the stage. None: never."""

    interval_s: _Amount | None = 10.0
    memory_abort_gb: _Amount | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Messages:
    """What the stage tells the user while it works: from which level on, and in which format."""

    level: Level = "info"
    form: Format = "text"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Need:
    """What a run needs of a machine, in GB (10⁹ bytes), 0 where nothing is known. `why` says what it follows from.

    `ram_gb` and `shared_memory_gb` are for everything that runs at a time, `gpu_gb` for one GPU, the others are what a
    run adds to a disk.
    """

    ram_gb: NonNegativeFloat = 0.0
    shared_memory_gb: NonNegativeFloat = 0.0
    gpu_gb: NonNegativeFloat = 0.0
    workspace_gb: NonNegativeFloat = 0.0
    cache_gb: NonNegativeFloat = 0.0
    runs_gb: NonNegativeFloat = 0.0
    docker_gb: NonNegativeFloat = 0.0
    why: str = ""

    def least(self, floor_gb: float, name: str) -> tuple[float, str]:
        """(the larger of `floor_gb` and the need called `name`, where it is from) for a check."""
        need_gb: float = getattr(self, name)
        return (need_gb, self.why) if need_gb > floor_gb else (floor_gb, "")


NOTHING_KNOWN = Need()


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class GateOrder:
    """What a gate is told of the stage of the entry `gated` (`train@dice_ce-0`), before which it runs.

    `torch_cuda` is the CUDA of the torch in that stage's image (`cpu` without), None if the stage is not a container.
    `tracking` is the stage's.
    """

    gated: str = BY_HAND
    gpu: Literal["none", "auto", "required"] = "auto"
    place: Literal["process", "container"] = "process"
    torch_cuda: str | None = None
    tracking: TrackingMode = "auto"
    need: Need = NOTHING_KNOWN

    @property
    def in_container(self) -> bool:
        """Whether the stage, and so the gate, is a container."""
        return self.place == "container"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SourceData:
    """What ingest read, as DVC recorded it: `bytes` and `files` are None if DVC does not count them."""

    path: str
    hash_name: str
    hash: str
    bytes: NonNegativeInt | None = None
    files: NonNegativeInt | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Provenance:
    """Where code, data and packages of a run come from, as the host knows it. It decides no result and no fingerprint.

    `commit` is None without Git. `prefix` is the project's folder in its Git repository, empty at the top. `changed`
    are files that differ from the commit, apart from params.yaml and dvc.lock, which are kept whole. `diff` says what
    became of their changes; `diff_sha256` is that of the diff as it is kept. `data` has DVC's hash of each dep that is
    not code. `folder` holds the files: changes.diff, params.yaml, dvc.lock.
    """

    commit: str | None = None
    remote: str | None = None
    prefix: str = ""
    changed: tuple[str, ...] = ()
    changed_count: NonNegativeInt = 0
    diff: Literal["none", "whole", "masked", "incomplete", "too large"] = "none"
    diff_bytes: NonNegativeInt = 0
    diff_sha256: str | None = None
    source: SourceData | None = None
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)
    environment: tuple[str, ...] = ()
    tools: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folder: Path | None = None

    @property
    def dirty(self) -> bool:
        """Whether the workspace differed from the commit."""
        return self.changed_count > 0


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class StageOrder:
    """One run of one stage, as the launcher planned it. It holds no secret: order.json is a plain file.

    `stage` is the entry's address. `state_dir` outlives a killed run and is keyed by `fingerprint`. `artifact_root` is
    set in embedded mode only, where no server chooses the place of artifacts. `cache_dir` is DVC's cache, to which deps
    may be links. `tracking` says whether a server may be missing (CAPILLARY_TRACKING); `outbox` holds what waits for
    one, `receipts` which runs and versions trainings became. `downloads` keeps what ingest downloaded. `gate` is set
    for a gate alone. `registered_model` is where evaluate registers trainings; one of a `rehearsal` never becomes the
    champion. `rendezvous` is set by each of several nodes that share a training.
    """

    version: Literal[1] = 1
    stage: str = BY_HAND
    fingerprint: str = BY_HAND
    data_fingerprint: str = BY_HAND
    code_fingerprint: str = BY_HAND
    state_dir: Path = Path(".capillary", "state", BY_HAND)
    cache_dir: Path | None = None
    artifact_root: str | None = None
    experiment_name: str | None = None
    tracking: TrackingMode = "auto"
    outbox: Path = Path(".capillary", "outbox")
    receipts: Path = Path(".capillary", "receipts")
    downloads: Path = Path(".capillary", "downloads")
    registered_model: str = "capillary-default"
    rehearsal: bool = False
    compute: Compute = dataclasses.field(default_factory=Compute)
    monitoring: Monitoring = Monitoring()
    messages: Messages = Messages()
    gate: GateOrder | None = None
    rendezvous: Rendezvous | None = None
    provenance: Provenance | None = None  # of stages that track their runs
    request: Mapping[str, Any] | None = None  # what a person asked of predict or report, in the form of their models

    @property
    def workers(self) -> int:
        """How many processes or loader workers to use."""
        return self.compute.workers

    @property
    def threads(self) -> int:
        """How many threads per process may use."""
        return self.compute.threads


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Runtime(StageOrder):
    """A stage's order, and the address of its tracking server, which may hold a password and is a variable."""

    tracking_uri: str

    @property
    def is_embedded(self) -> bool:
        """Whether runs are kept in a file of this project."""
        return self.tracking_uri.startswith("sqlite:///")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class HubLogin:
    """The address of a Hugging Face Hub, and the token to send there."""

    endpoint: str = "https://huggingface.co"
    token: str | None = Field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class GateRuntime(GateOrder):
    """A gate's part of the order, and what it looks at besides.

    `store` is the folder of the embedded MLflow store, None if a server keeps runs. `variables` are all that the
    gate is given, which are those of the gated stage.
    """

    store: Path | None
    variables: Mapping[str, str]


Asked = TypeVar("Asked")
_FORMAT = TypeAdapter(StageOrder)
_PARTS = (StageOrder, Compute, Rendezvous, Monitoring, Messages, GateOrder, Need, Provenance, SourceData)
_KEYS = [key.name for part in _PARTS for key in dataclasses.fields(part)]


def order_json(order: StageOrder) -> bytes:
    """The content of order.json."""
    return _FORMAT.dump_json(order, indent=2) + b"\n"


def read_order(file: Path = ORDER_FILE) -> StageOrder:
    """The order in `file`; every default if there is no such file.

    Raises ParamsError for a file that cannot be read, has an unknown key or a value that is not of the key's type.
    """
    if not os.path.lexists(file):
        return StageOrder()
    try:
        return _FORMAT.validate_json(file.read_bytes())
    except OSError as error:
        raise _damaged(file, f"it cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise _damaged(file, _first_fault(error)) from error


def read_asked(form: TypeAdapter[Asked], command: str, file: Path = ORDER_FILE) -> Asked:
    """What a person asked of the stage by `command`. Raises ParamsError for another form, such as an unknown key."""
    try:
        return form.validate_json(json.dumps(read_order(file).request))
    except ValidationError as error:
        first = error.errors()[0]
        raise ParamsError(
            f"{file.name} holds no request: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            remedy=f"run {command} again; if you wrote the file yourself, correct the key named above",
            file=file,
        ) from error


def read_runtime() -> Runtime:
    """What a stage works with: order.json of its working folder, and the address of the tracking server."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlruns/mlflow.db")
    return Runtime(**vars(read_order()), tracking_uri=address)


def read_hub_login() -> HubLogin:
    """Which Hugging Face Hub a source is on (HF_ENDPOINT), and the token for it. Raises ParamsError."""
    endpoint = os.environ.get("HF_ENDPOINT") or HubLogin.endpoint
    return hub_login(endpoint, os.environ.get("HF_TOKEN"))


def hub_login(endpoint: str, token: str | None) -> HubLogin:
    """The login, if `endpoint` is the address of a server, and the token one word. Raises ParamsError."""
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        remedy = f"write it as {HubLogin.endpoint}, without a login, or leave it out"
        shown = f"{parts.scheme}://{parts.hostname or ''}"
        raise ParamsError("HF_ENDPOINT is not the address of a Hugging Face Hub", value=shown, remedy=remedy)
    token = (token or "").strip()
    if not token.isprintable() or not token.isascii() or " " in token:
        raise ParamsError("HF_TOKEN is not a token: it holds blanks or unusual characters", remedy="copy it anew")
    return HubLogin(endpoint=endpoint.rstrip("/"), token=token or None)


def read_gate_runtime() -> GateRuntime:
    """What a gate works with: its part of order.json, and all variables."""
    order = read_order()
    store = Path(order.artifact_root).parent if order.artifact_root else None
    return GateRuntime(**vars(order.gate or GateOrder()), store=store, variables=dict(os.environ))


def _first_fault(error: ValidationError) -> str:
    # a misspelt key may be two errors, of which the unknown one tells what to do
    faults = error.errors()
    fault = next((each for each in faults if each["type"] == "unexpected_keyword_argument"), faults[0])
    *parts, key = [str(part) for part in fault["loc"]] or ["the whole file"]
    place = f"[{'.'.join(parts)}] " if parts else ""
    if fault["type"] == "unexpected_keyword_argument":
        return f"{place}unknown key `{key}`; {nearest(key, _KEYS)}"
    return f"{place}{key}: {fault['msg']}"


def _damaged(file: Path, why: str) -> ParamsError:
    return ParamsError(
        f"{file} was not written for this version: {why}",
        file=file,
        remedy="repeat the command that started the stage: it writes the file again. If you wrote it yourself, correct "
        "it, or remove it to get the defaults",
    )
