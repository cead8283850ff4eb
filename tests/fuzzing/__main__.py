"""Let atheris look for inputs that break a parser, guided by which of its lines they reach: `make fuzz-parsers`.

    python -m tests.fuzzing                             each parser for a minute
    python -m tests.fuzzing yamlfile -max_total_time=600
    python -m tests.fuzzing yamlfile .fuzzing/yamlfile/crash-…      once more what broke it

What stands behind the name is libFuzzer's. A module of this folder is a parser's: `seeds()` are real inputs, `words()`
what its language is made of, and `once(data)` raises where an input is neither read nor refused as it should be.
What has been found worth keeping stays in .fuzzing/ for the next time; what breaks a parser is written there, too.
"""

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
FOUND = Path(".fuzzing")
PARSERS = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
USUAL = {"-max_total_time": "60", "-timeout": "20", "-max_len": "4096", "-rss_limit_mb": "2048"}
INSTRUMENTED = ["harness", "yaml", "json"]  # whose lines guide it
LONGEST_WORD = 60  # characters; libFuzzer takes no more than 64 bytes
BREAKING = ("crash-*", "timeout-*", "oom-*")


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--one"]:
        fuzz(arguments[1], arguments[2:])
    if importlib.util.find_spec("atheris") is None:
        print("fuzz-parsers: atheris is not here; it comes for CPython 3.11 to 3.14 on x86_64. Nothing is done.")
        return 0
    wanted = [name for name in arguments[:1] if name in PARSERS]
    options = arguments[len(wanted) :]
    return max(in_process(name, options) for name in wanted or PARSERS)


def in_process(name: str, options: list[str]) -> int:
    """Fuzz one parser in a process of its own, and say how what broke it is tried again; 1 if anything did."""
    place = FOUND / name
    (place / "corpus").mkdir(parents=True, exist_ok=True)
    before = set(breaking(place))
    print(f"fuzz-parsers: {name}", flush=True)
    command = [sys.executable, "-m", "tests.fuzzing", "--one", name, *options]
    with tempfile.TemporaryDirectory(prefix="isoproof-fuzzing-") as own:  # libFuzzer ends without a clean-up
        status = subprocess.run(command, env=os.environ | {"TMPDIR": own}, check=False).returncode
    for path in sorted(set(breaking(place)) - before):
        print(f"again: {sys.executable} -m tests.fuzzing {name} {path}", flush=True)
    return int(status != 0)


def breaking(place: Path) -> list[Path]:
    return [path for pattern in BREAKING for path in place.glob(pattern)]


def fuzz(name: str, options: list[str]) -> None:
    """Fuzz one parser in this process, which ends with that."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=INSTRUMENTED):
        parser = importlib.import_module(f"tests.fuzzing.{name}")
    place = FOUND / name
    for number, seed in enumerate(parser.seeds()):
        (place / "corpus" / f"seed-{number}").write_bytes(seed)
    (place / "words").write_text(
        "".join(f'"{escaped(word)}"\n' for word in sorted({*parser.words()}) if 0 < len(word) <= LONGEST_WORD)
    )
    chosen = {option.partition("=")[0] for option in options}
    usual = [f"{option}={value}" for option, value in USUAL.items() if option not in chosen]
    files = [option for option in options if not option.startswith("-")]
    corpus = [] if files else [str(place / "corpus")]
    own = [f"-artifact_prefix={place}/", f"-dict={place}/words", "-print_final_stats=1"]
    atheris.Setup([name, *usual, *own, *options, *corpus], parser.once)
    atheris.Fuzz()


def escaped(word: str) -> str:
    """A word as it stands in a dictionary of libFuzzer's."""
    return "".join(chr(byte) if 32 < byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
