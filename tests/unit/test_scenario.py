"""Scenario files: what a check is worked out to need, and what every mistake is told as."""

import json
from pathlib import Path

import pytest

from harness.errors import ScenarioError
from harness.language import Container, Image, Size
from harness.scenario import Check, Expectation, load, load_known, load_shape

ROOT = Path(__file__).parents[2]

HEAD = "title: t\n"
CHECK = """
  {name}:
    claim: c
    severity: leak
    sabotage: {sabotage}
    expect:
"""


def shape(file: Path, name: str, text: str) -> None:
    """A named container beside a scenario file."""
    folder = file.parent / "shapes"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(text)


def one(file: Path, check: str, head: str = "") -> Check:
    file.write_text(f"{HEAD}{head}checks:\n  a:\n    claim: c\n    severity: leak\n    sabotage: skip-ns=uts\n{check}")
    return load(file).checks[0]


def mistakes(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(ScenarioError) as raised:
        load(file)
    return str(raised.value).splitlines()


def mistakes_of_one(file: Path, check: str, head: str = "") -> list[str]:
    with pytest.raises(ScenarioError) as raised:
        one(file, check, head)
    return str(raised.value).splitlines()


def test_everything_has_its_place(file: Path) -> None:
    file.write_text(
        """# yaml-language-server: $schema=../harness/scenario.schema.json
title: A container has names of its own
why: Because.
container: {hostname: cell-1}
checks:
  first-check:
    claim: The hostname is the one that was asked for
    why: It is.
    expect:
      - inside.identity.hostname == config.hostname
      - >-
        inside.identity.hostname
        != host.identity.hostname
    sabotage: no-sethostname
    severity: leak
    see: [uts_namespaces(7)]
  second:
    claim: Another
    expect: [start.ran]
    sabotage: [skip-ns=uts, skip-ns=net + no-sethostname]
    severity: dos
    alone: yes
    requires: {"environment.kernel >= [6, 14]": too old}
"""
    )
    read = load(file)
    assert (read.path, read.title, read.why) == ("a.yaml", "A container has names of its own", "Because.")
    first, second = read.checks
    assert (first.name, first.path, first.line) == ("first-check", "a.yaml", 6)
    assert (first.claim, first.why, first.severity) == ("The hostname is the one that was asked for", "It is.", "leak")
    assert first.expect == [
        Expectation("inside.identity.hostname == config.hostname", 10),
        Expectation("inside.identity.hostname != host.identity.hostname", 11),
    ]
    assert first.sabotages == ["no-sethostname"]
    assert first.see == ["uts_namespaces(7)"]
    assert (first.alone, first.twin, first.requires) == (False, None, {})
    assert first.container == Container(hostname="cell-1")
    assert first.inside == {"identity": {"probe": "identity", "args": {}, "deadline": 5.0, "meanwhile": None}}
    assert first.host == {"identity": {"probe": "identity", "args": {}, "deadline": 5.0, "during": None}}
    assert first.host_after == {}
    assert second.line == 17
    assert second.sabotages == ["skip-ns=uts", "skip-ns=net + no-sethostname"]
    assert second.alone is True
    assert second.requires == {"environment.kernel >= [6, 14]": "too old"}
    assert (second.inside, second.host, second.why, second.see) == ({}, {}, None, [])


def test_a_checks_container_is_laid_over_the_files(file: Path) -> None:
    head = """container:
  hostname: one
  memory: 64 MiB
  grant: [KILL]
  sysctl: {a.b: 1, c.d: 2}
  image: {directories: [x], files: {/a: 1, /b: 2}}
  oci: {linux: {seccomp: null, resources: {pids: {limit: 3}}}, process: {user: {uid: 0755x}}}
"""
    check = one(
        file,
        """    expect: [start.ran]
    container:
      hostname: no
      pids: 5
      cpu: 0.2
      readonly: off
      init: true
      oom_score_adj: -5
      grant: [CHOWN]
      sysctl: {c.d: 3}
      image: {directories: [y], files: {/b: 0o3}}
      mounts: [{destination: /x, options: [mode=0755, ro], flag: yes, uid: 1}]
      oci: {linux: {seccomp: {x: 1}, resources: {pids: null}}, hostname: null}
""",
        head,
    )
    assert check.container == Container(
        hostname="no",
        memory=Size(64 << 20),
        pids=5,
        cpu=0.2,
        readonly=False,
        init=True,
        oom_score_adj=-5,
        grant=["CHOWN"],
        sysctl={"a.b": "1", "c.d": "3"},
        image=Image(directories=["y"], files={"/a": "1", "/b": "0o3"}),
        mounts=[{"destination": "/x", "options": ["mode=0755", "ro"], "flag": "yes", "uid": 1}],
        oci={
            "linux": {"seccomp": {"x": 1}, "resources": {"pids": None}},
            "process": {"user": {"uid": "0755x"}},
            "hostname": None,
        },
    )
    asked = check.container.as_dict()
    assert asked["memory"] == 67108864
    assert type(asked["memory"]) is int
    assert asked["image"] == {"directories": ["y"], "files": {"/a": "1", "/b": "0o3"}}
    assert "shape" not in asked
    assert "symlinks" not in asked["image"]
    assert json.loads(json.dumps(asked)) == asked


@pytest.mark.parametrize(
    ("text", "size"),
    [("64 MiB", 64 << 20), ("64MiB", 64 << 20), ("1 GiB", 1 << 30), ("4 KiB", 4096), ("10 B", 10), ("4096", 4096)],
)
def test_size(text: str, size: int) -> None:
    assert Size.parse(text) == size


@pytest.mark.parametrize("text", ["64 MB", "64M", "", "-1", "1.5 GiB", "0x10", "9" * 20, "64  MiB"])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expects a size such as 64 MiB, not "):
        Size.parse(text)


def test_canaries_and_observations_of_file_and_check_are_joined(file: Path) -> None:
    head = """canaries:
  bait: process
  paper: {kind: file, mode: 0o600}
observe:
  kill_bait: {probe: signal, args: {pid: canary.bait.pid, mode: 0o644, text: "0644"}, deadline: 2}
  mounts: {probe: mounts, args: {all: true}}
  other: {probe: mounts}
"""
    file.write_text(
        f"""{HEAD}{head}checks:
  a:
    claim: c
    severity: leak
    sabotage: skip-ns=uts
    canaries: {{paper: file, more: tcp}}
    observe: {{mounts: {{probe: mounts, args: {{own: 1}}}}}}
    expect:
      - inside.kill_bait.errno == "EPERM" and canary.more.accepted == 0
      - inside.mounts.x == host_after.mounts.x and inside.init.pid == 1 and host.init.pid != 1
  b:
    claim: c
    severity: leak
    sabotage: skip-ns=uts
    expect: [inside.mounts.x == host.other.x]
"""
    )
    a, b = load(file).checks
    assert a.canaries == {"bait": {"kind": "process"}, "paper": {"kind": "file"}, "more": {"kind": "tcp"}}
    assert a.inside == {
        "kill_bait": {
            "probe": "signal",
            "args": {"pid": "canary.bait.pid", "mode": 0o644, "text": "0644"},
            "deadline": 2.0,
            "meanwhile": None,
        },
        "mounts": {"probe": "mounts", "args": {"own": 1}, "deadline": 5.0, "meanwhile": None},
    }
    assert a.host == {"init": {"probe": "init", "args": {}, "deadline": 5.0, "during": None}}
    assert a.host_after == {"mounts": {"probe": "mounts", "args": {"own": 1}, "deadline": 5.0}}
    assert b.canaries == {"bait": {"kind": "process"}, "paper": {"kind": "file", "mode": 0o600}}
    assert b.inside["mounts"]["args"] == {"all": True}
    assert set(b.host) == {"other"}


def test_what_is_named_by_during_and_meanwhile(file: Path) -> None:
    head = """canaries: {cable: interface}
observe:
  waiting: {probe: watch, meanwhile: cable}
  seen: {probe: mounts, during: waiting, args: {pid: container.pid}}
  beside: {probe: mounts, during: watch}
"""
    check = one(file, "    expect: [host.seen.x == 1, host.beside.x]\n", head)
    assert check.inside == {
        "waiting": {"probe": "watch", "args": {}, "deadline": 5.0, "meanwhile": "cable"},
        "watch": {"probe": "watch", "args": {}, "deadline": 5.0, "meanwhile": None},
    }
    assert check.host["seen"]["during"] == "waiting"
    assert check.host["seen"]["args"] == {"pid": "container.pid"}


SHAPES = """container: {shape: plain}
shapes: [other, plain + other]
"""


@pytest.fixture
def shapes(file: Path) -> None:
    shape(file, "plain", "title: Plain\ncontainer: {memory: 1 MiB, oci: {hostname: plain}}\n")
    shape(
        file,
        "other",
        "title: Other\ncontainer: {userns: true}\nrequires: {environment.uid == 0: must be root}\n",
    )


@pytest.mark.usefixtures("shapes")
def test_a_check_is_made_in_its_own_shape_and_again_in_others(file: Path) -> None:
    first, *others = one(
        file, "    expect: [start.ran]\n    requires: {environment.uid == 1: no}\n", SHAPES
    ).everywhere()
    assert (first.label, first.base) == ("a", [Container(memory=Size(1 << 20), oci={"hostname": "plain"})])
    assert first.requirements == {"environment.uid == 1": "no"}
    assert [check.label for check in others] == ["a[other]", "a[plain + other]"]
    assert [len(check.base) for check in others] == [1, 2]
    for check in others:
        assert check.requirements == {"environment.uid == 1": "no", "environment.uid == 0": "must be root"}
        assert check.sabotages == []  # it is proven where its knobs are known to have an effect
        assert (check.name, check.container) == (first.name, first.container)


@pytest.mark.usefixtures("shapes")
def test_what_a_shape_requires_is_not_asked_where_the_check_is_made_in_another(file: Path) -> None:
    own = "    container: {shape: other}\n    shapes: [plain]\n"
    first, again = one(file, f"    expect: [start.ran]\n{own}").everywhere()
    assert first.requirements == {"environment.uid == 0": "must be root"}
    assert again.requirements == {}


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize(
    ("own", "names"),
    [
        ("", ["other", "plain + other"]),
        ("    shapes: []\n", []),
        ("    shapes: [plain]\n", ["plain"]),
        ("    container: {shape: other}\n", []),  # else it would be made without what it says it needs
        ("    container: {shape: other}\n    shapes: [plain]\n", ["plain"]),
        ("    container: {hostname: a}\n", ["other", "plain + other"]),
    ],
)
def test_the_shapes_of_a_file_are_for_checks_that_name_none(file: Path, own: str, names: list[str]) -> None:
    assert list(one(file, f"    expect: [start.ran]\n{own}", SHAPES).shapes) == names


@pytest.mark.usefixtures("shapes")
@pytest.mark.parametrize(
    ("head", "check", "message"),
    [
        ("shapes: [othr]\n", "", "a.yaml:2:10: unknown shape 'othr'; did you mean 'other'?"),
        ("", "    shapes: [plain, plain + othr]\n", "a.yaml:8:21: unknown shape 'othr'; did you mean 'other'?"),
        ("container: {shape: plane}\n", "", "a.yaml:2:20: unknown shape 'plane'; did you mean 'plain'?"),
        ("container: {shape: bad}\n", "", "shapes/bad.yaml:2:20: a shape has no shape of its own"),
        ("shapes: [worse]\n", "", "shapes/worse.yaml:1:1: unknown key 'titel'; did you mean 'title'?"),
    ],
)
def test_a_mistake_in_a_shape_is_told_where_it_stands(file: Path, head: str, check: str, message: str) -> None:
    shape(file, "bad", "title: t\ncontainer: {shape: plain}\n")
    shape(file, "worse", "titel: t\ntitle: t\ncontainer: {}\n")
    assert mistakes_of_one(file, f"    expect: [start.ran]\n{check}", head) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: t\ncontainer: {image: {directories: [/a]}}\n", "b.yaml:2:20: a shape has no image of its own"),
        ("title: t\ncontainer: {}\nrequires: {uid == 0: root}\n", "b.yaml:3:22: `requires` asks of environment only,"),
        ("title: t\ncontainer: {oci: {process: {args: [/a]}}}\n", "b.yaml:2:35: process.args must hold container.com"),
    ],
)
def test_what_a_shape_cannot_have(file: Path, text: str, message: str) -> None:
    shape(file, "b", text)
    with pytest.raises(ScenarioError) as raised:
        load_shape(Path("shapes/b.yaml"))
    assert str(raised.value).startswith(f"shapes/{message}")


