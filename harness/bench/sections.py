"""The sections of the benchmark beside that of the runtimes, in their order: each is made by one function."""

from collections.abc import Callable

from harness.bench import baseline
from harness.bench.progress import Tell
from harness.bench.series import Section

SECTIONS: dict[str, Callable[[Tell], Section]] = {baseline.NAME: baseline.measure}
