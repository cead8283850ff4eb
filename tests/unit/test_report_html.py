"""The page: that it is one file with a policy, what it answers, and that nothing hostile becomes part of it."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness import cli, matrix, report
from harness.report import html
from harness.report._page import LONGEST_TEXT
from harness.results import LONGEST_TEXT as LONGEST_RESULT
from harness.results import About, Area, Proof, Results, Runtime, from_json, to_json
from tests.unit.test_results import ENVIRONMENT, HOSTILE, a_failure, a_result, some_results

EVIL = [
    *HOSTILE,
    "</script><script>alert(1)</script>",
    "<!--",
    "]]>",
    "\u202egnp.exe",
    "\x00",
    "' onclick='x",
    "{{ 7 * 7 }}",
]
ABOUT = About(
    "A host is no container", ["inside.a == host.a"], {"skip-ns=uts": "Leave it out."}, ["uname(2)"], ["runc"]
)


class Structure(HTMLParser):
    """The tags of a page with the names of their attributes, its text, and what stands in its scripts and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.within = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.within = tag
        self.text += " " if tag in ("td", "th", "dt", "dd") else ""
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.within in self.raw:
            self.raw[self.within].append(data)
        else:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self.within = ""

    @property
    def evidence(self) -> Any:
        return json.loads(self.raw["script"][-1])

    def flat(self) -> str:
        return " ".join(self.text.split())


def many(checks: int = 200, runtimes: int = 13) -> Results:
    """A run of the size that is to be borne, of whose verdicts a third has evidence of its own."""
    names = [f"runtime-{number}" for number in range(runtimes)]
    results = []
    for check in range(checks):
        for at, name in enumerate(names):
            told: dict[str, Any] = {
                "area": f"area-{check // 10}",
                "path": f"scenarios/area-{check // 10}.yaml",
                "line": check,
            }
            text = f"'{check} {name if at % 3 == 0 else ''} {'x' * 150}'"
            claim = f"Claim {check}: nobody in a container renames the host, whatever the reason may be for it"
            if (check + at) % 4:
                more: dict[str, Any] = {"answers": [("inside.identity.hostname", text), ("inside.init.pid", "1")]}
            else:
                more = {"outcome": "xfail", "reason": f"{name} is known for it", "failures": [a_failure(text)] * 2}
            results.append(a_result(f"check-{check}", runtime=name, claim=claim, **told, **more))
    run = Results(ENVIRONMENT, [Runtime(name, "1.0") for name in names], results, "2026-11-29T20:00:00+00:00", 1.0)
    run.catalogue = {
        f"area-{area}": Area("Title", "Why", {f"check-{check}": ABOUT for check in range(10 * area, 10 * area + 10)})
        for area in range(checks // 10)
    }
    return run


def test_the_page_is_one_file_that_runs_nothing_but_its_own() -> None:
    page = Structure(html.render(some_results(a_result())))
    policy = next(
        value for tag, name, value in page.attributes if (tag, name) == ("meta", "content") and "src" in value
    )
    own = [*page.raw["script"][:1], *page.raw["style"]]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in own]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes[1]}'; script-src 'sha256-{hashes[0]}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not [name for _, name, _ in page.attributes if name in ("src", "srcset", "style") or name.startswith("on")]
    assert not [value for _, name, value in page.attributes if name == "href" and not value.startswith("#")]
    assert not re.search(r"@import|url\(|innerHTML|insertAdjacentHTML|document\.write", "".join(own))


