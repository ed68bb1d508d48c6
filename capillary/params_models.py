"""The params models of a project with its own stages: stages/<name>/params.py, loaded from the project's folder."""

import importlib.util
import sys
from pathlib import Path

from pydantic import BaseModel

from stages.common.errors import CapillaryError, UsageError

_REMEDY = "let it import only pydantic, and define in `class {name}(BaseModel)` what params.yaml has for this stage"


def load_model(file: Path, name: str) -> type[BaseModel]:
    """The class `name` in `file`; CapillaryError (usage) when it cannot be loaded here.

    The file is the project's own, as dvc.yaml is, whose commands DVC runs. It is loaded under its own name, since
    `stages` is the package of this program in this process.
    """
    spec = importlib.util.spec_from_file_location(f"_project_params_{file.parent.name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where pydantic looks for the names in annotations
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the project's own code raises
        raise _refused(file, name, f"cannot be loaded: {error}") from error
    model = getattr(module, name, None)
    if not isinstance(model, type) or not issubclass(model, BaseModel):
        raise _refused(file, name, f"has no model {name}")
    return model


def _refused(file: Path, name: str, what: str) -> CapillaryError:
    return UsageError(
        f"stages/{file.parent.name}/params.py {what}",
        file=file,
        remedy=_REMEDY.format(name=name),
    )
