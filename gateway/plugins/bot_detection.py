"""bot-detection: no requests of programs that say they are robots (plugins.md section 5.10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from gateway.entities.entity import Record
from gateway.entities.route import check_regex
from gateway.entities.rules import Satisfies
from gateway.entities.types import Text
from gateway.plugins.contract import Plugin, Use
from gateway.plugins.reply import Reply, refuse
from gateway.plugins.request import Request
from gateway.routing.patterns import ValueRegex

_FORBIDDEN = refuse(403, "Forbidden")
_ONE_ONLY = refuse(400, "Only one User-Agent header allowed")

_ROBOTS = tuple(
    map(
        ValueRegex,
        (
            # Search engines.
            r"Googlebot|AdsBot-Google|Mediapartners-Google|FeedFetcher-Google|bingbot|BingPreview"
            r"|msnbot|Yahoo! Slurp|Baiduspider|YandexBot|DuckDuckBot|Applebot|Sogou|ia_archiver",
            # What shows previews of pages that somebody links to, and what watches sites.
            r"facebookexternalhit|Twitterbot|Slackbot|WhatsApp|Pingdom",
            # Any name that ends like one of a robot, with its version.
            r"(?:[Bb]ot|BOT|[Ss]pider|SPIDER|[Cc]rawler|CRAWLER)[/ ][0-9]",
            # Libraries.
            r"Go-http-client|Apache-HttpClient|okhttp|Python-urllib|\baxios/|\breqwest/"
            r"|\baws-sdk-|\bBoto3?/",
        ),
    )
)
"""What robots are publicly known to call themselves."""

Pattern = Annotated[Text, Satisfies(check_regex)]


class BotDetection(Plugin):
    """Refuses robots that say what they are."""

    name = "bot-detection"
    priority = 2500
    scopes = frozenset({"route", "service"})

    class Config(Record):
        """Which programs are let in, and which not, besides those that are known as robots."""

        allow: list[Pattern] = Field(
            default=[], description="Regexes: a program whose `User-Agent` has a match is let in."
        )
        deny: list[Pattern] = Field(
            default=[], description="Regexes: a program whose `User-Agent` has a match is refused."
        )

    config: Config

    def __init__(self, config: Config, use: Use, shared: Any = None) -> None:
        super().__init__(config, use, shared)
        self._allow = [ValueRegex(text) for text in config.allow]
        self._deny = [*(ValueRegex(text) for text in config.deny), *_ROBOTS]

    def access(self, request: Request) -> Reply | None:
        """Judge by what the program calls itself, once as long as it sends the same headers."""
        if request.recall(self):
            return None
        reply = self._judge(request.headers("User-Agent"))
        if reply is None:
            request.remember(self, True)
        return reply

    def _judge(self, names: Sequence[str]) -> Reply | None:
        if len(names) > 1:
            return _ONE_ONLY
        if not names:
            return None
        name = names[0].encode("latin-1")
        if any(regex.found_in(name) for regex in self._allow):
            return None
        return _FORBIDDEN if any(regex.found_in(name) for regex in self._deny) else None
