from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides

from capillary.report.set_params import set_param_arguments
from capillary.yaml_file import read_yaml


@pytest.mark.parametrize(
    "value",
    [
        *(
            "../my stacks/µm",
            "a=b",
            "a,b",
            "it's",
            'say "x"',
            "'",
            "\\",
            "a\\b",
            "a\\'b",
            "a\\\\'b",
            "end\\",
            "end\\\\",
        ),
        *("[x]", "{x: 1}", "a:b", "x # y", "$HOME", "~/x", "@x", "*", "glob(*)", "", " lead ", "a\tb", "line\nbreak"),
        *("null", "true", "1", "1e-5", "s3://bucket/a?b=c&d", "C:\\data\\x"),
        *(None, True, False, 0, -3, 12345678901234567890, 0.002, 1e-5, -2.5e-7, 1e22, float("inf")),
        *([], [1, [2.5, [None]]], ["a b", "it's", "c\\"], [True, 1e-5, -1]),
    ],
    ids=repr,
)
def test_dvc_reads_every_value_back_as_it_was(tmp_path: Path, value: Any) -> None:
    """DVC's own parser, on the arguments of dvc exp run, writes a params.yaml with the very value and type."""
    params = tmp_path / "params.yaml"
    params.write_text("a: {b: old}\n")
    flag, argument = set_param_arguments({"a.b": value})
    assert flag == "--set-param"
    apply_overrides(params, [argument])
    found = read_yaml(params)["a"]["b"]
    assert found == value
    assert type(found) is type(value)
