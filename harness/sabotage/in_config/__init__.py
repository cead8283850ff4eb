"""Knobs that change what the runtime is asked for, and so work on every OCI runtime."""

from harness.sabotage.in_config import devices, filters, limits, mounts, namespaces, rights

MODULES = (devices, filters, limits, mounts, namespaces, rights)
