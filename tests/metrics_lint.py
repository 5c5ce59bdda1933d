"""The rules of `promtool check metrics`, so that they hold where there is no promtool."""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

_HEAD = re.compile(r"# (HELP|TYPE) (\S+) (.*)")
_SNAKE_CASE = re.compile(r"[a-z_][a-z0-9_]*")
_TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}
_RESERVED_ENDINGS = ("_bucket", "_count", "_sum")
_RESERVED_LABELS = {"le", "quantile"}
# A word of a name that is no base unit, or short for one, and what the base unit is.
_UNITS = {
    **dict.fromkeys(
        ("s", "sec", "secs", "second", "ms", "us", "ns", "milliseconds", "microseconds"), "seconds"
    ),
    **dict.fromkeys(("nanoseconds", "minutes", "mins", "hours", "hrs", "days", "weeks"), "seconds"),
    **dict.fromkeys(("b", "byte", "kb", "mb", "gb", "kib", "mib", "gib", "bit", "bits"), "bytes"),
    **dict.fromkeys(("kilobytes", "megabytes", "gigabytes", "kibibytes", "mebibytes", "gibibytes"), "bytes"),
    "percent": "ratio",
}


def complaints(page: str) -> list[str]:
    """What the linter has to say about a page of metrics. Raises ValueError for what is no such page."""
    return [*_about_heads(page), *_about_samples(page)]


def promtool(page: str) -> "subprocess.CompletedProcess[str] | None":
    """Let the real one check a page, if it is installed."""
    program = shutil.which("promtool")
    if program is None:
        return None
    return subprocess.run(
        [program, "check", "metrics"], input=page, capture_output=True, text=True, timeout=30, check=False
    )


def _about_heads(page: str) -> Iterator[str]:
    heads = [found.groups() for line in page.splitlines() if (found := _HEAD.fullmatch(line))]
    for (kind, name), count in Counter((kind, name) for kind, name, _ in heads).items():
        if count > 1:
            yield f"{name}: {count} {kind} lines"
    texts = {name: text for kind, name, text in heads if kind == "HELP"}
    types = {name: text for kind, name, text in heads if kind == "TYPE"}
    for name in texts.keys() | types.keys():
        if not texts.get(name, "").strip():
            yield f"{name}: no HELP"
        if types.get(name) not in _TYPES:
            yield f"{name}: no TYPE"
        yield from _about_name(name, types.get(name, ""))


def _about_name(name: str, kind: str) -> Iterator[str]:
    if not _SNAKE_CASE.fullmatch(name):
        yield f"{name}: not in snake_case, or with a colon, which is for recording rules"
    if (kind == "counter") != name.endswith("_total"):
        yield f"{name}: _total is the ending of counters, and of nothing else"
    if name.endswith(_RESERVED_ENDINGS):
        yield f"{name}: an ending of histograms and summaries"
    words = name.split("_")
    for word in words:
        if word in _TYPES:
            yield f"{name}: its type in its name"
        if word in _UNITS:
            yield f"{name}: {word} in place of {_UNITS[word]}"
    ending = [word for word in words if word != "total"][-1]
    if set(words) & {"seconds", "bytes"} and ending not in {"seconds", "bytes"}:
        yield f"{name}: the unit does not come last"


def _about_samples(page: str) -> Iterator[str]:
    headed = {found[2] for line in page.splitlines() if (found := _HEAD.fullmatch(line))}
    series: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
    label_names: dict[str, set[tuple[str, ...]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name not in headed:
                yield f"{sample.name}: a sample without HELP and TYPE"
            series[sample.name, tuple(sorted(sample.labels.items()))] += 1
            label_names.setdefault(sample.name, set()).add(tuple(sorted(sample.labels)))
    for (name, labels), count in series.items():
        if count > 1:
            yield f"{name}{dict(labels)}: {count} times"
    for name, sets in label_names.items():
        if len(sets) > 1:
            yield f"{name}: not always with the same labels"
        for label in {label for each in sets for label in each}:
            if not _SNAKE_CASE.fullmatch(label) or label.startswith("__") or label in _RESERVED_LABELS:
                yield f"{name}: label {label}"
