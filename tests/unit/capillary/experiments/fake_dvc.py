"""A shell script in DVC's place: it notes its arguments and does what the test says, within milliseconds."""

from pathlib import Path


class FakeDvc:
    """`argv` starts it. `$address` is the cell in the script that `does` takes, empty for a command without one."""

    def __init__(self, folder: Path) -> None:
        self._program, self._calls = folder / "fake_dvc.sh", folder / "calls.txt"
        self.argv = ("sh", str(self._program))
        self.does("true")

    def does(self, script: str) -> None:
        """Run `script` at each call from now on."""
        note = f'echo "$*" >> "{self._calls}"\n[ "$3" = --single-item ] && address=$4\n'
        self._program.write_text(note + script + "\n")

    @property
    def calls(self) -> list[str]:
        """The arguments of each call so far, in their order."""
        return self._calls.read_text().splitlines() if self._calls.exists() else []
