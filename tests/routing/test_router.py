"""The router against a brute-force reading of the reference, after every change it goes through."""

from __future__ import annotations

from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from hypothesis.stateful import rule as step

from gateway.routing import Router, RouteRule, compile_rule
from gateway.routing.hosts import with_port

from .making import chosen, router, rule, winner
from .reference_router import Request, first_match

CONFIGURED_HOSTS = [
    *("a.test", "a.test:8443", "b.test", "*.test", "*.test:80", "*.test:443", "a.*", "a.*:8443"),
    *("x.a.test", "*.a.test", "::1", "[::1]:9000"),
]
REQUEST_HOSTS = [
    *(b"", b"a.test", b"a.test:8443", b"a.test:80", b"b.test", b"x.a.test", b"x.a.test:443"),
    *(b".test", b"a.b:8443", b"a.", b"other", b"A.test", b"::1", b"[::1]", b"[::1]:9000"),
]
PATHS = [
    *("/", "/a", "/ab", "/a/", "/a/b", "/ab/ab/ab/ab", "~/a", "~/a(b|/b)", "~/(?P<x>[ab]+)/b"),
    *("~/.*b$", "~/a|/b", "~.*", "~/ab/?"),
]
HEADERS = [
    {"x-a": ("1", "2")},
    {"X-A": ("~*^v[0-9]",)},
    {"x-a": ("V1",), "x-b": ("1",)},
    {"x-a": ("~*^V", "1")},
    {"x-b": ("~*V2",)},
]
SNIS = ["s.test", "t.test.", "*.test", "s.*"]

few_bytes = st.text("ab/", max_size=14)


rules = st.builds(
    rule,
    st.text("abcdefgh", min_size=8, max_size=8),
    hosts=st.lists(st.sampled_from(CONFIGURED_HOSTS), max_size=2, unique=True),
    paths=st.lists(st.sampled_from(PATHS) | few_bytes.map("/".__add__), max_size=3, unique=True),
    methods=st.sets(st.sampled_from(["GET", "POST"]), max_size=2),
    headers=st.none() | st.sampled_from(HEADERS),
    snis=st.sets(st.sampled_from(SNIS), max_size=1),
    protocols=st.sampled_from([["http", "https"], ["https"], ["grpc"], ["tcp"]]),
    regex_priority=st.integers(0, 2),
    created_at=st.sampled_from([1, 1.5, 2]),
    rule_id=st.integers(1, 12).map(lambda number: UUID(int=number)),
).filter(lambda made: made.hosts or made.paths or made.methods or made.headers or made.snis)

header_values = st.sampled_from([b"1", b"v1", b"V2", b"other"])
requests = st.builds(
    Request,
    tls=st.booleans(),
    method=st.sampled_from([b"GET", b"POST", b"get"]),
    host=st.sampled_from(REQUEST_HOSTS),
    path=few_bytes.map(lambda text: b"/" + text.encode()),
    headers=st.lists(st.tuples(st.sampled_from([b"x-a", b"x-b"]), header_values), max_size=2).map(
        tuple
    ),
    sni=st.sampled_from([b"s.test", b"t.test", b"S.test", None]),
    port=st.sampled_from([80, 8443]),
)
Table = dict[UUID, RouteRule]


def answer(asked: Router, request: Request, *, compatible: bool) -> tuple[str, bytes | None] | None:
    candidate = chosen(
        asked,
        request.path,
        host=with_port(request.host, request.port) if compatible else request.host,
        method=request.method,
        headers=request.headers,
        tls=request.tls,
        sni=request.sni,
    )
    return None if candidate is None else (candidate.payload, candidate.matched)


class ChangingRouter(RuleBasedStateMachine):
    """Routes are added, changed and removed; no answer may differ, of the new router or an old.

    One run is of one flavor. What flavor ``traditional`` refuses is not there in its runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.compatible = False
        self.generations: list[tuple[Router, Table]] = [(Router(), {})]

    def apply(self, upserts: list[RouteRule], removed: set[UUID]) -> None:
        current, table = self.generations[-1]
        allowed = [made for made in upserts if self.compatible or "*" not in "".join(made.snis)]
        upserts = list({made.id: made for made in allowed}.values())
        changed = {key: made for key, made in table.items() if key not in removed}
        changed.update({made.id: made for made in upserts})
        compiled = [compile_rule(made, compatible=self.compatible) for made in upserts]
        following = current.with_changes(compiled, removed)
        self.generations = [*self.generations[-3:], (following, changed)]

    @initialize(compatible=st.booleans(), upserts=st.lists(rules, max_size=12))
    def load(self, compatible: bool, upserts: list[RouteRule]) -> None:
        self.compatible = compatible
        self.apply(upserts, set())

    @step(upsert=rules)
    def add_or_change_one(self, upsert: RouteRule) -> None:
        self.apply([upsert], set())

    @step(upserts=st.lists(rules, max_size=6), removed=st.sets(st.integers(1, 12), max_size=6))
    def change_many(self, upserts: list[RouteRule], removed: set[int]) -> None:
        self.apply(upserts, {UUID(int=number) for number in removed})

    @step(asked=st.lists(requests, min_size=5, max_size=10))
    def ask(self, asked: list[Request]) -> None:
        for generation, table in self.generations:
            for request in asked:
                found = answer(generation, request, compatible=self.compatible)
                assert found == first_match(table.values(), request, compatible=self.compatible)

    @invariant()
    def holds_the_rules_of_http_by_id(self) -> None:
        current, table = self.generations[-1]
        of_http = {key: made for key, made in table.items() if "tcp" not in made.protocols}
        assert len(current) == len(of_http)
        assert all((key in current) is (key in of_http) for key in table)


TestChangingRouter = ChangingRouter.TestCase
TestChangingRouter.settings = settings(max_examples=80, stateful_step_count=15, deadline=None)


def test_a_router_of_many_paths_is_changed_back_to_an_empty_one() -> None:
    many = [rule(f"r{n}", paths=[f"/{n:b}"]) for n in range(1000)]
    full = router(*many)
    emptied = full
    for n, made in enumerate(many):
        assert winner(emptied, b"/" + f"{n:b}".encode()) == f"r{n}"
        emptied = emptied.with_changes((), [made.id])
    assert len(emptied) == 0
    assert winner(emptied, b"/1") is None
    assert len(full) == 1000
    assert winner(full, b"/1") == "r1"


def test_of_two_upserts_of_one_route_the_later_counts() -> None:
    one = router(rule("A", paths=["/a"]), rule("A", paths=["/b"]))
    assert len(one) == 1
    assert winner(one, b"/a") is None
    assert winner(one, b"/b") == "A"


def test_removing_what_is_not_there_changes_nothing() -> None:
    one = router(rule("A", paths=["/"]))
    assert winner(one.with_changes((), [UUID(int=1)])) == "A"


def test_candidates_end_with_the_first_that_asks_for_nothing_more() -> None:
    many = router(
        rule("conditional", paths=["/"], headers={"x": ["1"]}),
        rule("certain", paths=["/"], created_at=1),
        rule("never reached", paths=["/"], created_at=2),
    )
    candidates = many.candidates(False, b"GET", b"", b"/")
    assert [candidate.payload for candidate in candidates] == ["conditional", "certain"]


def test_a_route_that_is_not_served_leaves_the_request_to_the_next() -> None:
    both = router(rule("long", paths=["/a/b"]), rule("short", paths=["/a"]))
    served = both.candidates(False, b"GET", b"", b"/a/b", lambda payload: payload != "long")
    assert [candidate.payload for candidate in served] == ["short"]
