"""The provider token over restarts."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bridge.apns.token import RENEW_AFTER, ProviderToken

KEY = (
    generate_private_key(SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
START = 1_800_000_000


class Times:
    """A machine whose clocks the test moves."""

    def __init__(self) -> None:
        self.wall = float(START)
        self.booted = 100.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.booted += seconds

    def token(self) -> ProviderToken:
        return ProviderToken(
            KEY, "ABC123DEFG", "ABCDE12345", elapsed=lambda: self.booted, wall=lambda: self.wall
        )


def test_a_restarted_bridge_goes_on_with_the_token_of_the_last_run() -> None:
    times = Times()
    first = times.token()
    header = first.get_header()
    assert first.minted == (header, START)
    times.pass_by(600)
    second = times.token()
    second.restore(header, START)
    assert second.get_header() == header
    assert second.age(times.wall) == 600


def test_a_restored_token_is_renewed_at_its_own_age_not_at_the_restarts() -> None:
    times = Times()
    header = times.token().get_header()
    times.pass_by(600)
    second = times.token()
    second.restore(header, START)
    times.pass_by(RENEW_AFTER - 601)
    assert second.get_header() == header
    times.pass_by(2)
    assert second.get_header() != header


def test_a_token_that_is_too_old_or_from_the_future_is_not_taken_up_again() -> None:
    times = Times()
    for issued_at in (START - int(RENEW_AFTER) - 1, START + 3600):
        token = times.token()
        token.restore("bearer old", issued_at)
        assert token.minted is None
        assert token.get_header() != "bearer old"
