"""Which target of an upstream entity takes a request. Pure: no I/O, no clock."""

from gateway.balancing.balancer import Balancer
from gateway.balancing.round_robin import WeightedRoundRobin

__all__ = ["Balancer", "WeightedRoundRobin"]
