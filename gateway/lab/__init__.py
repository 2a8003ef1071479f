"""The lab: measures what a cluster promises, on clusters of its own or on one that runs."""
