"""What the wheel and the sdist hold."""

import email.parser
import os
import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, Packages, build
from tests.test_repository import files


def tree() -> Iterator[str]:
    """Every file of the repository but results, which are whose runs they are."""
    return (name for path in files() if not (name := str(path.relative_to(ROOT))).startswith("reports/"))


@pytest.fixture
def metadata(packages: Packages) -> Message:
    with zipfile.ZipFile(packages.wheel) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return email.parser.Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_holds_the_harness_and_in_it_probes_and_scenarios(packages: Packages) -> None:
    with zipfile.ZipFile(packages.wheel) as wheel:
        held = [name for name in wheel.namelist() if ".dist-info/" not in name]
        licences = [wheel.read(name) for name in wheel.namelist() if ".dist-info/licenses/" in name]
    inside = {"harness": "harness", "probes": "harness/probes", "scenarios": "harness/scenarios"}
    wanted = [f"{inside[top]}/{rest}" for top, _, rest in (name.partition("/") for name in tree()) if top in inside]
    assert sorted(held) == sorted(wanted)
    assert "harness/py.typed" in held
    assert licences == [(ROOT / "LICENSE").read_bytes()]


def test_the_sdist_holds_the_repository(packages: Packages) -> None:
    with tarfile.open(packages.sdist) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    held = {name for name in held if not name.startswith("reports/")}
    assert held == {*tree(), "PKG-INFO"}


def test_a_tree_is_always_the_same_sdist(packages: Packages, tmp_path: Path) -> None:
    assert build(ROOT, tmp_path).sdist.read_bytes() == packages.sdist.read_bytes()


def test_the_sdist_builds_the_same_wheel_whenever_and_wherever(packages: Packages, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xzf", packages.sdist, "-C", tmp_path], check=True)
    (source,) = tmp_path.iterdir()
    for path in list(source.rglob("*")):
        os.utime(path, (1, 1 << 30))
        path.chmod(path.stat().st_mode & 0o700)
    assert build(source, tmp_path / "dist").wheel.read_bytes() == packages.wheel.read_bytes()


def test_the_metadata_tell_what_pyproject_says(metadata: Message) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = {key: metadata[key] for key in ("Name", "Version", "Requires-Python", "License-Expression", "License-File")}
    assert told == {
        "Name": "isoproof",
        "Version": project["version"],
        "Requires-Python": ">=3.11",
        "License-Expression": "Apache-2.0",
        "License-File": "LICENSE",
    }
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
