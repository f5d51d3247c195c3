"""Writes the software bill of materials: every package that the project needs, as it is installed here.

python scripts/sbom.py --output build/sbom.json

The format is CycloneDX 1.6 (ECMA-424) in JSON. Packages that are installed for other reasons are not in it.
"""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "breastcmsl"
EXTRAS = ("slicer", "train", "test")  # what make setup installs


def needed(name: str, extras: Sequence[str]) -> dict[str, list[str]]:
    """The packages that a package needs here, itself first, each with those that it needs directly."""
    direct: dict[str, set[str]] = {}
    waiting = [(canonicalize_name(name), frozenset(extras))]
    asked = set()
    while waiting:
        package, wanted = waiting.pop()
        if (package, wanted) in asked:
            continue
        asked.add((package, wanted))
        needs = direct.setdefault(package, set())
        for requirement in map(Requirement, distribution(package).requires or ()):
            if requirement.marker is not None and not any(
                requirement.marker.evaluate({"extra": extra}) for extra in wanted or ("",)
            ):
                continue
            further = canonicalize_name(requirement.name)
            try:
                distribution(further)
            except PackageNotFoundError:
                continue
            needs.add(further)
            waiting.append((further, frozenset(requirement.extras)))
    return {package: sorted(needs) for package, needs in direct.items()}


def component(package: Distribution, kind: str = "library") -> dict[str, Any]:
    """A package as CycloneDX describes it."""
    about, name = package.metadata, canonicalize_name(package.metadata["Name"])
    reference = f"pkg:pypi/{name}@{package.version}"
    entry: dict[str, Any] = {
        "type": kind,
        "bom-ref": reference,
        "name": name,
        "version": package.version,
        "purl": reference.replace("+", "%2B"),
    }
    if about["Summary"]:
        entry["description"] = about["Summary"]
    if about["License-Expression"]:
        entry["licenses"] = [{"expression": about["License-Expression"]}]
    elif about["License"] and "\n" not in about["License"]:
        entry["licenses"] = [{"license": {"name": about["License"]}}]
    return entry


def bill(name: str = PROJECT, extras: Sequence[str] = EXTRAS) -> dict[str, Any]:
    """The bill of materials of an installed package.

    Parameters
    ----------
    name : str
        Of the package.
    extras : sequence of str
        Of it, whose needs count too.

    Returns
    -------
    dict
        CycloneDX 1.6.
    """
    needs = needed(name, extras)
    entries = {package: component(distribution(package)) for package in needs}
    own = component(distribution(name), "application")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "component": own,
        },
        "components": [entries[package] for package in sorted(entries) if package != canonicalize_name(name)],
        "dependencies": [
            {"ref": entries[package]["bom-ref"], "dependsOn": [entries[n]["bom-ref"] for n in needs[package]]}
            for package in sorted(needs)
        ],
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build/sbom.json"))
    options = parser.parse_args(arguments)
    content = bill()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{options.output}: {len(content['components'])} packages")


if __name__ == "__main__":
    main()
