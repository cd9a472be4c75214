"""Real Debian hosts for tests and benchmarks: bases, network, machines, relay."""
