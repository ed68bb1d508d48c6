"""Answers about the registry as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from stages.common.metrics import METRICS
from stages.common.program.console import plain, print_answer, print_table
from stages.common.text import counted

NARROW = ("version", "metric", "mean", "difference")  # a number is not broken
HISTORY = ("when", "what", "from", "to", "who", "why")


def show_models(answer: Mapping[str, Any]) -> None:
    """Every registered model, and the trainings of each."""
    models = answer["models"]
    if not models:
        print_answer("nothing is registered yet: dvc repro, or ./just experiment, registers what it evaluates")
        return
    for model in models:
        if model["kind"] == "trainings":
            _show_trainings(model)
    networks = [model for model in models if model["kind"] == "networks"]
    if networks:
        _print("networks", ("name", "versions", "aliases"), [_networks(model) for model in networks])


def show_one(answer: Mapping[str, Any]) -> None:
    """A model with its history, or one version."""
    if "trainings" in answer:
        _show_trainings(answer)
        _show_history(answer["history"])
        return
    head = f"{answer['name']} version {answer['version']}"
    print_answer(f"{head} ({answer['kind']})" + (f", {', '.join(answer['aliases'])}" if answer["aliases"] else ""))
    if answer["kind"] == "network":
        _print("tags", ("tag", "value"), [(name, text[:100]) for name, text in sorted(answer["tags"].items())])
        return
    print_answer(f"training {answer['training']} of {answer['loss']}, run {answer['run']}")
    _print(
        "means", ("metric", "mean"), [(_title(name), _mean(name, found)) for name, found in answer["summary"].items()]
    )
    places = [(str(one["fold"]), str(one["seed"]), f"{one['name']}/{one['version']}") for one in answer["networks"]]
    _print("networks", ("fold", "seed", "network"), places)
    _show_history(answer["history"])


def show_decision(answer: Mapping[str, Any]) -> None:
    """What became of a promotion or rollback."""
    entry = answer["entry"]
    champion = answer["aliases"].get("champion")
    print_answer(
        f"champion of {answer['name']}: version {champion}" + (f" (was {entry['from']})" if entry["from"] else "")
    )
    if champion != entry["to"]:
        print_answer(
            f"version {entry['to']} was overtaken in the meantime: capillary show {answer['name']} has the history"
        )
    values = entry["values"]
    if values.get("difference") is not None:
        print_answer(
            f"{_title(entry['metric'])}: {_paired(entry['metric'], values)} on {values['volumes']:g} common volumes"
        )


def show_comparison(answer: Mapping[str, Any]) -> None:
    """Two trainings side by side."""
    names = [f"{one['name']}/{one['version']}" for one in answer["trainings"]]
    for name, one in zip(names, answer["trainings"], strict=True):
        print_answer(
            f"{name}: training {one['training']} of {one['loss']}, {counted(one['cells'], 'network')}, "
            f"{counted(one['volumes'], 'volume')}"
        )
    rows = [(each["name"], _text(each["one"]), _text(each["other"])) for each in answer["params"]]
    if rows:
        _print("what differs", ("", *names), rows)
    else:
        print_answer("both were trained and evaluated the same way")
    lines = [
        (
            _title(each["metric"]),
            _mean(each["metric"], each["one"]),
            _mean(each["metric"], each["other"]),
            _paired(each["metric"], each["paired"]),
            f"{each['paired']['volumes']}",
        )
        for each in answer["metrics"]
    ]
    _print("means, and paired differences", ("metric", *names, "difference", "volumes"), lines)
    for reason in dict.fromkeys(each["paired"]["why_not"] for each in answer["metrics"] if each["paired"]["why_not"]):
        print_answer(f"not comparable: {reason}")


def _show_trainings(model: Mapping[str, Any]) -> None:
    rows = [
        (
            one["version"],
            ", ".join(one["aliases"]) or ("rehearsal" if one["rehearsal"] else ""),
            _text(one["loss"]),
            _text(one["cells"]),
            f"{_title(one['metric'])} {one['value']}",
        )
        for one in model["trainings"]
    ]
    _print(model["name"], ("version", "alias", "loss", "networks", "metric"), rows)


def _show_history(history: Sequence[Mapping[str, Any]]) -> None:
    rows = [(one["when"], one["kind"], _text(one["from"]), one["to"], one["who"], one["why"]) for one in history]
    if rows:
        _print("history, the newest first", HISTORY, rows)


def _networks(model: Mapping[str, Any]) -> tuple[str, ...]:
    aliases = ", ".join(f"{alias} → {version}" for alias, version in model["aliases"].items())
    return model["name"], str(model["versions"]), aliases


def _print(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=plain(title), title_justify="left")
    for column in columns:
        table.add_column(column, no_wrap=column in NARROW)
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    print_table(table)


def _title(metric: str | None) -> str:
    return METRICS[metric].title if metric in METRICS else str(metric or "")


def _mean(metric: str, found: Mapping[str, float | None] | None) -> str:
    if found is None or found["mean"] is None:
        return "–"
    digits = METRICS[metric].digits
    ends = [found["ci_low"], found["ci_high"]]
    text = f"{found['mean']:.{digits}f}"
    return text if None in ends else f"{text} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def _paired(metric: str, values: Mapping[str, Any]) -> str:
    if values["difference"] is None:
        return "–"
    digits = METRICS[metric].digits + 1
    text = f"{values['difference']:+.{digits}f}"
    if values["ci_low"] is None or values["ci_high"] is None:
        return text
    return f"{text} [{values['ci_low']:+.{digits}f}, {values['ci_high']:+.{digits}f}]"


def _text(value: object) -> str:
    return "–" if value is None else str(value)