@pytest.mark.parametrize(
    ("patch", "column"),
    [
        ("{process: {args: [/bin/sh]}}", 34),
        ("{process: {args: container.command}}", 34),
        ("{process: {args: null}}", 34),
        ("{process: null}", 27),
    ],
)
def test_a_container_without_a_place_for_the_probes_is_told_of(file: Path, patch: str, column: int) -> None:
    words = "process.args must hold container.command, which stands for what runs the probes"
    head = f"container: {{oci: {patch}}}\n"
    assert mistakes_of_one(file, "    expect: [start.ran]\n", head) == [f"a.yaml:2:{column + 1}: {words}"]
    own = f"    expect: [start.ran]\n    container: {{oci: {patch}}}\n"
    assert mistakes_of_one(file, own) == [f"a.yaml:8:{column + 5}: {words}"]


def test_probes_may_be_run_by_something_else(file: Path) -> None:
    head = "container: {oci: {process: {args: [/loader, container.command]}}}\n"
    assert one(file, "    expect: [start.ran]\n", head).container.oci


def test_other_suites_and_slowness_are_kept(file: Path) -> None:
    check = one(file, "    expect: [start.ran]\n    also: [LTP utsname01, runc]\n    slow: true\n")
    assert (check.also, check.slow) == (["LTP utsname01", "runc"], True)


