"""The history checker: a cluster under writes and faults, its history recorded and judged."""
