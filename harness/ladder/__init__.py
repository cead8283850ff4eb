"""The ladder: a container that grows step by step, and what each kernel feature isolates on the way up."""