def test_a_refused_container_has_a_twin(file: Path) -> None:
    for key in ("refuses", "may_refuse"):
        check = one(
            file,
            f"    expect: [start.refused]\n    {key}: true\n    container: {{hostname: bad}}\n",
            "container: {hostname: good}\n",
        )
        assert check.container == Container(hostname="bad")
        assert check.twin == Container(hostname="good")
        assert check.may_refuse == (key == "may_refuse")


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("    expect: []\n", "a.yaml:7:13: 'expect' must not be empty"),
        ("    expect: start.ran\n", "a.yaml:7:13: 'expect' expects a list, not the text 'start.ran'"),
        ("    expect: ['']\n", "a.yaml:7:14: 'expect'[0] must not be empty"),
        ("    expct: [start.ran]\n", "a.yaml:7:5: unknown key 'expct'; did you mean 'expect'?"),
        ("    expect: [start.ran]\n    see: []\n", "a.yaml:8:10: 'see' must not be empty"),
        ("    expect: [start.ran]\n    alone: maybe\n", "a.yaml:8:12: 'alone' expects true or false, not 'maybe'"),
        ("    expect: [start.ran]\n    container: []\n", "a.yaml:8:16: 'container' expects a mapping, not a list"),
        ("    expect: [start.ran]\n    container: {memory: much}\n", "a.yaml:8:25: 'memory' expects a size such as 64"),
        ("    expect: [start.ran]\n    container: {pids: 0}\n", "a.yaml:8:23: 'pids' must be at least 1, not 0"),
        ("    expect: [start.ran]\n    container: {hostnam: x}\n", "a.yaml:8:17: unknown key 'hostnam'; did you mean"),
        ("    expect: [start.ran]\n    observe: {A: {probe: x}}\n", "a.yaml:8:15: the name 'A' does not match ^[a-z]"),
        ("    expect: [start.ran]\n    observe: {a: {}}\n", "a.yaml:8:18: 'a' lacks the key 'probe'"),
        (
            "    expect: [start.ran]\n    observe: {a: {probe: signal, deadline: 0}}\n",
            "a.yaml:8:44: 'deadline' must be",
        ),
        ("    expect:\n      - 1 +\n", "a.yaml:8:9: the expression does not parse: invalid syntax"),
        ("    expect:\n      - inside.mounts.x()\n", "a.yaml:8:9: inside.mounts.x cannot be called: there are functio"),
        ("    expect:\n      - foo(1)\n", "a.yaml:8:9: there is no function 'foo'"),
        ("    expect:\n      - start.__class__\n", "a.yaml:8:9: '__class__' begins with an underscore; such names are"),
        ("    expect:\n      - insid.mounts.x\n", "a.yaml:8:9: unknown name 'insid'; did you mean 'inside'?"),
        ("    expect:\n      - environment.uid == 0\n", "a.yaml:8:9: environment stands in `requires` only"),
        (
            "    expect:\n      - inside.mount.x\n",
            "a.yaml:8:9: inside.mount: neither an observation nor a probe; did y",
        ),
        ("    expect:\n      - host._kernel.x\n", "a.yaml:8:9: '_kernel' begins with an underscore"),
        ("    expect:\n      - host['_kernel'].x\n", "a.yaml:8:9: host._kernel: neither an observation nor a probe"),
        ("    expect:\n      - len(inside) == 1\n", "a.yaml:8:9: inside alone is no value; write inside.NAME"),
        ("    expect:\n      - host_after[start.x] == 1\n", "a.yaml:8:9: host_after alone is no value; write host_af"),
        ("    expect:\n      - inside['a-b'] == 1\n", "a.yaml:8:9: inside alone is no value; write inside.NAME"),
        ("    expect:\n      - canary == 1\n", "a.yaml:8:9: canary alone is no value; write canary.NAME"),
        ("    expect:\n      - canary.bait.x == 1\n", "a.yaml:8:9: unknown canary 'bait'"),
        (
            "    expect: [inside.pid.x]\n    container: {shape: dockerlike}\n",
            "a.yaml:8:24: unknown shape 'dockerlike'",
        ),
        (
            "    expect: [inside.a.x]\n    observe:\n      a: {probe: sigal}\n",
            "a.yaml:9:18: unknown probe 'sigal'; did you mean 'signal'?",
        ),
        (
            "    expect: [inside.a.x]\n    observe:\n      a: {probe: _kernel}\n",
            "a.yaml:9:18: unknown probe '_kernel'",
        ),
        (
            "    expect: [inside.a.x]\n    observe:\n      a: {probe: signal, args: {pid: canary.bait.pid}}\n",
            "a.yaml:9:10: unknown canary 'bait'",
        ),
        (
            "    expect: [inside.a.x]\n    observe:\n      a: {probe: signal, meanwhile: bait}\n",
            "a.yaml:9:37: unknown canary 'bait'",
        ),
        (
            "    expect: [inside.a.x]\n    observe:\n      a: {probe: signal, during: watch}\n",
            "a.yaml:7:14: 'a' is observed during another, on the host: host.a",
        ),
        (
            "    expect: [host.a.x]\n    observe:\n      a: {probe: signal, during: wach}\n",
            "a.yaml:9:34: inside.wach: neither an observation nor a probe; did you mean 'watch'?",
        ),
        (
            "    expect: [host.a.x]\n    observe:\n      a: {probe: signal, during: a}\n",
            "a.yaml:9:34: 'a' is observed during another, on the host: host.a",
        ),
        (
            "    expect: [start.ran]\n    observe:\n      a: {probe: signal}\n",
            "a.yaml:9:10: no expectation names 'a', so it would not be observed",
        ),
        (
            "    expect: [start.ran]\n    canaries: {bait: proces}\n",
            "a.yaml:8:22: unknown kind of canary 'proces'; did you mean 'process'?",
        ),
        (
            "    expect: [start.ran]\n    canaries: {bait: {mode: 1}}\n",
            "a.yaml:8:22: unknown kind of canary None",
        ),
        (
            "    expect: [start.ran]\n    container:\n      mounts: [{source: canary.bait.path}]\n",
            "a.yaml:9:7: unknown canary 'bait'",
        ),
        (
            "    expect: [start.ran]\n    requires: {uid == 0: must be root}\n",
            "a.yaml:8:26: `requires` asks of environment only, not of uid",
        ),
        (
            '    expect: [start.ran]\n    requires: {"environment.uid =": must be root}\n',
            "a.yaml:8:37: the expression does not parse: invalid syntax",
        ),
        (
            "    expect: [start.ran]\n    provable: {uid == 0: must be root}\n",
            "a.yaml:8:26: `provable` asks of environment and knob only, not of uid",
        ),
        (
            "    expect: [start.ran]\n    requires: {environment.rootless: }\n",
            "a.yaml:8:38: 'environment.rootless' expects a text, not nothing",
        ),
        (
            "    expect: [start.refused]\n    refuses: true\n",
            "a.yaml:4:5: `refuses` needs a `container` of the check's own: the file's must start",
        ),
        (
            "    expect: [inside.mounts.x]\n    refuses: true\n    container: {pids: 1}\n",
            "a.yaml:4:5: nothing is observed in a refused container: inside.mounts",
        ),
        (
            "    expect: [inside.mounts.mounts]\n    may_refuse: true\n    container: {pids: 1}\n",
            "a.yaml:4:5: nothing is expected of a refusal: every expectation names inside",
        ),
        (
            "    expect: [start.ran]\n    may_refuse: true\n",
            "a.yaml:4:5: `may_refuse` needs a `container` of the check's own: the file's must start",
        ),
    ],
)
def test_mistake_in_a_check(file: Path, check: str, message: str) -> None:
    line = mistakes_of_one(file, check)[0]
    assert line.startswith(message)


