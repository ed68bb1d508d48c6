"""`capillary clean` on a machine without a Docker daemon."""

from collections.abc import Callable

import pytest

from tests.support.toy import ToyProject


@pytest.mark.parametrize(
    ("option", "executor", "code", "left"),
    [
        ("--state", "auto", 0, False),
        ("--state", "process", 0, False),
        ("--state", "docker", 7, True),
        ("--images", "auto", 7, True),
    ],
)
def test_what_needs_no_daemon_is_removed_without_one(
    make_toy: Callable[..., ToyProject], option: str, executor: str, code: int, left: bool
) -> None:
    """Images and containers need one; what they need it for is refused, not passed over."""
    toy = make_toy("")
    state = toy.root / ".capillary/state/toy-0123456789abcdef"
    state.mkdir(parents=True)
    nowhere = f"unix://{toy.root}/no.sock"
    done = toy.run("capillary", "clean", option, DOCKER_HOST=nowhere, CAPILLARY_EXECUTOR=executor)
    assert done.returncode == code, done.stderr
    assert state.exists() == left
    said = "no Docker daemon answers" if code == 0 else "the Docker daemon does not answer"
    assert said in done.stdout + done.stderr
