"""The Admin API of a node: entities are written here, and the cluster is looked at."""
