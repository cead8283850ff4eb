"""The sections of the benchmark beside that of the runtimes, in their order: each is made by one function."""

from collections.abc import Callable

from harness.bench import alive, baseline, concurrency, features, launcher_size, namespaces, phases, pool
from harness.bench.progress import Tell
from harness.bench.series import Section

SECTIONS: dict[str, Callable[[Tell], Section]] = {
    baseline.NAME: baseline.measure,
    phases.NAME: phases.on_demand,
    "phases-pooled": phases.pooled,
    "namespaces": namespaces.section,
    "features": features.section,
    "pool": pool.section,
    "launcher-size": launcher_size.section,
    "concurrency": concurrency.section,
    "alive": alive.section,
}
