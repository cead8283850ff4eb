"""A minimal container runtime: an OCI config compiled to a list of system calls, and the executor that runs it."""
