"""Health checks of targets, by probes and by what becomes of traffic (balancer.md section 6)."""
