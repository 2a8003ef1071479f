"""Which configs of rate-limiting may stand, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.plugins.rate_limiting import RateLimiting
from tests.plugins.configs import problems

ORDER = "The limit for {} cannot be lower than the limit for {}"
NO_LIMIT = (
    "at least one of these fields must be non-empty: 'config.second', 'config.minute', "
    "'config.hour', 'config.day', 'config.month', 'config.year'"
)


def test_defaults():
    config = RateLimiting.Config.model_validate({"minute": 5}).model_dump(mode="json")
    assert config == {
        "second": None,
        "minute": 5,
        "hour": None,
        "day": None,
        "month": None,
        "year": None,
        "limit_by": "consumer",
        "header_name": None,
        "path": None,
        "policy": "local",
        "fault_tolerant": True,
        "hide_client_headers": False,
        "error_code": 429,
        "error_message": "API rate limit exceeded",
        "sync_rate": -1,
        "redis": {
            "host": None,
            "port": 6379,
            "timeout": 2000,
            "username": None,
            "password": None,
            "database": 0,
            "ssl": False,
            "ssl_verify": False,
            "server_name": None,
        },
    }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"@entity": [NO_LIMIT]}),
        ({"minute": 0}, {"minute": "value must be greater than 0"}),
        ({"minute": "5"}, {"minute": "expected a number"}),
        (
            {"minute": 10, "hour": 5},
            {"@entity": [ORDER.format("hour(5.0)", "minute(10.0)")]},
        ),
        (
            {"second": 20, "minute": 30, "day": 10},
            {"@entity": [ORDER.format("day(10.0)", "second(20.0)")]},
        ),
        (
            {"minute": 5, "limit_by": "sun"},
            {"limit_by": "expected one of: consumer, credential, ip, service, header, path"},
        ),
        ({"minute": 5, "limit_by": "header"}, {"header_name": "required field missing"}),
        ({"minute": 5, "limit_by": "path"}, {"path": "required field missing"}),
        ({"minute": 5, "policy": "far"}, {"policy": "expected one of: local, cluster, redis"}),
        ({"minute": 5, "policy": "redis"}, {"redis": {"host": "required field missing"}}),
        (
            {"minute": 5, "policy": "redis", "redis_host": "a", "sync_rate": 0.01},
            {"sync_rate": "must be -1, or at least 0.02 seconds"},
        ),
        (
            {"minute": 5, "policy": "cluster", "sync_rate": 0.5},
            {"sync_rate": "must be -1 unless the policy is 'redis'"},
        ),
        (
            {"minute": 5, "sync_rate": 0.5},
            {"sync_rate": "must be -1 unless the policy is 'redis'"},
        ),
        ({"minute": 5, "error_code": 0}, {"error_code": "value must be greater than 0"}),
        ({"minute": 5, "error_code": 1}, {"error_code": "value should be between 200 and 599"}),
        (
            {"minute": 5, "redis": {"port": 65536}},
            {"redis": {"port": "value should be between 0 and 65535"}},
        ),
        ({"minute": 5, "redis_prot": 1}, {"redis": {"prot": "unknown field"}}),
        (
            {"minute": 5, "redis": 5, "redis_host": "a"},
            {"redis": "expected a record", "redis_host": "unknown field"},
        ),
    ],
)
def test_what_is_refused(config: dict[str, Any], expected: dict[str, Any]):
    assert problems(RateLimiting, config) == expected


@pytest.mark.parametrize(
    "config",
    [
        {"policy": "cluster"},
        {"policy": "redis", "redis": {"host": "redis.test"}},
        {"policy": "redis", "redis_host": "redis.test", "sync_rate": 0.02},
        {"policy": "redis", "redis_host": "redis.test", "sync_rate": 10},
    ],
)
def test_policies(config: dict[str, Any]):
    assert problems(RateLimiting, {"minute": 5} | config) == {}


def test_old_names_of_redis_are_taken():
    given = {"minute": 5, "redis_host": "redis.test", "redis_port": None, "redis_database": 2}
    redis = RateLimiting.Config.model_validate(given).redis
    assert (redis.host, redis.port, redis.database) == ("redis.test", 6379, 2)


def test_old_names_change_what_is_there():
    given = {"minute": 5, "redis_host": "new.test", "redis": {"host": "stored.test", "port": 1}}
    redis = RateLimiting.Config.model_validate(given).redis
    assert (redis.host, redis.port) == ("new.test", 1)
