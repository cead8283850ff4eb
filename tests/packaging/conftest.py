"""Isoproof as its users get it: the packages, built, and the wheel in an environment where nothing else is."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Packages:
    """What is uploaded to a package index."""

    wheel: Path
    sdist: Path


def build(source: Path, into: Path) -> Packages:
    """Build both packages of a tree, by the build system that it names, without a network."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(into)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (sdist,) = into.glob("*.whl"), into.glob("*.tar.gz")
    return Packages(wheel, sdist)


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and what that requires. `user` is where the user is, an empty folder at first."""

    environment: Path
    cache: Path
    user: Path

    @property
    def package(self) -> Path:
        return self.environment / sysconfig.get_path("purelib", vars={"base": "."}) / "harness"

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `isoproof` in the user's folder, with what of the environment a shell has at least."""
        command = [str(self.environment / "bin/isoproof"), *arguments]
        own = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(self.cache), **variables}
        return subprocess.run(command, cwd=self.user, env=own, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def environment(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed by pip, beside copies of what it says that it requires."""
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory, symlinks=True)
    library = directory / sysconfig.get_path("purelib", vars={"base": "."})
    pip = [sys.executable, "-m", "pip", "--python", str(directory / "bin/python"), "install", "--quiet"]
    done = subprocess.run([*pip, "--no-index", "--no-deps", str(packages.wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (metadata,) = importlib.metadata.distributions(path=[str(library)])
    for required in _required(metadata):
        for file in required.files or []:
            if not file.is_absolute() and ".." not in file.parts and (source := Path(str(file.locate()))).is_file():
                target = library / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    return directory


def _required(distribution: importlib.metadata.Distribution) -> Iterator[importlib.metadata.Distribution]:
    """What a distribution requires without extras, directly or not, as it is installed where the tests run."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [distribution]
    while waiting:
        for text in waiting.pop().requires or []:
            requirement = Requirement(text)
            if requirement.name not in found and (not requirement.marker or requirement.marker.evaluate({"extra": ""})):
                found[requirement.name] = importlib.metadata.distribution(requirement.name)
                waiting.append(found[requirement.name])
    return iter(found.values())


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def installed(environment: Path, cache: Path, tmp_path: Path) -> Installed:
    user = tmp_path / "user"
    user.mkdir()
    return Installed(environment, cache, user)
