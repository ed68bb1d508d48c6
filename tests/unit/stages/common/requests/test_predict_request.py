"""The request as it crosses from the host to the stage."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import ParamsError
from stages.common.requests.prediction.request import PredictRequest, StackRequest, read_request
from stages.common.runtime import StageOrder, order_json

ONE = {"stacks": [{"image": "input/a.tif", "mask": "prediction/a.tif"}]}


def test_what_the_host_writes_is_what_the_stage_reads(tmp_path: Path) -> None:
    """Every field, with paths and tuples as they were."""
    stack = StackRequest(
        image=Path("input/a.tif"),
        mask=Path("out/a.nii.gz"),
        probability=Path("out/a_probability.nii.gz"),
        picture=Path("out/a.png"),
        spacing_um=(5.0, 0.5, 0.25),
        made_as="k",
    )
    request = PredictRequest(
        stacks=(stack, StackRequest(image=Path("b"), mask=Path("c"), spacing_um=(5.0, None, None))),
        folder=Path("/out"),
        model="m@a",
        folds=(1, 0),
        cards=(Path("models/a.json"),),
        threshold=0.0,
        resume=True,
    )
    order = StageOrder(request=request.model_dump(mode="json"))
    (tmp_path / "order.json").write_bytes(order_json(order))
    assert read_request(tmp_path / "order.json") == request
    assert [file.name for file in stack.files] == ["a.nii.gz", "a_probability.nii.gz", "a.png"]


@pytest.mark.parametrize(
    "data",
    [
        {**ONE, "treshold": 0.5},
        {"stacks": [{**ONE["stacks"][0], "masks": "x"}]},
        {"stacks": []},
        {},
        {**ONE, "threshold": 1.0},
        {"stacks": [{**ONE["stacks"][0], "spacing_um": [1.0, 0.0, 1.0]}]},
        [],
    ],
)
def test_a_request_of_another_form_is_refused(tmp_path: Path, data: Any) -> None:
    """Unknown keys, missing ones and values that cannot be."""
    (tmp_path / "order.json").write_text(json.dumps({"request": data}))
    with pytest.raises(ParamsError, match=r"order\.json") as caught:
        read_request(tmp_path / "order.json")
    assert "run capillary predict again" in caught.value.remedy or "request" in caught.value.what


def test_an_order_without_a_request_is_refused(tmp_path: Path) -> None:
    """As one that somebody wrote for another stage."""
    (tmp_path / "order.json").write_text("{}")
    with pytest.raises(ParamsError, match=r"order\.json holds no request"):
        read_request(tmp_path / "order.json")


def test_the_host_makes_requests_without_heavy_imports() -> None:
    """Neither torch nor numpy is loaded for it."""
    module = "stages.common.requests.prediction.request"
    program = f"import {module}, sys; print(*{{'torch', 'numpy', 'mlflow'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
