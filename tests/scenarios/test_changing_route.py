"""A route changes all the time while clients use it: each answer belongs to one of its versions."""

from __future__ import annotations

from .conftest import StartNodes
from .nodes import all_reach
from .traffic import SteadyTraffic
from .upstream import Upstream

CHANGES = 300
REPLACEMENTS = 50
GENERATIONS = ("/v0", "/v1", "/v2")


async def test_a_route_changed_three_hundred_times_never_answers_wrongly(
    start_nodes: StartNodes, upstream: Upstream
) -> None:
    writing, serving = nodes = await start_nodes(2)
    for number, path in enumerate(GENERATIONS):
        service = {"url": f"{upstream.url}{path}"}
        await writing.write("PUT", f"/services/s{number}", service)
    await writing.write("PUT", "/services/s0/routes/orders", {"paths": ["/orders"]})
    await writing.write("POST", "/upstreams", {"name": "orders.internal"})
    target = {"target": f"127.0.0.1:{upstream.port}"}
    await all_reach(
        nodes, await writing.write("POST", "/upstreams/orders.internal/targets", target)
    )

    url = f"http://{serving.addresses['proxy']}/orders/42"
    async with SteadyTraffic.to(url, f"{url}?second=client") as traffic:
        for number in range(1, CHANGES + 1):
            version = await writing.write(*change(number, upstream))
        await serving.reaches(version)
        await traffic.goes_on()
    assert traffic.failures == []
    valid = {(200, f"{path}/42") for path in GENERATIONS}
    seen = {answer for answers in traffic.answers.values() for answer in answers}
    assert {(status, text.partition("?")[0]) for status, text in seen} <= valid
    assert len(seen) > 1


def change(number: int, upstream: Upstream) -> tuple[str, str, dict[str, object]]:
    """Return the next of many ways to change what happens to the same request."""
    generation = number % len(GENERATIONS)
    match number % 5:
        case 0:
            return "PATCH", "/routes/orders", {"name": "orders", "methods": ["GET", "PUT"]}
        case 1:
            return "PATCH", "/routes/orders", {"paths": ["/orders", f"/{number}"]}
        case 2:
            host = ("127.0.0.1", "orders.internal")[number % 2]
            return "PATCH", f"/services/s{generation}", {"host": host}
        case _:
            service = {"service": {"name": f"s{generation}"}}
            return "PATCH", "/routes/orders", service


async def test_a_route_that_is_renamed_and_replaced_is_never_missed(
    start_nodes: StartNodes, upstream: Upstream
) -> None:
    writing, serving = await start_nodes(2)
    await writing.write("PUT", "/services/orders", {"url": upstream.url})
    route = {"paths": ["/orders"]}
    await serving.reaches(await writing.write("PUT", "/services/orders/routes/r0", route))
    async with SteadyTraffic.to(f"http://{serving.addresses['proxy']}/orders") as traffic:
        for number in range(REPLACEMENTS):
            await writing.write("PATCH", f"/routes/r{number}", {"name": "old"})
            await writing.write("PUT", f"/services/orders/routes/r{number + 1}", route)
            version = await writing.write("DELETE", "/routes/old")
        await serving.reaches(version)
        await traffic.goes_on()
    assert traffic.failures == []
    (answers,) = traffic.answers.values()
    assert set(answers) == {(200, "/")}
