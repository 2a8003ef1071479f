"""Which address of an upstream entity takes a request. Pure: no I/O, no clock."""

from gateway.balancing.balancer import Balancer, Failure, Listener
from gateway.balancing.endpoint import Endpoint, Member
from gateway.balancing.group import Balancing, Group
from gateway.balancing.hash_inputs import HashInput, HashOn, MadeUpCookie, with_cookie

__all__ = [
    "Balancer",
    "Balancing",
    "Endpoint",
    "Failure",
    "Group",
    "HashInput",
    "HashOn",
    "Listener",
    "MadeUpCookie",
    "Member",
    "with_cookie",
]