@pytest.mark.parametrize("hostile", EVIL)
def test_what_a_container_says_is_no_part_of_the_page(hostile: str) -> None:
    def page(text: str) -> Structure:
        failing = a_result("uts-b", "fail", reason=text, failures=[a_failure(text)], command=text, claim=text)
        answering = a_result(answers=[(text, text)], proofs=[Proof("skip-ns=uts", "error", text)])
        run = some_results(failing, answering, a_result(runtime="runc", outcome="skip", reason=text))
        run.runtimes[0] = Runtime("builtin", text)
        run.runtimes.append(Runtime("absent", "", text))
        run.catalogue = {"uts": Area(text, text, {"uts-a": About(text, [text], {text: text}, [text], [text])})}
        return Structure(html.render(run))

    harmless, hostile_page = page("harmless"), page(hostile)
    assert hostile_page.tags == harmless.tags
    assert [each[:2] for each in hostile_page.attributes] == [each[:2] for each in harmless.attributes]
    assert hostile_page.raw["script"][0] == harmless.raw["script"][0]
    evidence = hostile_page.evidence
    for text in [hostile_page.text, *evidence["texts"]]:
        assert all(character.isprintable() or character == "\n" for character in text)
    plain = hostile.strip() if hostile.isprintable() else repr(hostile.strip())[1:-1]
    assert plain in hostile_page.flat() or not hostile.isprintable()
    assert len(evidence["texts"]) == len(harmless.evidence["texts"])


def test_a_long_text_is_cut_and_says_so() -> None:
    text = "x" * LONGEST_RESULT
    page = html.render(some_results(a_result(outcome="error", reason=text)))
    assert "x" * LONGEST_TEXT + f"… ({LONGEST_RESULT - LONGEST_TEXT} more characters)" in page
    assert "x" * (LONGEST_TEXT + 1) not in page


def test_the_answer_says_who_isolates_and_how_much_is_proven() -> None:
    run = some_results(
        a_result(proofs=[Proof("skip-ns=uts", "proven")]),
        a_result("uts-b", "skip", severity="escape", reason="no cgroup", proofs=[Proof("skip-ns=uts", "skip")]),
        a_result("uts-b", "xfail", runtime="runc", severity="escape", reason="issue 12"),
        a_result(runtime="runc", outcome="error", reason="it was killed"),
    )
    text = Structure(html.render(run)).flat()
    assert "2 container runtimes were put to 2 checks of isolation." in text
    assert "Everything that was asked of builtin holds." in text
    assert "Something does not hold on 1 of 2. On 1 of them it is something that crosses the boundary" in text
    assert "In 1 case nothing is said" in text
    assert "On builtin 1 of 2 checks are proven" in text
    assert "1 cannot be proven here." in text
    assert "builtin 0.1.0 1 of 1 0 0 0 0 0 0 1 1 of 2" in text
    assert "runc 1.1.5 0 of 2 1 0 0 0 0 1 0 \N{EN DASH}" in text


def test_of_many_that_are_proven_the_answer_tells_the_most_proven_alone() -> None:
    proven, skipped = [Proof("skip-ns=uts", "proven")], [Proof("skip-ns=uts", "skip", "it has no such step")]
    results = some_results(a_result(proofs=skipped, runtime="runc"), a_result(proofs=proven))
    text = Structure(html.render(results)).flat()
    assert "On builtin 1 of 1 checks are proven" in text
    assert "How much is on the others stands in the last column of the table." in text
    assert "On runc" not in text


def test_a_run_without_proofs_is_not_said_to_be_proven() -> None:
    text = Structure(html.render(some_results(a_result()))).flat()
    assert "Nothing is proven in this run: it was made without --prove" in text


def test_a_runtime_that_was_asked_for_nothing_does_not_hold() -> None:
    text = Structure(html.render(some_results(a_result(), a_result(runtime="runc", outcome="skip")))).flat()
    assert "Everything that was asked of builtin holds." in text


def test_the_name_of_a_runtime_acts_on_no_terminal() -> None:
    name = "oci:/opt/\x1b[2J\u202e</script>"
    run = some_results(a_result(runtime=name))
    run.runtimes.append(Runtime(name, "1.0"))
    page = Structure(html.render(run))
    assert all(character.isprintable() for text in (page.flat(), *page.evidence["runtimes"]) for character in text)


def test_a_runtime_that_is_not_here_says_why_and_has_no_figures() -> None:
    run = some_results(a_result())
    run.runtimes[1] = Runtime("runc", "", "runc is not installed")
    text = Structure(html.render(run)).flat()
    assert "runc not here: runc is not installed" in text
    assert "1 container runtime was put to 1 check of isolation." in text


