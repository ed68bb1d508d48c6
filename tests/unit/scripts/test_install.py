"""scripts/install.py refuses an extra that does not exist: pip would only warn, and install the rest."""

import pytest

from scripts import install


def test_a_mistyped_extra_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before pip runs."""
    monkeypatch.setattr(install, "pip_install", lambda _target: pytest.fail("pip was started"))
    assert install.main(["gpu", "notebook"]) == 2
    assert "there is no extra notebook\nremedy: name extras" in capsys.readouterr().err


def test_known_extras_pass() -> None:
    """All that the docs name."""
    assert install.unknown(["gpu", "notebooks", "mlops", "dev", "stages"]) == []
