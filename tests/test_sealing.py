"""What only a phone can read, and what everybody sees: sealed as RFC 9180 and the shared vectors have it."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey
from test_payloads import CALL, SHOWN, alert, incident

from bridge import sealing
from bridge.payloads import ALERT_LIMIT, VOIP_LIMIT, Renderer, Shown
from bridge.policy import InterruptionLevel
from bridge.sealing import BAD_KEY, NO_KEY, Seal, blinded, hpke, kid, read_key, seal_for, sealed_how, written

VECTORS = Path(__file__).parents[1] / "contract/vectors"
SEALED: dict[str, Any] = json.loads((VECTORS / "sealed.json").read_text())
CLEAR = {
    case["name"]: case["payload"] for case in json.loads((VECTORS / "payloads.json").read_text())["cases"]
}
KEY: str = SEALED["public_key"]
CHANCE = bytes(range(32))
SUITE = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)


def raw(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def opened(payload: dict[str, Any]) -> bytes:
    """What is sealed in a payload; tests/ios/test_sealed.py opens by primitives alone."""
    key = KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(raw(SEALED["private_key"])))
    context = SUITE.create_recipient_context(raw(payload["sealed"]["enc"]), key, info=sealing.INFO)
    aad = f"{payload['call']['id']} {payload['sealed']['kid']}".encode()
    return bytes(context.open(raw(payload["sealed"]["ct"]), aad=aad))


# --- keys -------------------------------------------------------------------------------------


def test_a_key_is_read_as_it_was_written() -> None:
    assert written(read_key(KEY)) == KEY
    assert kid(KEY) == SEALED["kid"]


@pytest.mark.parametrize("text", ["", "A" * 43, KEY[:-1], KEY + "A", KEY[:-1] + "d", "é" * 43, KEY[:-2]])
def test_what_is_no_key_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="no X25519 public key"):
        read_key(text)


def test_it_is_sealed_where_it_must_be_or_can_be() -> None:
    found = {
        (mode, key): seal_for(key, mode, CHANCE)
        for mode in get_args(sealing.Encryption)
        for key in (KEY, None)
    }
    assert {of for of, seal in found.items() if seal is None} == {
        ("off", KEY),
        ("off", None),
        ("preferred", None),
    }
    assert found["required", None] == Seal(None, CHANCE)


def test_what_a_push_is_sealed_with_is_in_no_representation() -> None:
    assert str(CHANCE) not in repr(Seal(KEY, CHANCE))


# --- bytes ------------------------------------------------------------------------------------


def test_the_suite_is_that_of_the_rfc() -> None:
    """RFC 9180, appendix A.2.1, sequence number 0."""
    public = bytes.fromhex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
    ephemeral = bytes.fromhex("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600")
    enc, ct = hpke(public, ephemeral, b"Ode on a Grecian Urn", b"Count-0", b"Beauty is truth, truth beauty")
    assert enc.hex() == "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
    assert ct.hex() == (
        "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
    )


@pytest.mark.parametrize(
    "case", [one for one in SEALED["cases"] if one["content"]], ids=lambda one: one["name"]
)
def test_the_shared_vectors_are_what_the_bridge_sends(case: dict[str, Any]) -> None:
    clear = CLEAR[case["name"]]
    assert sealing.hidden(clear) == case["content"]
    made = sealing.sealed(sealing.shown(clear), sealing.hidden(clear), KEY, raw(case["ephemeral"]))
    assert made == case["payload"]


def test_the_vector_for_a_phone_without_a_key_is_what_the_bridge_sends() -> None:
    (case,) = [one for one in SEALED["cases"] if one["payload"]["sealed"] == {}]
    assert sealing.without_key(CLEAR["the call of the document"]) == case["payload"]


# --- pushes -----------------------------------------------------------------------------------

WORD = "Zwiebelkuchen"
TOLD = incident(
    alert(WORD, labels={"team": WORD}, annotations={"summary": f"{WORD} burns"}),
    receiver=WORD,
    acknowledged_by=WORD,
    name=hashlib.sha256(WORD.encode()).hexdigest()[:36],
)
KINDS = ("voip", "critical", "passive", "resolved", "acknowledged")


def render(kind: str, seal: Seal | None, *incidents: Any, shown: Shown = SHOWN, **how: Any) -> dict[str, Any]:
    renderer = Renderer(**how)
    if kind in get_args(InterruptionLevel):
        body = renderer.push(shown, "fallback", "alert", incidents, [kind], seal)  # type: ignore[list-item]
    elif kind == "voip":
        body = renderer.push(shown, "ring", "voip", incidents, ["critical"], seal)
    else:
        body = renderer.push(shown, kind, "alert", incidents, ["passive"], seal)  # type: ignore[arg-type]
    assert len(body) <= (VOIP_LIMIT if kind == "voip" else ALERT_LIMIT)
    payload: dict[str, Any] = json.loads(body)
    return payload


@pytest.mark.parametrize("kind", KINDS)
def test_a_sealed_push_shows_nothing_of_the_page_and_holds_all_of_it(kind: str) -> None:
    clear, payload = render(kind, None, TOLD), render(kind, Seal(KEY, CHANCE), TOLD)
    shown = json.dumps({name: value for name, value in payload.items() if name != "sealed"})
    assert WORD not in shown
    assert TOLD.id not in shown
    assert "https" not in shown
    plain = opened(payload)
    content = json.loads(plain)
    whole = payload | content | {"call": payload["call"] | content["call"]}
    del whole["sealed"]
    if kind != "voip":
        whole["aps"] |= {"alert": whole.pop("alert")}
        clear["aps"]["mutable-content"] = 1
    if kind in {"resolved", "acknowledged"}:  # nobody awaits its receipt, and the extension runs
        del clear["call"]["receipt_url"], clear["call"]["receipt_token"]
    assert whole == clear
    assert len(plain) % 256 == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_phone_without_a_key_is_told_nothing_and_can_still_answer(kind: str) -> None:
    payload = render(kind, Seal(None, CHANCE), TOLD)
    assert WORD not in json.dumps(payload)
    assert TOLD.id not in json.dumps(payload)
    assert payload.keys() <= {"aps", "v", "kind", "call", "caller_name", "sealed"}
    assert payload["sealed"] == {}
    assert payload["call"]["uuid"] == SHOWN.uuid
    if kind in {"voip", "critical", "passive"}:
        assert payload["call"]["receipt_url"] == SHOWN.receipt_url


@pytest.mark.parametrize("key", ["A" * 43, "AQ" + "A" * 41, KEY[:-4], "", "é"])
def test_a_key_that_turns_out_to_be_none_costs_the_words_and_not_the_ring(key: str) -> None:
    payload = render("voip", Seal(key, CHANCE), TOLD)
    assert (payload["caller_name"], payload["sealed"]) == ("On call", {})
    assert WORD not in json.dumps(payload)
    assert sealed_how(Seal(key, CHANCE), orjson.dumps(payload)) == BAD_KEY


def test_the_log_says_how_a_push_was_sealed() -> None:
    seals = (None, Seal(KEY, CHANCE), Seal(None, CHANCE))
    said = [sealed_how(seal, orjson.dumps(render("voip", seal, TOLD))) for seal in seals]
    assert said == [None, "for its key", NO_KEY]


def test_the_length_of_a_sealed_push_tells_less_than_its_words() -> None:
    lengths = {
        len(json.dumps(render("voip", Seal(KEY, CHANCE), incident(alert(annotations={"summary": "x" * n})))))
        for n in range(200)
    }
    assert len(lengths) <= 2


@pytest.mark.parametrize("char", ['"', "\\", "漢", "a", "😀"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_worst_texts_fit_sealed_beside_the_longest_receipt(kind: str, char: str) -> None:
    long = char * 9000
    worst = incident(
        *[alert(long + str(n), long, annotations={"summary": long}, repairs=("status",)) for n in range(9)],
        receiver=long,
        truncated_alerts=10**30,
        revision=2**53 - 1,
        resolution="expired",
        acknowledged_by=long,
    )
    shown = Shown(CALL, SHOWN.uuid, SHOWN.expires_at, "u" * 500, "t" * 100)
    for times in (1, 50):
        template = char * 4096
        payload = render(
            kind, Seal(KEY, CHANCE), *[worst] * times, shown=shown, caller_name=template, reason=template
        )
        content = json.loads(opened(payload))
        assert content["incidents"][0]["id"] == worst.id
        assert len(content["incidents"]) + content.get("incidents_omitted", 0) == times
        assert ("receipt_url" in content["call"]) == (kind in {"voip", "critical", "passive"})


def test_a_receipt_url_that_is_too_long_to_be_sealed_costs_the_receipt_and_not_the_ring() -> None:
    shown, warnings = Shown(CALL, SHOWN.uuid, SHOWN.expires_at, "u" * 700, "t"), []
    content = json.loads(opened(render("voip", Seal(KEY, CHANCE), TOLD, shown=shown, warn=warnings.append)))
    assert (content["call"], len(warnings)) == ({}, 1)


def test_what_there_is_room_for_is_used_and_the_rest_is_counted() -> None:
    content = json.loads(opened(render("voip", Seal(KEY, CHANCE), *[incident(alert()) for _ in range(100)])))
    assert len(content["incidents"]) > 10
    assert len(content["incidents"]) + content["incidents_omitted"] == 100


# --- names ------------------------------------------------------------------------------------


def test_a_blinded_name_is_another_uuid_that_only_the_secret_gives() -> None:
    """Apple knows the namespace, and could try labels until they give the call's UUID."""
    one = blinded(b"secret", CALL)
    assert one == blinded(b"secret", CALL)
    assert len({one, CALL, blinded(b"another", CALL), blinded(b"secret", SHOWN.uuid)}) == 4
    assert len(one) == 36
    assert one[14] == "4"
