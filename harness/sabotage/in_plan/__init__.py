"""Knobs that change how our runtime carries a config out."""

from harness.sabotage.in_plan import cgroups, filters, inheritance, namespaces, roots

MODULES = (cgroups, filters, inheritance, namespaces, roots)