def test_the_matrix_is_there_without_the_script() -> None:
    results = [a_result(), a_result(shape="userns"), a_result("uts-b", "fail", runtime="runc")]
    page = html.render(some_results(*results))
    rows = re.findall(r'<tr class="([^"]+)" id="([^"]+)">(.*)$', page, re.MULTILINE)
    assert [(classes, label) for classes, label, _ in rows] == [
        ("leak", "uts-a"),
        ("leak again", "uts-a[userns]"),
        ("leak", "uts-b"),
    ]
    cells = [re.findall(r"<td(?: class=(\w+))?>(\w*)", row) for _, _, row in rows]
    assert cells == [[("pass", "pass"), ("", "")], [("pass", "pass"), ("", "")], [("", ""), ("fail", "fail")]]
    assert "uts 3" not in Structure(page).flat()
    assert "all 2 hold 1 of 1 do not hold" in Structure(page).flat()


def test_an_area_looks_like_the_worst_of_its_verdicts() -> None:
    page = html.render(some_results(a_result(), a_result("uts-b", "xfail"), a_result("uts-c", "fail")))
    assert '<td class="fail">2<i> of 3 do not hold</i>' in page


def test_what_does_not_hold_stands_there_with_its_reason_and_its_runtimes() -> None:
    known = [a_result(runtime=name, outcome="xfail", reason="issue 12") for name in ("builtin", "runc")]
    text = Structure(html.render(some_results(*known))).flat()
    assert "uts-a known issue 12 builtin, runc" in text


def test_evidence_is_told_once_for_all_runtimes_that_share_it() -> None:
    alike = [a_result(runtime=name, answers=[("inside.init.pid", "1")]) for name in ("builtin", "runc")]
    other = a_result("uts-b", "fail", failures=[a_failure("'cell'")], proofs=[Proof("skip-ns=uts", "unproven", "why")])
    run = some_results(*alike, other)
    run.catalogue = {"uts": Area("Names", "", {"uts-a": ABOUT})}
    evidence = Structure(html.render(run)).evidence
    texts = evidence["texts"]
    shared, alone = evidence["lines"]
    [seen] = shared["told"][0]["seen"]
    assert (shared["told"][0]["verdict"], seen["on"]) == ("pass", [0, 1])
    assert [[texts[number] for number in pair] for pair in seen["answers"]] == [["inside.init.pid", "1"]]
    about = evidence["subjects"][shared["about"]]
    assert texts[about["why"]] == "A host is no container"
    assert [[texts[number] for number in pair] for pair in about["sabotages"]] == [["skip-ns=uts", "Leave it out."]]
    assert texts[shared["again"]] == "pytest 'scenarios/uts.yaml::uts-a[{runtime}]' --runtime '{runtime}'"
    [[expression, line, parts]] = alone["told"][0]["seen"][0]["broken"]
    assert (texts[expression], line) == ("inside.identity.hostname != host.identity.hostname", 9)
    assert [texts[value] for _, value in parts] == ["'cell'", "'host'"]
    [tried] = alone["tried"]
    assert (texts[tried["sabotage"]], tried["outcome"], texts[tried["reason"]]) == ("skip-ns=uts", "unproven", "why")
    assert evidence["subjects"][alone["about"]] == {}
    assert len(texts) == len(set(texts))


def test_errnos_of_attempts_are_told() -> None:
    denied = a_result(answers=[("inside.raise.errno", "'EPERM'")])
    evidence = Structure(html.render(some_results(denied))).evidence
    assert evidence["texts"][evidence["lines"][0]["told"][0]["seen"][0]["errno"]] == "EPERM"


def test_a_run_of_nothing_is_a_page_too() -> None:
    assert "0 checks of isolation" in Structure(html.render(some_results())).flat()


