"""Servers, disks and permissions that fail under the real ingest process: who is at fault is told on one screen."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.common.errors import ExitCode
from tests.integration.ingest.ingest_sandbox import (
    ServedSandbox,
    in_namespace,
    s3_server,
    web_server,
    without_override,
)
from tests.support.ports import free_port
from tests.unit.stages.ingest.made import make_source


@pytest.fixture
def box(tmp_path: Path) -> ServedSandbox:
    """A sandbox with three good stacks in the folder `stacks`."""
    box = ServedSandbox(tmp_path / "sandbox")
    make_source(box.folder / "stacks")
    return box


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/none.zip", ExitCode.DATA, "/none.zip does not exist"),
        ("/none/dataset.csv", ExitCode.DATA, "/none/dataset.csv does not exist"),
        ("/stacks/", ExitCode.DATA, "HTTP cannot list folders"),
        ("/params.yaml.zip", ExitCode.DATA, "cannot be unpacked"),
        ("/status/401/a.zip", ExitCode.SERVICE, "is refused"),
        ("/status/503/a.zip", ExitCode.SERVICE, "503"),
        ("/cut/params.yaml.zip", ExitCode.SERVICE, "cannot be read from its server"),
    ],
)
def test_bad_answer_of_a_web_server(box: ServedSandbox, path: str, code: ExitCode, says: str) -> None:
    """404 is the URL's fault, a login is needed, the server fails, or half the bytes come: each is distinguished."""
    (box.folder / "params.yaml.zip").write_text("no archive at all, but a page of text")
    with web_server(box.folder) as url:
        box.write_params(f"{url}{path}")
        box.assert_refused(box.run(), code, says, url)


def test_server_that_fails_between_volumes(box: ServedSandbox) -> None:
    """A failing server is not a reason to skip a volume: the run stops, and what came before does not stay."""
    with web_server(box.folder) as url:
        box.write_params(f"{url}/halfway/stacks/dataset.csv", on_invalid="skip")
        result = box.run()
    assert "ingest 1/3 v1: " in result.stdout
    box.assert_refused(result, ExitCode.SERVICE, "/halfway/stacks/images/v2.tif", "500")


def test_unreachable_host(box: ServedSandbox) -> None:
    """Nobody listens: host and reason are told."""
    url = f"http://127.0.0.1:{free_port()}/stacks.zip"
    box.write_params(url)
    box.assert_refused(box.run(), ExitCode.SERVICE, url, "Cannot connect")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What reaches an S3 server whose bucket `sandbox` has stacks, and `data` without any."""
    folder = tmp_path_factory.mktemp("served")
    make_source(ServedSandbox(folder / "sandbox").folder / "stacks")
    with s3_server(folder) as environment:
        yield environment


@pytest.mark.parametrize(
    ("source", "changes", "code", "says"),
    [
        ("s3://sandbox/nowhere", {}, ExitCode.DATA, "s3://sandbox/nowhere does not exist"),
        ("s3://no-such-bucket/stacks", {}, ExitCode.DATA, "s3://no-such-bucket/stacks does not exist"),
        ("s3://sandbox/data", {}, ExitCode.DATA, "neither a dataset.csv nor"),
        ("s3://sandbox/stacks", {"AWS_SECRET_ACCESS_KEY": "wrong-secret"}, ExitCode.SERVICE, "AWS_SECRET_ACCESS_KEY"),
        ("s3://sandbox/stacks", {"AWS_ACCESS_KEY_ID": ""}, ExitCode.SERVICE, "AWS_ACCESS_KEY_ID"),
        ("s3://sandbox/stacks", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, ExitCode.SERVICE, "127.0.0.1:9"),
    ],
)
def test_bad_answer_of_an_s3_server(
    box: ServedSandbox, bucket: dict[str, str], source: str, changes: dict[str, str], code: ExitCode, says: str
) -> None:
    """A missing folder, a missing bucket, wrong keys, no keys, no server."""
    box.write_params(source)
    no_other_keys = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(box.folder)}
    box.assert_refused(box.run(**{**bucket, **no_other_keys, **changes}), code, source, says)


def test_unreadable_image(box: ServedSandbox) -> None:
    """A file that one may not read is a volume's reason, told with the way out."""
    (box.folder / "stacks" / "images" / "v2.tif").chmod(0)
    box.write_params("stacks")
    says = "v2: image images/v2.tif: it cannot be read: Permission denied"
    box.assert_refused(box.run_alone(*without_override()), ExitCode.DATA, says)


def test_unwritable_folder(box: ServedSandbox) -> None:
    """Where nothing can be written, the folder is named."""
    box.write_params("stacks")
    (box.folder / "data").chmod(0o555)
    try:
        box.assert_refused(box.run_alone(*without_override()), ExitCode.MACHINE, "permission is denied", "data/raw")
    finally:
        (box.folder / "data").chmod(0o755)


def test_read_only_disk(box: ServedSandbox) -> None:
    """A read-only mount is distinguished from missing permission."""
    box.write_params("stacks")
    wrapper = in_namespace("mount -t tmpfs -o ro tmpfs data")
    box.assert_refused(box.run_alone(*wrapper), ExitCode.MACHINE, "read-only", "data/raw")


@pytest.mark.parametrize(("archive", "says"), [(False, "the disk is full"), (True, "the disk has no room")])
def test_full_disk(box: ServedSandbox, archive: bool, says: str) -> None:
    """A disk that fills up while a stack is copied is named as such, one too small for an archive before that."""
    stacks = box.folder / "stacks"
    (stacks / "images" / "v3.tif").write_bytes(os.urandom(400_000))
    box.write_params("stacks")
    if archive:
        shutil.make_archive(str(box.folder / "packed"), "zip", stacks)
        box.write_params("packed.zip")
    wrapper = in_namespace("mount -t tmpfs -o size=200k tmpfs data")
    box.assert_refused(box.run_alone(*wrapper), ExitCode.MACHINE, says)


def test_file_size_limit(box: ServedSandbox) -> None:
    """A limit on file sizes is the machine's, too."""
    (box.folder / "stacks" / "images" / "v3.tif").write_bytes(os.urandom(400_000))
    box.write_params("stacks")
    wrapper = ["sh", "-c", 'ulimit -f 200; exec "$@"', "sh"]
    box.assert_refused(box.run_alone(*wrapper), ExitCode.MACHINE, "file size limit")
