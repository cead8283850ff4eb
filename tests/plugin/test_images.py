"""What becomes of `--rootfs`: an image that is none ends pytest, and one that is there is told of."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import environment, image
from tests.plugin.project import GOOD, Project, check
from tests.unit.test_image import tar

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def no_image_afterwards() -> Iterator[None]:
    """The project's pytest runs in this process, too."""
    yield
    environment.IMAGE.clear()


def test_a_hostile_image_is_one_line_and_status_2(project: Project) -> None:
    path = project.path / "root.tar"
    path.write_bytes(tar([("../escaped", b"x")]))
    project.write("scenarios/uts.yaml", GOOD)
    run = project.run(f"--rootfs={path}")
    assert run.ret == 2
    said = [line for line in run.outlines + run.errlines if line]
    assert said == [f"Exit: --rootfs {path}: '../escaped': a name with '..' leads out of the image"]
    assert project.logged("sandboxes") == []


def test_which_image_was_used_stands_in_the_results_and_below_failures(project: Project, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("hello")
    found = image.find(str(root))
    project.write("scenarios/uts.yaml", GOOD + check("uts-shared", "shared"))
    run = project.run(f"--rootfs={root}")
    run.assert_outcomes(passed=1, failed=1)
    assert project.results().environment["image"] == {
        "path": str(root),
        "form": "directory",
        "digest": found.digest,
    }
    run.stdout.fnmatch_lines([f"  on: *, image {root} {found.digest}"])
    assert found.digest in (project.path / "reports" / "isolation.md").read_text()
    assert json.loads((project.path / "reports" / "isolation.json").read_text())["environment"]["image"]
