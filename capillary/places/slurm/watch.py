"""When a job without an ended.json counts as over, and how often to ask: decisions on Slurm's answers, as values."""

from dataclasses import dataclass, field

from capillary.places.slurm.queue import JobInfo, NoAnswer

FIRST_POLL_S, LAST_POLL_S, GROWTH = 1.0, 15.0, 1.5
# between two answers that agree before they count: ended.json may take so long to appear on another node
PAUSE_S = 10.0
GONE = "GONE"


@dataclass(kw_only=True)
class Watch:
    """What the answers so far add up to. `seen_s` is when Slurm last described the job as alive."""

    min_job_age_s: float
    seen_s: float
    _doubt_since_s: float | None = None
    _delay_s: float = FIRST_POLL_S
    _last: tuple[str, str] = field(default=("", ""))

    def take(self, answer: JobInfo | NoAnswer, now_s: float) -> str | None:
        """How the job ended according to Slurm, or GONE; None while it may still be running.

        A job that Slurm no longer knows counts as over only when Slurm would have forgotten a finished one, too.
        """
        self._slow_down(answer)
        if answer is NoAnswer.SILENT:
            return None
        if isinstance(answer, JobInfo) and not answer.is_terminal:
            self.seen_s, self._doubt_since_s = now_s, None
            return None
        if self._doubt_since_s is None:
            self._doubt_since_s = now_s
        if now_s - self._doubt_since_s < PAUSE_S:
            return None
        if isinstance(answer, JobInfo):
            return answer.state
        return GONE if now_s - self.seen_s >= self.min_job_age_s else None

    @property
    def delay_s(self) -> float:
        """How long to wait before the next question."""
        return self._delay_s

    def _slow_down(self, answer: JobInfo | NoAnswer) -> None:
        now = (answer.state, answer.reason) if isinstance(answer, JobInfo) else (answer.value, "")
        changed, self._last = now != self._last, now
        self._delay_s = FIRST_POLL_S if changed else min(LAST_POLL_S, self._delay_s * GROWTH)
