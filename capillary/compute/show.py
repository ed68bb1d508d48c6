"""`capillary profile`: the machine, the place, the profile and why, on a terminal or as JSON."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from capillary.compute.computing import find_slots, resolve
from capillary.compute.environment import Environment, detect_environment, read_environment_signals
from capillary.compute.hardware import GB, Hardware
from capillary.compute.profiles import COMPUTE_FILE, Choice, choose_profile, read_table
from capillary.settings import Settings, read_settings
from stages.common.program.console import answer_is_for_program, console, plain, print_answer


def show_profile(root: Path, find_hardware: Callable[[Settings], Hardware], *, as_json: bool) -> None:
    """Print what stages of the workspace `root` have to compute with, and how they would use it."""
    if as_json:
        answer_is_for_program()
    settings = read_settings(root)
    environment = detect_environment(read_environment_signals(settings.variables))
    hardware = find_hardware(settings)
    choice = choose_profile(hardware, settings.profile, read_table(root))
    computing = computed(choice, hardware, settings)
    if as_json:
        typer.echo(json.dumps(facts(environment, hardware, choice, computing), indent=2))
        return
    console.print(table(environment, hardware, choice, computing))
    for warning in choice.warnings:
        print_answer(f"warning: {warning}")


def computed(choice: Choice, hardware: Hardware, settings: Settings) -> dict[str, Any]:
    """How stages compute by `choice`, in the words of configs/compute.yaml; None is found out later."""
    switches = {"amp": choice.settings.amp, "compile": choice.settings.compile}
    slots = find_slots(choice, hardware, settings)
    return {**asdict(resolve(choice, hardware, settings)), **switches, "slots": slots}


def facts(environment: Environment, hardware: Hardware, choice: Choice, computing: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is known, as plain values."""
    return {
        "environment": asdict(environment),
        "gpus": [asdict(gpu) for gpu in hardware.gpus],
        "limits": asdict(hardware.limits),
        "profile": {"name": choice.profile, "reason": choice.reason, "warnings": list(choice.warnings)},
        "computing": dict(computing),
    }


def table(environment: Environment, hardware: Hardware, choice: Choice, computing: Mapping[str, Any]) -> Table:
    """The same for a reader: what, how much, why."""
    rows = Table("", "", "why")
    inside = ", in a container" if environment.in_container and environment.name != "docker" else ""
    rows.add_row("environment", f"{environment.name}{inside}", plain(environment.reason))
    rows.add_row("cores", str(hardware.cores), plain(hardware.limits.cores_reason))
    rows.add_row("memory", f"{hardware.memory_gb:.1f} GB", plain(hardware.limits.memory_reason))
    for gpu in hardware.gpus:
        size = "shared" if gpu.memory_bytes is None else f"{gpu.memory_bytes / GB:.1f} GB"
        rows.add_row(f"GPU {gpu.index}", plain(f"{gpu.name}, {size}"), "" if gpu in choice.gpus else "not used")
    if not hardware.gpus:
        rows.add_row("GPU", "none", "neither NVML nor nvidia-smi shows one")
    rows.add_section()
    rows.add_row("profile", plain(choice.profile), plain(choice.reason))
    for name, value in computing.items():
        if name != "profile":
            rows.add_row(
                name, plain("auto" if value is None else value), "" if name != "slots" else "cells side by side"
            )
    rows.caption = f"profiles: {COMPUTE_FILE}; take one by name with CAPILLARY_PROFILE"
    return rows
