"""The parts of the serving process that need no process."""

import socket
from pathlib import Path

import pytest

from exchange.api.server import Address, _connections, _listening, _local_socket, _tls
from exchange.errors import Invalid, Unavailable


def _address(host: str = "127.0.0.1", port: int = 0, certificate: str = "", *, proxy: bool = False) -> Address:
    return Address(host, port, certificate, "", proxy)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.invalid", "127.0.0.1.invalid", ""])
def test_another_address_needs_tls(host: str) -> None:
    """Refused without a certificate or a proxy, taken with either."""
    with pytest.raises(Invalid) as refused:
        _address(host).checked()
    assert (refused.value.code, refused.value.facts["host"]) == ("serve_address_refused", host)
    assert _address(host, proxy=True).checked().host == host
    assert _address(host, certificate="c.pem").checked().host == host


@pytest.mark.parametrize("port", [-1, 65_536, 1 << 40])
def test_ports_that_there_are_not(port: int) -> None:
    """Told as a setting that is wrong; the system would take some of them for another port."""
    with pytest.raises(Invalid) as refused:
        _address(port=port).checked()
    assert refused.value.code == "setting_wrong"


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAA\n"])
def test_certificates_that_are_none(tmp_path: Path, content: bytes | None) -> None:
    """One error that names the file."""
    file = tmp_path / "c.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Invalid) as refused:
        _tls(_address(certificate=str(file)))
    assert (refused.value.code, refused.value.where) == ("serve_certificate_wrong", str(file))
    assert _tls(_address()) is None


@pytest.mark.enable_socket
def test_listening() -> None:
    """The socket says that it is TCP, so that asyncio sets TCP_NODELAY: else each answer waits 40 ms for an ACK. A port
    that is taken is told.
    """
    with _listening(_address()) as first:
        assert first.proto == socket.IPPROTO_TCP
        with pytest.raises(Unavailable) as taken, _listening(_address(port=first.getsockname()[1])):
            pass
    assert taken.value.code == "serve_address_taken"


def test_the_local_socket_is_its_owners_alone(tmp_path: Path) -> None:
    """In the site, or in a folder of its own where the path is too long; what a killed server left is no obstacle."""
    for folder in (tmp_path / "a", tmp_path / ("b" * 120)):
        folder.mkdir()
        for _ in range(2):
            with _local_socket(folder / "serve.sock") as (_, path):
                assert Path(path).stat().st_mode & 0o777 == 0o600
                assert (Path(path).parent == folder) is (folder.name == "a")
            assert not Path(path).exists()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "a" / "serve.sock"))
    left.close()
    with _local_socket(tmp_path / "a" / "serve.sock") as (_, path):
        assert Path(path).is_socket()


def test_no_more_connections_than_files() -> None:
    """As many as are wanted, where the system lets a process have so many files open."""
    assert _connections(1) == 1
    assert 1 <= _connections(10_000_000) <= 10_000_000
