"""Kong's own Go client walks every kind of entity; its own tests pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from .go import GoTests, compile_tests, names_of_tests, needs_go_kong

pytestmark = [needs_go_kong, pytest.mark.asyncio(loop_scope="session")]

WALKS = Path(__file__).parent / "gokong"

_NO_CHECKS = "it marks a target whose health nobody checks: refused as from Kong 3 on"

NOT_YET = {
    "TestTargetMarkHealthy": _NO_CHECKS,
    "TestTargetMarkUnhealthy": _NO_CHECKS,
    "TestOauth2CredentialCreate": "there are no credentials of OAuth 2",
    "TestOauth2CredentialCreateWithID": "there are no credentials of OAuth 2",
    "TestOauth2CredentialGet": "there are no credentials of OAuth 2",
    "TestOauth2CredentialDelete": "there are no credentials of OAuth 2",
    "TestOauth2CredentialListMethods": "there are no credentials of OAuth 2",
}
"""Tests of go-kong that do not pass, and why; whoever mends one takes it out."""


@pytest.fixture(scope="session")
def walks(tmp_path_factory: pytest.TempPathFactory, go_cache: Path) -> GoTests:
    return compile_tests(WALKS, tmp_path_factory.mktemp("walks"), go_cache)


@pytest.mark.parametrize("name", names_of_tests(WALKS))
async def test_walk(walks: GoTests, admin_url: str, name: str) -> None:
    outcome = await walks.run(name, admin_url=admin_url)
    assert outcome.verdicts == {name: "PASS"}, outcome.output


async def test_the_tests_of_go_kong_pass(go_kong: GoTests, admin_url: str) -> None:
    names = [name for name in go_kong.names() if name not in NOT_YET]
    outcome = await go_kong.run(*names, admin_url=admin_url)
    assert outcome.verdicts.keys() == set(names), outcome.output
    assert "FAIL" not in outcome.verdicts.values(), outcome.output


@pytest.mark.parametrize("name", NOT_YET)
async def test_what_does_not_pass_yet_is_known(go_kong: GoTests, admin_url: str, name: str) -> None:
    outcome = await go_kong.run(name, admin_url=admin_url)
    assert outcome.verdicts == {name: "FAIL"}, f"no longer: {NOT_YET[name]}"