def test_during_and_meanwhile_exclude_each_other(file: Path) -> None:
    head = "canaries: {c: signal}\nobserve:\n  a: {probe: signal, during: watch, meanwhile: c}\n"
    assert mistakes_of_one(file, "    expect: [host.a.x]\n", head) == [
        "a.yaml:4:6: `during` and `meanwhile` exclude each other"
    ]


@pytest.mark.parametrize(
    ("sabotage", "message"),
    [
        ("nonsense", "a.yaml:6:15: unknown sabotage 'nonsense'"),
        ("share-ns=canary.bait.namespace", "a.yaml:6:15: unknown canary 'bait'"),
        ("[skip-ns=uts, nonsense]", "a.yaml:6:29: unknown sabotage 'nonsense'"),
        ("skip-ns=uts + nonsense", "a.yaml:6:15: unknown sabotage 'nonsense'"),
        ("skip-ns", "a.yaml:6:15: the sabotage 'skip-ns' needs a value behind ="),
        ("[]", "a.yaml:6:15: 'sabotage' must not be empty"),
        ("", "a.yaml:6:14: 'sabotage' expects a text or a list, not nothing"),
    ],
)
def test_mistake_in_a_sabotage(file: Path, sabotage: str, message: str) -> None:
    text = f"{HEAD}checks:\n  a:\n    claim: c\n    severity: leak\n    sabotage: {sabotage}\n    expect: [start.ran]\n"
    (line,) = mistakes(file, text)
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.yaml:1:1: the file is empty"),
        ("title: t\n", "a.yaml:1:1: the file lacks the key 'checks'"),
        ("title: t\nchecks: {}\n", "a.yaml:2:9: 'checks' must not be empty"),
        ("title: t\nchecks: []\n", "a.yaml:2:9: 'checks' expects a mapping, not a list"),
        ("title: ' '\nchecks: {}\n", "a.yaml:1:8: 'title' must not be empty"),
        ("title: t\ncheks: {}\n", "a.yaml:2:1: unknown key 'cheks'; did you mean 'checks'?"),
        ("title: t\nchecks:\n  a: 1\n", "a.yaml:3:6: 'a' expects a mapping, not the text '1'"),
        ("title: t\nchecks:\n  a: {}\n  a: {}\n", "a.yaml:4:3: duplicate key 'a', first on line 3"),
        ("title: t\nchecks:\n  A_b: {}\n", "a.yaml:3:3: the name 'A_b' does not match ^[a-z0-9]+(-[a-z0-9]+)*$"),
    ],
)
def test_mistake_in_a_file(file: Path, text: str, message: str) -> None:
    assert mistakes(file, text)[0].startswith(message)