def test_what_has_changed_since_an_earlier_run_comes_worst_first(tmp_path: Path) -> None:
    before = some_results(a_result("uts-a", "fail"), a_result("uts-b"), a_result("uts-c"))
    now = some_results(a_result("uts-a"), a_result("uts-b"), a_result("uts-c", "xfail", reason="issue 12"))
    earlier = matrix.of(before)
    found = matrix.difference_of_runs(earlier, matrix.of(now), ("before", "now"))
    text = Structure(html.render_page(now, tmp_path, report.Since(earlier, found))).flat()
    assert "What has changed Since 2026-11-23 20:00:00 UTC, on Linux 6.18.0 x86_64" in text
    assert "2 verdicts differ, what does not hold now first" in text
    assert "uts-c builtin pass known issue 12 uts-a builtin fail pass The checks" in text
    same = Structure(html.render_page(now, tmp_path, report.Since(matrix.of(now), []))).flat()
    assert "No verdict differs." in same
    assert "What has changed" not in Structure(html.render(now)).flat()


def test_several_runs_are_told_in_one_page() -> None:
    runs = {name: some_results(a_result(runtime=name)) for name in ("builtin", "runc")}
    for name, run in runs.items():
        run.runtimes = [each for each in run.runtimes if each.name == name]
    page = Structure(html.render_matrix(matrix.merged({name: matrix.of(run) for name, run in runs.items()})))
    assert page.flat().count("Security modules") == 2
    assert "Everything that was asked of builtin and runc holds." in page.flat()
    assert "proven" not in page.flat()  # a matrix does not say


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs: two that differ, and one of another catalogue."""
    monkeypatch.chdir(tmp_path)
    for name, result in (
        ("before", a_result()),
        ("now", a_result(outcome="xfail")),
        ("other", a_result(claim="Something else")),
    ):
        Path(f"{name}.json").write_text(to_json(some_results(result)))


@pytest.mark.usefixtures("stored")
def test_report_tells_changes_where_it_is_asked_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", "now.json", "--format", "html", "--since", "before.json"]) == 0
    assert "1 verdict differs" in Structure(capsys.readouterr().out).flat()


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--format", "html", "--since", "gone.json"], "isoproof: open gone.json: No such file or directory"),
        (["--format", "html", "--since", "other.json"], "isoproof: other.json and now.json: no check is in both"),
        (["--format", "markdown", "--since", "before.json"], "isoproof: the report format markdown tells no changes"),
    ],
)
def test_changes_that_cannot_be_told_are_one_line(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", "now.json", *arguments]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(sentence)
    assert (told.out, told.err.count("\n")) == ("", 1)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("form", report.names())
def test_a_report_is_the_same_in_a_locale_that_lacks_its_letters(form: str) -> None:
    command = [sys.executable, "-m", "harness.cli", "report", "before.json", "--format", form]
    made = []
    for locale in ({"PYTHONUTF8": "1"}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(cli.__file__).parents[1]), "LC_ALL": "C"}
        made.append(subprocess.run(command, env=environment | locale, stdout=subprocess.PIPE, check=True).stdout)
    assert made[0] == made[1]


def test_a_large_run_makes_a_small_page() -> None:
    page = html.render(many())
    assert len(page.encode()) < 1_500_000
    assert page.count("is known for it") > 100


def test_results_are_kept_whatever_becomes_of_their_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(html, "render_page")
    monkeypatch.delattr(html, "render")
    with pytest.raises(AttributeError):
        report.write_all(some_results(a_result()), tmp_path)
    assert from_json((tmp_path / "isolation.json").read_bytes()).results == [a_result()]


def test_every_run_leaves_a_page(tmp_path: Path) -> None:
    report.write_all(some_results(a_result()), tmp_path)
    page = (tmp_path / "isolation.html").read_text()
    assert page.startswith("<!doctype html>\n")
    assert page.endswith("</html>\n")
    assert not re.search(r"[ \t]$", page, re.MULTILINE)  # one that is kept in a repository has none
    report.write_matrix(matrix.of(some_results(a_result())), tmp_path)
    assert (tmp_path / "matrix.html").exists()
