"""The generated reference pages say what the program says; links out of docs/ are checked."""

import enum
from typing import Annotated, cast

import pytest
import typer
import yaml
from mkdocs.exceptions import PluginError
from typer.core import TyperGroup
from typer.main import get_command

from capillary.cli import app
from capillary.settings import SETTINGS, TOLD_BY_EXPERIMENTS
from scripts.docs.exit_codes import MEANINGS, PAGE, exit_codes_page
from scripts.docs.hooks import outward_links
from scripts.docs.pages import commands_page, reference_pages, settings_page
from scripts.docs.params_page import params_page
from stages.common.errors import ExitCode
from tests.support.parts import REPOSITORY


class Kind(enum.StrEnum):
    """A choice."""

    A = "a"
    B = "b"


def test_every_command_that_help_lists_is_on_the_page() -> None:
    program = cast(TyperGroup, get_command(app))
    page = commands_page(program)
    for name, command in program.commands.items():
        assert (f"## capillary {name}" in page) is not command.hidden


def test_commands_of_a_group_have_their_full_names_and_options() -> None:
    """A group's commands are listed, not the group; `|` in a choice does not split a cell."""

    tool = typer.Typer(name="tool")
    dataset = typer.Typer()
    tool.add_typer(dataset, name="dataset")

    @dataset.command()
    def init(force: Annotated[bool, typer.Option("--force", help="Replace it.")] = False, kind: Kind = Kind.A) -> None:
        """Write it."""

    @dataset.command()
    def show() -> None:
        """Show it."""

    group = cast(TyperGroup, get_command(tool))
    page = commands_page(group)
    assert "## tool dataset init" in page
    assert "## tool dataset\n" not in page
    assert "`--force` | Replace it. |" in page
    assert "a\\|b" in page


def test_pages_show_the_shipped_params_and_settings() -> None:
    pages = reference_pages()
    assert "| `max_epochs` | whole number > 0 | `10` |" in pages["reference/defaults.md"]
    assert "#CAPILLARY_EXECUTOR=auto" in pages["reference/settings.md"]


def test_every_param_is_on_its_page() -> None:
    """With what it takes, its default, its comment, and who declares it; a bound that only torch knows is left out."""
    page = params_page(REPOSITORY)
    for section, values in yaml.safe_load((REPOSITORY / "params.yaml").read_text()).items():
        for key in values:
            assert f"| `{key}` | " in page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    assert "| `normalisation` | `percentile`, `zscore`, `none` | `percentile` | " in page
    assert "| `patch_voxels` | list of 3: whole number > 0 | `[12, 64, 64]` | z, y, x | train, train_seed |" in page
    assert "| `threshold` | number ≥ 0 < 1 | `0.5` |" in page


def test_the_committed_table_of_exit_codes_is_that_of_the_code() -> None:
    """`python -m scripts.docs.exit_codes` writes it."""
    page = PAGE.read_text(encoding="utf-8")
    assert exit_codes_page(page) == page
    assert MEANINGS.keys() == set(ExitCode)


def test_every_setting_is_on_its_page_with_values_and_default() -> None:
    """A setting without a description would be missing."""
    page = settings_page()
    for name, field in SETTINGS.items():
        assert (f"\n| `{name}` |" in page) is (field not in TOLD_BY_EXPERIMENTS)
    assert "| `CAPILLARY_TRACKING` | `auto`, `offline`, `required` | `auto` | whether" in page
    assert "| `CAPILLARY_RESUME` | `yes`, `no` | `yes` | " in page
    assert "| `CAPILLARY_GRACE_S` |  | `10` | " in page
    assert "| `CAPILLARY_SERVE_TOKENS` |  |  | " in page


@pytest.mark.parametrize(
    ("source", "text", "shown"),
    [
        ("a.md", "[b](../benchmarks/README.md)", "[b](https://host/r/blob/main/benchmarks/README.md)"),
        ("a.md", "[b](../params.yaml#x)", "[b](https://host/r/blob/main/params.yaml#x)"),
        ("adr/a.md", "[b](../security.md)", "[b](../security.md)"),
        ("adr/a.md", "[b](../../dvc.yaml)", "[b](https://host/r/blob/main/dvc.yaml)"),
    ],
)
def test_links_out_of_the_docs_lead_to_the_repository(source: str, text: str, shown: str) -> None:
    assert outward_links(text, source, "https://host/r/") == shown


def test_without_a_repository_such_a_link_is_text() -> None:
    assert outward_links("[`params.yaml`](../params.yaml)", "a.md", "") == "`params.yaml`"
    assert outward_links("[all](../params.yaml)", "a.md", "") == "all (`params.yaml`)"


def test_a_link_to_a_missing_file_ends_the_build() -> None:
    with pytest.raises(PluginError, match=r"docs/a\.md links to no-such-file"):
        outward_links("[b](../no-such-file)", "a.md", "")
