"""The facts as entities of an RO-Crate: Provenance Run Crate 0.5, which is a Workflow Run and a Process Run Crate, too.

https://www.researchobject.org/workflow-run-crate/
"""

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capillary.export.crate.facts import Facts, Item, StageFacts
from capillary.provenance.collect import tool_versions
from capillary.provenance.masking import mask

if TYPE_CHECKING:  # half a second, and an extra
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
PARAMETER_PROFILE = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
WORKFLOW_PROFILE = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
MASKED = ("params.yaml", "dvc.lock")  # a URL in them may hold a login
FORMATS = {
    ".json": "application/json",
    ".csv": "text/csv",
    ".html": "text/html",
    ".md": "text/markdown",
    ".png": "image/png",
    ".yaml": "application/yaml",
    ".lock": "application/yaml",
    "": "text/plain",
    ".parquet": "application/vnd.apache.parquet",
}


class Document:
    """Builds the crate of `facts` about the project `root`. Entities are added once, whoever asks for them."""

    def __init__(self, crate: "ROCrate", root: Path, facts: Facts) -> None:
        self._crate = crate
        self._root = root
        self._facts = facts
        self._made = {out.path for stage in facts.stages for out in stage.outs}

    def build(self, name: str, license_name: str) -> None:
        """All of it."""
        self._describe(name, license_name)
        for file in ("params.yaml", "dvc.lock", *self._facts.files):
            if (self._root / file).is_file():
                self._file(file)
        workflow = self._workflow()
        actions = [self._stage(stage, number) for number, stage in enumerate(self._facts.stages, start=1)]
        run = self._run(workflow)
        engine = self._engine(actions, run)
        stages = [self._crate.dereference(f"#run/{stage.address}") for stage in self._facts.stages]
        self._crate.root_dataset["mentions"] = [run, *stages, engine]

    def _describe(self, name: str, license_name: str) -> None:
        crate = self._crate
        crate.metadata.extra_contexts.append(TERMS)
        crate.name = name
        crate.description = f"Results of {name}: metrics, model cards and reports, with the workflow that made them."
        crate.license = f"https://spdx.org/licenses/{license_name}" if license_name else self._license()
        if self._facts.author:
            crate.root_dataset["author"] = self._entity("#person", "Person", name=self._facts.author)
        crate.root_dataset["conformsTo"] = [
            self._entity(uri, "CreativeWork", name=title, version=version) for uri, (title, version) in PROFILES.items()
        ]

    def _license(self) -> Any:
        if not (self._root / "LICENSE").is_file():
            return "not stated"
        return self._file("LICENSE")

    def _workflow(self) -> "ContextEntity":
        from rocrate.model.computerlanguage import ComputerLanguage

        crate, facts = self._crate, self._facts
        about = {"name": "DVC", "url": "https://dvc.org/", "identifier": "https://dvc.org/"}
        language = crate.add(ComputerLanguage(crate, identifier="#dvc", properties=about))
        types = {"@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"], "name": "dvc.yaml"}
        workflow = crate.add_workflow(self._root / "dvc.yaml", "dvc.yaml", main=True, lang=language, properties=types)
        workflow["encodingFormat"] = FORMATS[".yaml"]
        workflow["conformsTo"] = self._entity(WORKFLOW_PROFILE, "CreativeWork", name="ComputationalWorkflow")
        workflow["input"] = [self._parameter(key, value) for key, value in facts.params.items()]
        workflow["hasPart"] = [self._tool(name) for name in dict.fromkeys(stage.tool for stage in facts.stages)]
        workflow["step"] = [self._step(stage, number) for number, stage in enumerate(facts.stages, start=1)]
        if facts.workspace is not None and facts.workspace.commit:
            workflow["version"] = facts.workspace.commit
            if (facts.workspace.remote or "").startswith("http"):
                workflow["codeRepository"] = facts.workspace.remote
        return workflow

    def _parameter(self, key: str, value: object) -> "ContextEntity":
        return self._entity(
            f"#parameter/{key}",
            "FormalParameter",
            name=key,
            additionalType=_kind(value),
            conformsTo={"@id": PARAMETER_PROFILE},
        )

    def _value(self, key: str, value: object) -> "ContextEntity":
        return self._entity(
            f"#value/{key}",
            "PropertyValue",
            name=key,
            value=_plain(value),
            exampleOfWork=self._parameter(key, value),
        )

    def _tool(self, name: str) -> "ContextEntity":
        version = self._facts.workspace.commit if self._facts.workspace else None
        about = {"softwareVersion": version} if version else {}
        return self._entity(
            f"#tool/{name}", "SoftwareApplication", name=name, description=f"The stage {name} (stages/{name})", **about
        )

    def _step(self, stage: StageFacts, number: int) -> "ContextEntity":
        return self._entity(
            f"dvc.yaml#{stage.address}",
            "HowToStep",
            name=stage.address,
            position=str(number),
            workExample=self._tool(stage.tool),
        )

    def _stage(self, stage: StageFacts, number: int) -> "ContextEntity":
        """What controlled the run of a stage, with the run itself."""
        done = self._entity(
            f"#run/{stage.address}",
            "CreateAction",
            name=stage.address,
            description=f"One run of the stage {stage.tool}: {stage.command}",
            instrument=self._tool(stage.tool),
            object=[*self._items(stage.deps), *(self._value(key, value) for key, value in stage.params.items())],
            result=self._items(stage.outs),
            **self._by(),
        )
        return self._entity(
            f"#control/{stage.address}",
            "ControlAction",
            name=f"control of {stage.address}",
            instrument=self._step(stage, number),
            object=done,
        )

    def _run(self, workflow: "ContextEntity") -> "ContextEntity":
        stages = self._facts.stages
        taken = {dep.path: dep for stage in stages for dep in stage.deps if not self._is_made(dep.path)}
        params = [self._value(key, value) for key, value in self._facts.params.items()]
        inputs = [*self._items(taken.values()), *params]
        outs = self._items(out for stage in stages for out in stage.outs)
        reports = [self._file(file) for file in self._facts.files if file.startswith("reports/")]
        return self._entity(
            "#run",
            "CreateAction",
            name="run of dvc.yaml",
            description="The runs of all stages that dvc.lock records, from the source to the results",
            instrument=workflow,
            object=[*inputs, self._file("dvc.lock")],
            result=[*outs, *reports],
            **self._by(),
        )

    def _is_made(self, path: str) -> bool:
        return any(out == path or out.startswith(f"{path}/") for out in self._made)

    def _engine(self, controls: Sequence["ContextEntity"], run: "ContextEntity") -> "ContextEntity":
        versions = tool_versions(self._root)
        engine = self._application("dvc", "DVC", versions["dvc"], url="https://dvc.org/")
        self._application("capillary", "capillary", versions["capillary"])
        return self._entity(
            "#engine-run",
            "OrganizeAction",
            name=f"run of {engine['name']}",
            description="DVC started each stage whose inputs had changed",
            instrument=engine,
            object=list(controls),
            result=run,
            **self._by(),
        )

    def _application(self, package: str, name: str, version: str, **about: str) -> "ContextEntity":
        return self._entity(f"#app/{package}", "SoftwareApplication", name=name, softwareVersion=version, **about)

    def _by(self) -> dict[str, Any]:
        author = self._facts.author
        return {"agent": self._entity("#person", "Person", name=author)} if author else {}

    def _items(self, items: Iterable[Item]) -> list[Any]:
        found = {item.path: self._item(item) for item in items}
        return list(found.values())

    def _item(self, item: Item) -> Any:
        """A result that is in the crate, or data, which are named by DVC's hash."""
        if item.path in self._facts.files:
            return self._file(item.path)
        about: dict[str, Any] = {"identifier": f"{item.hash_name}:{item.hash}"} if item.hash else {}
        if item.bytes is not None:
            about["contentSize"] = str(item.bytes)
        kind = "Dataset" if item.files is not None or not Path(item.path).suffix else "CreativeWork"
        name = _plain(item.path)
        return self._entity(f"#data/{name}", kind, name=name, **about)

    def _file(self, path: str) -> Any:
        if (known := self._crate.dereference(path)) is not None:
            return known
        file = self._root / path
        about = {"name": path, "contentSize": str(file.stat().st_size)}
        if file.suffix in FORMATS:
            about["encodingFormat"] = FORMATS[file.suffix]
        return self._crate.add_file(self._shown(path), path, properties=about)

    def _shown(self, path: str) -> Any:
        """What of the file `path` the crate gets: no login that a source's address may have."""
        file = (self._root / path).resolve()
        if path not in MASKED:
            return file
        content = file.read_bytes()
        return file if (masked := mask(content, ())) == content else io.BytesIO(masked)

    def _entity(self, id_: str, kind: str, /, **about: Any) -> "ContextEntity":
        if (known := self._crate.dereference(id_)) is not None:
            return known
        plain = {key: value for key, value in about.items() if value not in (None, [])}
        added = self._crate.add_jsonld({"@id": id_, "@type": kind})
        for key, value in plain.items():
            # the form asks for a single value instead of a list of one
            added[key] = value[0] if isinstance(value, list) and len(value) == 1 else value
        return added


def _plain(value: object) -> bool | int | float | str:
    if isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    return mask(text.encode(), ()).decode()


def _kind(value: object) -> str:
    for kind, name in ((bool, "Boolean"), (int, "Integer"), (float, "Float")):
        if isinstance(value, kind):
            return name
    return "Text"
