"""bot-detection: which programs are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from gateway.plugins.bot_detection import BotDetection
from gateway.plugins.contract import Use
from gateway.plugins.identity import Directory
from gateway.plugins.request import Request
from gateway.testing import Serving
from tests.plugins.configs import problems

CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36"
)


def test_a_regex_that_does_not_compile_is_refused():
    found = problems(BotDetection, {"allow": ["a"], "deny": ["ok", "("]})
    assert found == {"deny": [None, "invalid regex: '(' (missing ): ()"]}


def test_a_regex_that_would_explode_is_refused():
    found = problems(BotDetection, {"deny": ["(a?){1000}(b?){1000}(c?){1000}"]})
    assert "pattern too large" in found["deny"][0]


@pytest.mark.parametrize(
    ("config", "name", "status"),
    [
        ({}, CHROME, 200),
        ({}, "curl/8.5.0", 200),
        ({}, "", 200),
        ({}, "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", 403),
        ({}, "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", 403),
        ({}, "DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)", 403),
        ({}, "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", 403),
        ({}, "Twitterbot/1.0", 403),
        ({}, "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", 403),
        ({}, "WhatsApp/2.23.20.0", 403),
        ({}, "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)", 403),
        ({}, "ExampleSpider/0.9", 403),
        ({}, "example-crawler 3.1", 403),
        ({}, "SomeBot/7", 403),
        ({}, "A robot without a number", 200),
        ({}, "Go-http-client/1.1", 403),
        ({}, "Apache-HttpClient/4.5.13 (Java/17.0.1)", 403),
        ({}, "okhttp/4.12.0", 403),
        ({}, "Python-urllib/3.11", 403),
        ({}, "axios/1.6.7", 403),
        ({}, "reqwest/0.11", 403),
        ({}, "aws-sdk-go/1.44 (go1.20; linux; amd64)", 403),
        ({}, "Boto3/1.34 Python/3.11", 403),
        ({"allow": ["Twitterbot"]}, "Twitterbot/1.0", 200),
        ({"allow": ["twitterbot"]}, "Twitterbot/1.0", 403),  # case counts
        ({"allow": ["(?i)twitterbot"]}, "Twitterbot/1.0", 200),
        ({"deny": ["^curl/"]}, "curl/8.5.0", 403),
        ({"deny": ["^url"]}, "curl/8.5.0", 200),
        ({"deny": ["rl/8"]}, "curl/8.5.0", 403),  # anywhere
        ({"allow": ["8"], "deny": ["curl"]}, "curl/8.5.0", 200),  # allow goes first
    ],
)
async def test_who_is_refused(config: dict[str, Any], name: str, status: int):
    async with Serving(BotDetection, **config) as gateway:
        for _ in range(2):  # the second time it may be remembered
            answer = await gateway.ask("GET", "/", headers={"User-Agent": name})
            assert answer.status_code == status
    if status == 403:
        assert answer.json()["message"] == "Forbidden"


def test_who_says_nothing_is_let_in():
    plugin = BotDetection(BotDetection.Config(deny=["."]), Use(uuid4(), "bot-detection"))
    asked: Any = SimpleNamespace(client_lines=b"\r\nHost: a.test", memory={})
    assert plugin.access(Request(asked, Directory())) is None


async def test_nobody_is_two_programs():
    async with Serving(BotDetection, allow=["."]) as gateway:
        headers = [("User-Agent", "a"), ("user-agent", "b")]
        answer = await gateway.ask("GET", "/", headers=headers)
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "Only one User-Agent header allowed",
    )


async def test_what_is_remembered_of_a_connection_is_forgotten_with_the_config():
    gateway = Serving(BotDetection, enabled=False)
    row = gateway.use(BotDetection)
    async with gateway:
        headers = {"User-Agent": "curl/8.5.0"}
        assert (await gateway.ask("GET", "/", headers=headers)).status_code == 200
        row["config"] = {"allow": [], "deny": ["curl"]}
        await gateway.apply()
        assert (await gateway.ask("GET", "/", headers=headers)).status_code == 403
