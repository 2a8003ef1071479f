"""Settings of hybrid mode that are lists, and the identity that is kept in a file."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from gateway.hybrid.addresses import parse_addresses, parse_labels
from gateway.hybrid.identity import Identity
from gateway.settings import NodeSettings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8005", ["127.0.0.1:8005"]),
        (" a.test:1 , b.test:65535,", ["a.test:1", "b.test:65535"]),
        ("[::1]:8005", ["[::1]:8005"]),
        ("a:1,a:1", ["a:1"]),
    ],
)
def test_addresses_of_control_planes(text: str, expected: list[str]) -> None:
    assert list(map(str, parse_addresses(text))) == expected


@pytest.mark.parametrize(
    "text",
    ["", ",", "a", "a:", ":1", "a:0", "a:65536", "a:x", "a:²", "a:1;b:2", "::1:8005", "[::1]"],
)
def test_addresses_that_cannot_be_name_the_setting(text: str) -> None:
    with pytest.raises(ValueError, match="--control-planes"):
        parse_addresses(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("region:eu", {"region": "eu"}),
        (" region : eu , tier:gold ", {"region": "eu", "tier": "gold"}),
        ("url:http://x", {"url": "http://x"}),
    ],
)
def test_labels(text: str, expected: dict[str, str]) -> None:
    assert parse_labels(text) == expected


@pytest.mark.parametrize("text", ["region", "region:", ":eu", "a:b,c", "a:b\nc"])
def test_labels_that_cannot_be_name_the_setting(text: str) -> None:
    with pytest.raises(ValueError, match="--data-plane-labels"):
        parse_labels(text)


def a_data_plane(directory: Path | str, name: str = "edge", port: int = 8000) -> NodeSettings:
    return NodeSettings(node_name=name, proxy_port=port, snapshot_dir=str(directory))


def node_id(settings: NodeSettings) -> UUID:
    """The id of a data plane that starts with these settings, and is over again."""
    identity = Identity.of(settings)
    identity.release()
    return identity.id


def test_no_two_that_live_are_the_same(tmp_path: Path) -> None:
    settings = a_data_plane(tmp_path)
    first = Identity.of(settings)
    with capture_logs() as log:
        second = Identity.of(settings)
    assert second.id != first.id
    assert "proxy port of its own" in log[0]["reason"]
    first.release()
    assert node_id(settings) == first.id


def test_a_data_plane_is_the_same_after_a_restart(tmp_path: Path) -> None:
    settings = a_data_plane(tmp_path / "new")
    assert node_id(settings) == node_id(settings)


def test_data_planes_that_share_a_directory_are_told_apart(tmp_path: Path) -> None:
    ids = {
        node_id(a_data_plane(tmp_path, name, port))
        for name in ("edge", "ed/ge", "..")
        for port in (8000, 8010)
    }
    assert len(ids) == 6
    assert len(list(tmp_path.iterdir())) == 6


def test_a_spoiled_identity_is_replaced(tmp_path: Path) -> None:
    settings = a_data_plane(tmp_path)
    node_id(settings)
    (kept,) = tmp_path.iterdir()
    kept.write_text("not an id")
    assert isinstance(node_id(settings), UUID)
    assert node_id(settings) == UUID(kept.read_text().strip())


def test_without_a_place_to_keep_it_each_start_is_another(tmp_path: Path) -> None:
    assert node_id(a_data_plane("")) != node_id(a_data_plane(""))
    (tmp_path / "file").write_text("")
    with capture_logs() as log:
        node_id(a_data_plane(tmp_path / "file" / "below"))
    assert [line["event"] for line in log] == ["the node's id cannot be kept"]