def test_all_mistakes_are_told_once_in_one_run(file: Path) -> None:
    text = f"""{HEAD}canaries: {{bait: proces}}
observe: {{kill: {{probe: sigal, args: {{pid: canary.bat.pid}}}}}}
checks:
  a: {{claim: c, severity: leak, sabotage: x1, expect: [inside.kill.x, inside.kil.x]}}
  b: {{claim: c, severity: leak, sabotage: x2, expect: [inside.kill.x]}}
"""
    assert [line.split(": ")[0] for line in mistakes(file, text)] == [
        "a.yaml:2:18",
        "a.yaml:3:25",
        "a.yaml:5:43",
        "a.yaml:3:17",
        "a.yaml:5:71",
        "a.yaml:6:43",
    ]


def test_known(file: Path) -> None:
    file.write_text(
        "fails:\n  a: {reason: why, see: [https://example.org/1]}\n  b: {reason: no}\nskips:\n  c: {reason: cannot}\n"
    )
    known = load_known(file)
    assert {name: (finding.reason, finding.see) for name, finding in known.fails.items()} == {
        "a": ("why", ["https://example.org/1"]),
        "b": ("no", []),
    }
    assert {name: skipped.reason for name, skipped in known.skips.items()} == {"c": "cannot"}


def test_a_finding_may_be_of_some_shapes_only(file: Path) -> None:
    file.write_text("fails:\n  everywhere: {reason: why}\n  here: {reason: why, shapes: [own, hardened]}\n")
    known = load_known(file)
    places = [(name, shape) for name in ("everywhere", "here", "else") for shape in ("", "hardened", "userns")]
    assert [place for place in places if known.finding(*place)] == [
        ("everywhere", ""),
        ("everywhere", "hardened"),
        ("everywhere", "userns"),
        ("here", ""),
        ("here", "hardened"),
    ]


