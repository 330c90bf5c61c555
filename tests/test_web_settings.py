"""The web configuration file: what is accepted, and each thing that can be wrong with it, in words."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.config.problems import Problem
from bridge.web import WebConfig, WebConfigError, listen
from bridge.web.files import MAX_BYTES, Files
from bridge.web.settings import HEADERS, Settings, read_settings

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
TLS = "tls_server_config: {cert_file: c.pem, key_file: k.pem, "
Load = Callable[[str | bytes], Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    leaf = trustme.CA().issue_cert("localhost")
    leaf.private_key_pem.write_to_path(str(tmp_path / "k.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "c.pem"))

    def read(text: str | bytes) -> Settings:
        file = tmp_path / "web.yml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_settings(file, Files())

    return read


def problems(load: Load, text: str | bytes) -> list[str]:
    with pytest.raises(WebConfigError) as caught:
        load(text)
    return [re.sub(r"^.*/web\.yml:", "", str(problem)) for problem in caught.value.problems]


def complaints(load: Load, text: str | bytes) -> list[Problem] | None:
    try:
        load(text)
    except WebConfigError as error:
        return list(error.problems)
    return None


def test_every_key_that_can_be_honoured_is(load: Load) -> None:
    read = load(f"""
tls_server_config:
  cert_file: c.pem
  key_file: k.pem
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: c.pem
  client_allowed_sans: [am.example]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]
  prefer_server_cipher_suites: true
  curve_preferences: [CurveP256]
http_server_config:
  http2: false
  headers: {{Strict-Transport-Security: max-age=31536000, X-Frame-Options: sameorigin}}
