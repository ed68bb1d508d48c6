"""Several nodes of one job: where they meet, what each runs, and how all of them ended."""

import pytest

from capillary.executors.process import execute as process
from capillary.lifetimes.stop import Stop
from capillary.places.node.others import (
    choose_meeting,
    forget_peers,
    interface_of,
    joint_code,
    rendezvous_of,
    source_towards,
    wait_for_codes,
)
from capillary.places.node.peer import run_peer
from capillary.places.node.work import MOST_IN_VAIN, run_job
from capillary.places.outcome import Attempt, read_ended, write_attempt
from capillary.planning.plan import StagePlan
from stages.common.errors import ExitCode
from stages.common.runtime import Compute, Rendezvous
from tests.unit.capillary.places.conftest import ACCESS, Write

MEETING = Rendezvous(node=1, host="127.0.0.1", port=29400, interface="lo")


class Others:
    """The other nodes of a job, which end with `codes`."""

    def __init__(self, *codes: int) -> None:
        self.codes = codes

    def start(self, _stop: Stop) -> Rendezvous:
        return MEETING

    def joined(self, code: int) -> int:
        return joint_code(code, self.codes)


@pytest.mark.parametrize(
    ("others", "attempt", "code", "ended_with"),
    [
        ([ExitCode.RANK_LOST], 1, ExitCode.RANK_LOST, None),
        ([137], 2, ExitCode.RANK_LOST, None),
        ([], MOST_IN_VAIN, ExitCode.MACHINE, ExitCode.MACHINE),
        ([ExitCode.RANK_LOST, ExitCode.DATA], 1, ExitCode.DATA, ExitCode.DATA),
    ],
)
def test_a_job_that_lost_a_node_is_run_again_unless_a_node_says_what_is_wrong(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    others: list[int],
    attempt: int,
    code: int,
    ended_with: int | None,
) -> None:
    """Three times without a checkpoint. What a stage was told of the others is where they meet."""
    folder = write(access=ACCESS, compute=Compute(processes=2, nodes=2))
    for _ in range(attempt - 1):
        write_attempt(folder, Attempt(node="n1", started=1.0))
    found: list[StagePlan] = []

    def lose(plan: StagePlan, _stop: Stop, _publish: object) -> int:
        found.append(plan)
        return ExitCode.RANK_LOST

    monkeypatch.setattr(process, "execute", lose)
    assert run_job(folder, Stop(), Others(*others)) == code
    ended = read_ended(folder)
    assert (None if ended is None else ended.code) == ended_with
    assert (found[0].order.rendezvous, found[0].needs_network) == (MEETING, True)


def test_another_node_runs_the_same_stage_without_outs(write: Write) -> None:
    """In a folder of its own, where its exit code stays; outs and the job's end are the first node's to write."""
    folder = write(compute=Compute(processes=2, nodes=2))
    assert run_peer(folder, MEETING, Stop()) == ExitCode.UNDECLARED
    assert wait_for_codes(folder, 2) == [ExitCode.UNDECLARED]
    assert not (folder / "outs").exists()
    assert read_ended(folder) is None
    forget_peers(folder)
    assert wait_for_codes(folder, 2, patience_s=0) == []


def test_an_address_leads_to_the_interface_by_which_it_is_reached() -> None:
    """The host's own name may be the loopback's on Debian, so it is not asked."""
    assert rendezvous_of(1, "127.0.0.1", 29400) == MEETING
    assert choose_meeting("127.0.0.1")[0] == "127.0.0.1"
    assert source_towards("no such host") is None
    assert interface_of(None) is None