def test_a_check_may_fail_in_one_shape_where_it_cannot_be_made_in_another(file: Path) -> None:
    file.write_text("fails: {a: {reason: x, shapes: [userns]}}\nskips: {a: {reason: y, shapes: [own, hardened]}}\n")
    known = load_known(file)
    shapes = ("", "hardened", "userns", "uid-1000")
    assert [shape for shape in shapes if known.skipped("a", shape)] == ["", "hardened"]
    assert [shape for shape in shapes if known.finding("a", shape)] == ["userns"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fails: {a: {}}\n", "a.yaml:1:12: 'a' lacks the key 'reason'"),
        ("fails: {a: because}\n", "a.yaml:1:12: 'a' expects a mapping, not the text 'because'"),
        ("fail: {}\n", "a.yaml:1:1: unknown key 'fail'; did you mean 'fails'?"),
        ("skips: {a: {reason: x, see: []}}\n", "a.yaml:1:24: unknown key 'see'; there is reason, shapes, versions"),
        ("fails: {a: {reason: x}}\nskips: {a: {reason: x}}\n", "a.yaml:2:9: 'a' stands under fails too"),
        (
            "fails: {a: {reason: x, shapes: [own]}}\nskips: {a: {reason: x, shapes: [own, hardened]}}\n",
            "a.yaml:2:9: 'a' stands under fails too",
        ),
    ],
)
def test_mistake_in_what_is_known(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(ScenarioError) as raised:
        load_known(file)
    assert str(raised.value) == message