basic_auth_users: {{alice: {HASH}, 42: {HASH}}}
authorization: {{credentials: t0ken}}
rate_limit: {{interval: 1m1.5s, burst: 20}}
""")
    assert read.context is not None
    assert list(read.users) == ["alice", "42"]
    assert read.bearer == "t0ken"
    assert read.rate_limit is not None
    assert (read.rate_limit.interval, read.rate_limit.burst) == (61.5, 20)
    assert read.headers["X-Frame-Options"] == "sameorigin"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing yet",
        "{}",
        "tls_server_config: {}",
        "tls_server_config:\nbasic_auth_users:\n",
        "\ufeff{}",
        "rate_limit: {interval: 0}",
        "tls_server_config: {cert_file: c.pem, key_file: k.pem, client_auth_type: ''}",
        "tls_server_config: {cert_file: c.pem, key_file: k.pem, min_version: TLS13, cipher_suites: [TLS_AES_128_GCM_SHA256]}",
    ],
)
def test_what_exporter_toolkit_takes_is_taken(load: Load, text: str) -> None:
    load(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a", ["1:1: must be a mapping (key: value)"]),
        ("a: [", ["2:1: not YAML: did not find expected node content"]),
        ("authorization: *s3cret", ["1:16: not YAML: found undefined alias"]),
        (b"a: 1\nb: \xff", ["2:4: this is not UTF-8 text"]),
        ("a: \x01", ["1:1: not YAML: a character that YAML does not allow"]),
        ("{}\n---\n{}", ["2:1: not YAML: but found another document"]),
        ("? [a]\n: b", ["1:3: a key must be plain text"]),
        ("basic_auth: {}", ['1:1: basic_auth: unknown key, did you mean "basic_auth_users"?']),
        ("TLS_server_config: {}", ['1:1: TLS_server_config: unknown key, did you mean "tls_server_config"?']),
        ("zzz: 1", ["1:1: zzz: unknown key"]),
        ("'p4ss word!': 1", ["1:1: …: unknown key"]),
        (
            "authorization: {credentials: ''}\nhttp_server_config: {headers: {X-Frame-Options: [deny]}}",
            [
                "1:30: authorization.credentials: is empty",
                "2:49: http_server_config.headers.X-Frame-Options: must be text",
            ],
        ),
        (
            TLS + "client_auth_type: Vrify}",
            [
                (
                    "1:74: tls_server_config.client_auth_type: must be one of NoClientCert, VerifyClientCertIfGiven, "
                    "RequireAndVerifyClientCert"
                )
            ],
        ),
        (
            TLS + "client_auth_type: NoClientCert, client_ca_file: c.pem, client_allowed_sans: []}",
            [
                "1:104: tls_server_config.client_ca_file: has no effect without client_auth_type: RequireAndVerifyClientCert",
                "1:132: tls_server_config.client_allowed_sans: has no effect without client_auth_type: RequireAndVerifyClientCert",
                "1:132: tls_server_config.client_allowed_sans: names nobody: no client could connect; leave it out to allow all",
            ],
        ),
        (
            TLS + "cipher_suites: TLS13, min_version: TLS14, prefer_server_cipher_suites: maybe}",
            [
                "1:71: tls_server_config.cipher_suites: must be a list",
                '1:91: tls_server_config.min_version: must be one of TLS12, TLS13, did you mean "TLS13"?',
                "1:127: tls_server_config.prefer_server_cipher_suites: must be true or false",
            ],
        ),
        (
            "tls_server_config: {cert_file: k.pem, key_file: k.pem}",
            ["1:32: tls_server_config.cert_file: the certificate and its key cannot be loaded as PEM"],
        ),
        (
            "tls_server_config: {cert_file: c.pem, key: garbage}",
            ["1:32: tls_server_config.cert_file: the certificate and its key cannot be loaded as PEM"],
        ),
        (
            "rate_limit: {}\nrate_limit: {}",
            ["2:1: rate_limit: this key stands here twice, first on line 1"],
        ),
        ("basic_auth_users: [alice]", ["1:19: basic_auth_users: must be a mapping (key: value)"]),
        (
            "basic_auth_users: {alice: }",
            ["1:27: basic_auth_users.alice: is empty"],
        ),
        (
            f"basic_auth_users: {{'a:b': {HASH}}}",
            ["1:27: basic_auth_users.a:b: a user name cannot hold a colon: HTTP ends it there"],
        ),
        ("authorization:", ["1:15: authorization: needs one of credentials and credentials_file"]),
        (
            "authorization: {credentials: a, credentials_file: b}",
            ["1:16: authorization: needs one of credentials and credentials_file"],
        ),
        (
            "authorization: {type: Basic, credentials: a}",
            ["1:23: authorization.type: must be Bearer; for Basic there is basic_auth_users"],
        ),
        (
            "authorization: {credentials: two words}",
            ["1:30: authorization.credentials: must be printable ASCII without spaces, as a header takes it"],
        ),
        ("authorization: {credentials: [x]}", ["1:30: authorization.credentials: must be text"]),
        (
            "http_server_config: {http2: true}",
            [
                (
                    "1:29: http_server_config.http2: cannot be honoured: this listener speaks HTTP/1.1; "
                    "write false, or leave it out"
                )
            ],
        ),
        ("http_server_config: {http2: 1}", ["1:29: http_server_config.http2: must be true or false"]),
        (
            'http_server_config: {headers: {Content-Security-Policy: "a\\nb", Server: x}}',
            [
                "1:57: http_server_config.headers.Content-Security-Policy: a header must be one line of printable ASCII",
                "1:65: http_server_config.headers.Server: unknown key",
            ],
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: DENY}}",
            [
                (
                    "1:49: http_server_config.headers.X-Frame-Options: must be one of deny, sameorigin, "
                    'did you mean "deny"?'
                )
            ],
        ),
        (
            "rate_limit: {interval: 1, burst: 1}",
            ['1:24: rate_limit.interval: must be a duration with its unit, such as "1s" or "100ms"'],
        ),
        (
            "rate_limit: {interval: 1s, burst: 0}",
            ["1:35: rate_limit.burst: must be a whole number, at least 1"],
        ),
        ("rate_limit: {interval: 1s}", ["1:13: rate_limit.burst: must be a whole number, at least 1"]),
        ("rate_limit: {burst: 3}", ["1:21: rate_limit.burst: has no effect without interval"]),
        (
            "tls_server_config: {min_version: TLS13}",
            [
                "1:20: tls_server_config: cert_file (or cert) is missing",
                "1:20: tls_server_config: key_file (or key) is missing",
            ],
        ),
        (
            TLS + "key: x}",
            ["1:49: tls_server_config.key_file: key is given too: leave one of them out"],
        ),
        (
            TLS + "min_version: TLS13, max_version: TLS12}",
            ["1:89: tls_server_config.max_version: is below min_version"],
        ),
        (
            TLS + "client_auth_type: RequireAndVerifyClientCert}",
            [
                (
                    "1:74: tls_server_config.client_auth_type: client_ca_file is missing: "
                    "the certificates of every public CA would be let in"
                )
            ],
        ),
        (
            TLS + "client_ca_file: c.pem}",
            [
                (
                    "1:72: tls_server_config.client_ca_file: has no effect without "
                    "client_auth_type: RequireAndVerifyClientCert"
                )
            ],
        ),
        (
            TLS + "client_ca_file: k.pem, client_auth_type: VerifyClientCertIfGiven}",
            [
                "1:72: tls_server_config.client_ca_file: no certificates in PEM could be read here (OpenSSL: NO_CERTIFICATE_OR_CRL_FOUND)"
            ],
        ),
        (
            TLS + "cipher_suites: [TLS_AES_128_GCM_SHA256]}",
            [
                "1:71: tls_server_config.cipher_suites: leaves none for TLS 1.2: add one, or set min_version: TLS13"
            ],
        ),
        (
            TLS + "cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}",
            [
                (
                    "1:72: tls_server_config.cipher_suites[0]: is not a name known here, "
                    'did you mean "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"?'
                )
            ],
        ),
        (
            TLS + "curve_preferences: [X25519, P256]}",
            [
                (
                    "1:75: tls_server_config.curve_preferences: only one curve can be set here "
                    "(Python's ssl takes no list); leave it out for OpenSSL's own"
                ),
                (
                    "1:84: tls_server_config.curve_preferences[1]: must be one of CurveP256, CurveP384, CurveP521, X25519, "
                    'did you mean "CurveP256"?'
                ),
            ],
        ),
    ],
)
def test_each_mistake_is_told_with_its_place(load: Load, text: str | bytes, expected: list[str]) -> None:
    assert problems(load, text) == expected


def test_all_mistakes_are_told_at_once_in_the_files_order(load: Load) -> None:
    found = problems(
        load,
        "authorisation: {}\ntls_server_config:\n  cert_file: none.pem\n  min_version: TLS10\n"
        "basic_auth_users:\n  alice: plain-text-password\nrate_limit: 5\n",
    )
    places = [problem.split(": ")[:2] for problem in found]
    assert places == [
        ["1:1", "authorisation"],
        ["3:3", "tls_server_config"],
        ["3:14", "tls_server_config.cert_file"],
        ["4:16", "tls_server_config.min_version"],
        ["6:10", "basic_auth_users.alice"],
        ["7:13", "rate_limit"],
    ]
    assert "plain-text-password" not in str(found)


def test_a_file_that_cannot_be_used_is_told_without_its_name_which_may_be_a_secret(
    load: Load, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(b"x" * (MAX_BYTES + 1))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    said = {
        "s3cret": "this file cannot be read: No such file or directory",
        "'s3\\0cret'": "this file cannot be read: ",
        '"s3\\0cret"': "this file cannot be read: ",
        "empty": "this file is empty",
        "large": f"this file cannot be read: is larger than {MAX_BYTES} bytes",
        "folder": "this file cannot be read: is not a regular file",
        "pipe": "this file cannot be read: is not a regular file",
    }
    for name, message in said.items():
        (problem,) = problems(load, f"authorization: {{credentials_file: {name}}}")
        assert problem.startswith(f"1:35: authorization.credentials_file: {message}"), problem
        assert "s3cret" not in problem


def test_a_missing_configuration_file_is_a_problem_too(tmp_path: Path) -> None:
    with pytest.raises(WebConfigError, match=r"web.yml:1:1: the file cannot be read: No such file"):
        WebConfig.load(tmp_path / "web.yml")


@pytest.mark.parametrize(
    "text", ["", "$2y$10$short", HASH.replace("$2y$", "$2x$"), HASH.replace("$10$", "$03$"), HASH + "x"]
)
def test_what_is_no_bcrypt_hash_is_refused_without_being_shown(load: Load, text: str) -> None:
    (problem,) = problems(load, f"basic_auth_users: {{alice: '{text}'}}")
    assert "bcrypt" in problem or "is empty" in problem
    assert not text or text not in problem


keys = st.sampled_from(
    ["tls_server_config", "http_server_config", "basic_auth_users", "authorization", "rate_limit", "x"]
) | st.sampled_from(["cert", "key_file", "client_ca", "headers", "interval", "credentials", *HEADERS])
scalars = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["c.pem", "1s", HASH])
)
trees = st.recursive(scalars, lambda t: st.lists(t, max_size=3) | st.dictionaries(keys, t, max_size=4))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees)
def test_whatever_the_file_holds_it_is_read_or_refused_in_words(load: Load, tree: object) -> None:
    found = complaints(load, yaml.safe_dump(tree))
    assert found is None or (found and all(problem.line > 0 and problem.message for problem in found))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_bytes_of_any_kind_are_read_or_refused_in_words(load: Load, data: bytes) -> None:
    assert complaints(load, data) != []


# -- listen addresses --


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        (":9095", None, 9095),
        ("127.0.0.1:9095", "127.0.0.1", 9095),
        ("[::1]:9095", "::1", 9095),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
        ("localhost:0", "localhost", 0),
        ("my_host.example.:65535", "my_host.example.", 65535),
    ],
)
def test_a_listen_address_is_read_as_alertmanager_reads_it(address: str, host: str | None, port: int) -> None:
    assert listen(address) == (host, port)
    assert str(listen(address)) == address


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", '"" has no port; did you mean ":9095"?'),
        ("9095", '"9095" has no colon; did you mean ":9095"?'),
        ("localhost", '"localhost" has no port; did you mean "localhost:9095"?'),
        ("[::1]", '"[::1]" has no port; did you mean "[::1]:9095"?'),
        ("::1:9095", '"::1:9095": an IPv6 address needs brackets; did you mean "[::1]:9095"?'),
        ("[zz]:1", '"[zz]:1": "zz" is not an IPv6 address'),
        ("http://x:1", '"http://x:1" is a URL; write only host:port, such as ":9095"'),
        ("a:", '"a:": the port must be a number from 0 to 65535, not ""'),
        ("a:http", '"a:http": the port must be a number from 0 to 65535, not "http"'),
        ("a:65536", '"a:65536": the port must be a number from 0 to 65535, not "65536"'),
        (
            "a:" + "9" * 5000,
            f'"a:{"9" * 5000}": the port must be a number from 0 to 65535, not "{"9" * 5000}"',
        ),
        ("a:²", '"a:²": the port must be a number from 0 to 65535, not "²"'),
        ("300.1.1.1:1", '"300.1.1.1:1": "300.1.1.1" is not an IPv4 address'),
        ("-a:1", '"-a:1": "-a" is not a host name'),
        ("a b:1", '"a b:1": "a b" is not a host name'),
    ],
)
def test_a_listen_address_that_cannot_be_is_told_in_words(address: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        listen(address)
