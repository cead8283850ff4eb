"""The runtimes that can be put under test, one module each; the module's name is the value of `--runtime`."""
