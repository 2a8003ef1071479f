"""Which configs of response-ratelimiting may stand, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.plugins.response_ratelimiting import ResponseRateLimiting
from tests.plugins.configs import problems

VIDEO = {"limits": {"video": {"minute": 5}}}
ALL = ("second", "minute", "hour", "day", "month", "year")


def test_defaults():
    config = ResponseRateLimiting.Config.model_validate(VIDEO).model_dump(mode="json")
    assert config == {
        "limits": {"video": dict.fromkeys(ALL) | {"minute": 5}},
        "header_name": "x-kong-limit",
        "limit_by": "consumer",
        "policy": "local",
        "fault_tolerant": True,
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
        "hide_client_headers": False,
        "block_on_first_violation": False,
    }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"limits": "required field missing"}),
        ({"limits": {}}, {"limits": "length must be at least 1"}),
        (
            {"limits": {str(number): {"minute": 1} for number in range(101)}},
            {"limits": "length must be at most 100"},
        ),
        (
            {"limits": {"video": {}}},
            {
                "limits": {
                    "video": {
                        "@entity": [
                            "at least one of these fields must be non-empty: 'second', 'minute', "
                            "'hour', 'day', 'month', 'year'"
                        ]
                    }
                }
            },
        ),
        (
            {"limits": {"video": {"minute": 10, "hour": 5}}},
            {
                "limits": {
                    "video": "The limit for hour(5.0) cannot be lower than the limit for "
                    "minute(10.0)"
                }
            },
        ),
        (
            {"limits": {"video": {"minute": 0}}},
            {"limits": {"video": {"minute": "value must be greater than 0"}}},
        ),
        (VIDEO | {"limit_by": "path"}, {"limit_by": "expected one of: consumer, credential, ip"}),
        (VIDEO | {"policy": "redis"}, {"redis": {"host": "required field missing"}}),
        (VIDEO | {"sync_rate": -1}, {"sync_rate": "unknown field"}),
    ],
)
def test_what_is_refused(config: dict[str, Any], expected: dict[str, Any]):
    assert problems(ResponseRateLimiting, config) == expected


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "é"])
def test_names_of_limits_can_stand_in_headers(name: str):
    assert problems(ResponseRateLimiting, {"limits": {name: {"minute": 1}}})


def test_old_names_of_redis_are_taken():
    config = VIDEO | {"policy": "redis", "redis_host": "redis.test"}
    assert ResponseRateLimiting.Config.model_validate(config).redis.host == "redis.test"
