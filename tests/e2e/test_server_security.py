# SPDX-License-Identifier: Apache-2.0
"""Who may use a server: TLS, client certificates, keys with roles, pages in browsers; and what is
told to those who may not. Triton's own clients and raw HTTP."""

import base64
import http.client
import json
import re
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass

import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException

import certificates
import program as programs
import triton_server
from triton_server import NUMBERS, ONES, expect_sums

ROLES = ("infer", "read", "operate")
MODULES = {"http": http_client, "grpc": grpc_client}


def make_key(takt, name, roles):
    done = takt.run("key", name, "--roles", roles).ok()
    key, line = done.out.splitlines()
    return key, line


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return triton_server.write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("security")


@dataclass
class Authorities:
    servers: certificates.Certificate
    clients: certificates.Certificate
    server: certificates.Certificate
    client: certificates.Certificate
    stranger: certificates.Certificate


@pytest.fixture(scope="module")
def authorities(folder):
    servers = certificates.authority(folder, "servers")
    clients = certificates.authority(folder, "clients")
    return Authorities(servers, clients,
                       certificates.signed(folder, "server", servers, "serverAuth"),
                       certificates.signed(folder, "client", clients, "clientAuth"),
                       certificates.signed(folder, "stranger", servers, "clientAuth"))


@pytest.fixture(scope="module")
def module_takt(program_path, folder):
    takt = programs.Program(program_path, programs.environment(folder))
    yield takt
    takt.kill_all()


@pytest.fixture(scope="module")
def keyed(module_takt, folder, models, authorities):
    """A server with TLS and a key for each role."""
    keys, lines = {}, []
    for role in ROLES:
        keys[role], line = make_key(module_takt, f"the-{role}-key", role)
        lines.append(f"    {line}\n")
    own = authorities.server
    more = (f"  tls: {{certificate: {own.certificate}, key: {own.key}}}\n"
            f"  keys:\n{''.join(lines)}")
    server = triton_server.start(module_takt, folder / "keyed", models, more=more)
    server.keys = keys | {"wrong": "takt_" + 64 * "0", "none": None}
    return server


@pytest.fixture(scope="module")
def mutual(module_takt, folder, models, authorities):
    """A server that lets clients in by their certificate."""
    own = authorities.server
    more = (f"  tls: {{certificate: {own.certificate}, key: {own.key}, "
            f"client_ca: {authorities.clients.certificate}}}\n")
    return triton_server.start(module_takt, folder / "mutual", models, more=more)


@pytest.fixture(scope="module")
def plain(module_takt, folder, models):
    return triton_server.start(module_takt, folder / "plain", models)


class Triton:
    """One of Triton's clients, which sends its key with each call."""

    def __init__(self, protocol, server, authority, own=None, key=None):
        self.module = MODULES[protocol]
        self.headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        if protocol == "http":
            self.client = http_client.InferenceServerClient(
                server.http, ssl=True,
                ssl_context_factory=lambda: certificates.client_context(authority, own))
        else:
            if key is not None:
                self.headers = {"authorization": f"Bearer {key}"}
            self.client = grpc_client.InferenceServerClient(
                server.grpc, ssl=True, root_certificates=str(authority.certificate),
                private_key=own and str(own.key), certificate_chain=own and str(own.certificate))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def __getattr__(self, name):
        return lambda *args, **more: getattr(self.client, name)(*args, headers=self.headers, **more)

    def sum(self):
        inputs = [self.module.InferInput("INPUT0", [1, 16], "INT32"),
                  self.module.InferInput("INPUT1", [1, 16], "INT32")]
        inputs[0].set_data_from_numpy(NUMBERS)
        inputs[1].set_data_from_numpy(ONES)
        expect_sums(self.infer("simple", inputs))


# What is called, and the keys that may. Life is told to everyone.
CALLS = {
    "is_server_live": (lambda t: t.is_server_live() or 1 / 0, {"none", "wrong", *ROLES}),
    "is_server_ready": (lambda t: t.is_server_ready() or 1 / 0, {"none", "wrong", *ROLES}),
    "get_server_metadata": (lambda t: t.get_server_metadata(), set(ROLES)),
    "get_model_metadata": (lambda t: t.get_model_metadata("simple"), set(ROLES)),
    "get_model_config": (lambda t: t.get_model_config("simple"), set(ROLES)),
    "get_inference_statistics": (lambda t: t.get_inference_statistics(), set(ROLES)),
    "infer": (lambda t: t.sum(), {"infer"}),
    "get_model_repository_index": (lambda t: t.get_model_repository_index(), {"read", "operate"}),
    "get_system_shared_memory_status": (lambda t: t.get_system_shared_memory_status(),
                                        {"read", "operate"}),
    "load_model": (lambda t: t.load_model("identity_fp32"), {"operate"}),
    "load_model with a configuration": (
        lambda t: t.load_model("simple", config='{"max_batch_size": 4}'), {"operate"}),
    "unload_model": (lambda t: t.unload_model("identity_fp32"), {"operate"}),
    "register_system_shared_memory": (
        lambda t: t.register_system_shared_memory("given", "/takt_e2e_security", 64), {"operate"}),
    "unregister_system_shared_memory": (lambda t: t.unregister_system_shared_memory(), {"operate"}),
    "update_trace_settings": (lambda t: t.update_trace_settings(settings={"trace_rate": "7"}),
                              {"operate"}),
    "update_log_settings": (lambda t: t.update_log_settings({"log_info": True}), {"operate"}),
}


def denial(call):
    """Why a call is refused; nothing where it is not."""
    try:
        call()
        return None
    except InferenceServerException as error:
        return {"401": "who", "403": "role", "StatusCode.UNAUTHENTICATED": "who",
                "StatusCode.PERMISSION_DENIED": "role"}.get(error.status(), str(error))


@pytest.mark.parametrize("protocol", MODULES)
@pytest.mark.parametrize("key", ["none", "wrong", *ROLES])
def test_each_role_against_each_call(keyed, authorities, protocol, key):
    memory = shm.create_shared_memory_region("given", "/takt_e2e_security", 64)
    try:
        with Triton(protocol, keyed, authorities.servers, key=keyed.keys[key]) as triton:
            for name, (call, allowed) in CALLS.items():
                expected = None if key in allowed else "role" if key in ROLES else "who"
                assert denial(lambda: call(triton)) == expected, f"{name} with key {key}"
    finally:
        shm.destroy_shared_memory_region(memory)


def test_settings_are_read_with_another_role_than_they_are_changed(keyed, authorities):
    for key, over_http, over_grpc in (("infer", "role", "role"), ("read", None, "role"),
                                      ("operate", None, None)):
        for protocol, expected in (("http", over_http), ("grpc", over_grpc)):
            with Triton(protocol, keyed, authorities.servers, key=keyed.keys[key]) as triton:
                assert denial(triton.get_log_settings) == expected, (protocol, key)
                assert denial(triton.get_trace_settings) == expected, (protocol, key)


def test_streams_need_a_key(keyed, authorities):
    for key, expected in (("infer", None), ("read", "PERMISSION_DENIED"),
                          ("none", "UNAUTHENTICATED")):
        with Triton("grpc", keyed, authorities.servers, key=keyed.keys[key]) as triton:
            answers = []
            triton.client.start_stream(lambda result, error: answers.append((result, error)),
                                       headers=triton.headers)
            inputs = [grpc_client.InferInput(name, [1, 16], "INT32")
                      for name in ("INPUT0", "INPUT1")]
            for one, values in zip(inputs, (NUMBERS, ONES)):
                one.set_data_from_numpy(values)
            try:
                triton.client.async_stream_infer("simple", inputs)
            except InferenceServerException:
                assert expected is not None, "the stream had ended"
            programs.wait_until(lambda: answers, "answer")
            triton.client.stop_stream()
            result, error = answers[0]
            if expected is None:
                expect_sums(result)
            else:
                assert expected in error.status()


def test_a_refusal_says_what_lacks(keyed, authorities):
    context = certificates.client_context(authorities.servers)
    connection = http.client.HTTPSConnection(keyed.http, context=context)
    connection.request("POST", "/v2/models/simple/infer", body="{}")
    answer = connection.getresponse()
    assert answer.status == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization: Bearer KEY" in json.load(answer)["error"]
    connection.request("POST", "/v2/models/simple/infer", body="{}",
                       headers={"Authorization": f"Bearer {keyed.keys['read']}"})
    answer = connection.getresponse()
    assert answer.status == 403
    assert "the-read-key" in (text := json.load(answer)["error"]) and "role infer" in text
    connection.close()


def test_metrics_need_the_role_read(keyed, authorities):
    context = certificates.client_context(authorities.servers)

    def scrape(key):
        request = urllib.request.Request(f"https://{keyed.metrics}/metrics")
        if keyed.keys[key]:
            request.add_header("Authorization", f"Bearer {keyed.keys[key]}")
        return urllib.request.urlopen(request, context=context).read().decode()

    for key, code in (("none", 401), ("wrong", 401), ("infer", 403)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            scrape(key)
        assert refused.value.code == code
    for key in ("read", "operate"):
        counts = dict(re.findall(r'^takt_requests_denied_total\{reason="(\w+)"\} (\d+)', scrape(key),
                                 re.MULTILINE))
        assert int(counts["no_key"]) >= 1 and int(counts["wrong_key"]) >= 1
        assert int(counts["role"]) >= 1 and set(counts) == {"no_key", "wrong_key", "role", "host",
                                                            "origin"}


@pytest.mark.parametrize("protocol", MODULES)
def test_clients_are_let_in_by_their_certificate(mutual, authorities, protocol):
    with Triton(protocol, mutual, authorities.servers, own=authorities.client) as triton:
        triton.sum()
    for own in (None, authorities.stranger):
        with Triton(protocol, mutual, authorities.servers, own=own) as triton:
            with pytest.raises(Exception) as refused:  # as each of their libraries says it
                triton.sum()
            assert not isinstance(refused.value, AssertionError)


@pytest.mark.parametrize("protocol", MODULES)
def test_a_server_proves_who_it_is(keyed, authorities, protocol):
    with Triton(protocol, keyed, authorities.clients, key=keyed.keys["infer"]) as triton:
        with pytest.raises(Exception) as refused:
            triton.sum()
        assert not isinstance(refused.value, AssertionError)


def test_old_versions_of_tls_are_not_spoken(keyed):
    for place in (keyed.http, keyed.grpc, keyed.metrics):
        for version, spoken in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
            done = subprocess.run(["openssl", "s_client", "-connect", place, version, "-alpn", "h2",
                                   "-cipher", "DEFAULT@SECLEVEL=0"], input=b"",
                                  capture_output=True, timeout=60)
            assert (b"-----BEGIN CERTIFICATE-----" in done.stdout) == spoken, (place, version)


def test_metrics_ask_for_a_certificate_too(mutual, authorities):
    context = certificates.client_context(authorities.servers, authorities.client)
    assert urllib.request.urlopen(f"https://{mutual.metrics}/metrics", context=context).status == 200
    context = certificates.client_context(authorities.servers)
    with pytest.raises((urllib.error.URLError, OSError)):
        urllib.request.urlopen(f"https://{mutual.metrics}/metrics", context=context)


# Browsers ------------------------------------------------------------------------------------------


def ask(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(server.http, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers


def test_pages_of_other_sites_get_nothing(plain):
    evil = {"Origin": "http://evil.example"}
    form = evil | {"Content-Type": "text/plain"}  # what a form sends without asking first
    for method, path, headers in (("POST", "/v2/repository/models/simple/unload", form),
                                  ("POST", "/v2/models/simple/infer", form),
                                  ("POST", "/v2/logging", form),
                                  ("GET", "/v2/models/simple", evil),
                                  ("GET", "/v2", {"Origin": "null"})):
        status, text, answered = ask(plain, method, path, "{}" if method == "POST" else None,
                                     **headers)
        assert status == 403 and "server.http.origins" in text, (path, status, text)
        assert not any(name.lower().startswith("access-control") for name in answered)
    status, _, answered = ask(plain, "OPTIONS", "/v2/models/simple/infer",
                              **evil, **{"Access-Control-Request-Method": "POST"})
    assert status == 403
    assert ask(plain, "GET", "/v2/models/simple")[0] == 200, "it was not unloaded"
    assert ask(plain, "GET", "/v2/models/simple", Origin=f"http://{plain.http}")[0] == 200
    assert ask(plain, "GET", "/v2/health/live", **evil)[0] == 200


def test_names_that_others_bind_to_this_server_get_nothing(plain):
    port = plain.http.split(":")[1]
    for host in ("rebound.example", f"rebound.example:{port}", "127.0.0.1.example"):
        for more in ({}, {"Origin": f"http://{host}"}):
            status, text, _ = ask(plain, "GET", "/v2/models/simple", Host=host, **more)
            assert status == 403 and "server.http.hosts" in text, (host, status)
    for host in ("localhost", f"localhost:{port}", "192.168.1.2", "[::1]:8000"):
        assert ask(plain, "GET", "/v2/models/simple", Host=host)[0] == 200, host


# File system ---------------------------------------------------------------------------------------


def expect_no_path(text, server):
    for path in (server.repository, server.repository.parent, "/tmp/", "/etc", "/home", "/root"):
        assert str(path) not in text, text


@pytest.mark.parametrize("name", [
    "..", "../serve.log", "../../etc/passwd", "/etc/passwd", "simple/../simple", "simple/1", ".",
    ".hidden", "a\\b", "a\nb", "nul\x01", 300 * "a", "%2e%2e", "simple/../../serve.log"])
def test_names_of_models_stay_inside_of_the_repository(plain, name):
    quoted = "".join(f"%{byte:02x}" for byte in name.encode())
    for method, path in (("GET", f"/v2/models/{quoted}"), ("GET", f"/v2/models/{quoted}/config"),
                         ("GET", f"/v2/models/{quoted}/versions/..%2f..%2fx"),
                         ("POST", f"/v2/models/{quoted}/infer"),
                         ("POST", f"/v2/repository/models/{quoted}/load"),
                         ("POST", f"/v2/repository/models/{quoted}/unload")):
        status, text, _ = ask(plain, method, path, "{}" if method == "POST" else None)
        assert 400 <= status < 500, (path, status, text)
        expect_no_path(text.replace(json.dumps(name)[1:-1], "NAME"), plain)
    with grpc_client.InferenceServerClient(plain.grpc) as client:
        for call in (client.load_model, client.unload_model, client.get_model_metadata):
            with pytest.raises(InferenceServerException) as refused:
                call(name)
            assert refused.value.status() in ("StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT")
            expect_no_path(str(refused.value).replace(name, "NAME"), plain)
    assert ask(plain, "GET", "/v2/models/simple/ready")[0] == 200


@pytest.mark.parametrize("key", [
    "file:../x", "file:1/../../x", "file:/etc/x", "file:1/../x", "file:..", "file:1/", "file:1/.x",
    "file:1/a/b", "file:config.pbtxt", "file:1\\..\\x", "file:01/x", "file:"])
def test_files_of_a_load_stay_inside_of_their_folder(plain, key):
    before = sorted(plain.repository.parent.rglob("*"))
    body = json.dumps({"parameters": {"config": json.dumps({"backend": "simulated"}),
                                      key: base64.b64encode(b"content").decode()}})
    status, text, _ = ask(plain, "POST", "/v2/repository/models/fresh/load", body)
    assert 400 <= status < 500, (status, text)
    expect_no_path(text.replace(json.dumps(key)[1:-1], "KEY"), plain)
    assert sorted(plain.repository.parent.rglob("*")) == before


@pytest.mark.parametrize("config", [
    {"name": "../other"}, {"name": "/etc/passwd"}, {"name": "other"},
    {"default_model_filename": "../../../serve.log"}, {"default_model_filename": "/etc/passwd"},
    {"backend": "../../x"}, {"backend": "/usr/lib/libx.so"}, {"max_batch_size": "many"}])
def test_a_configuration_names_nothing_outside(plain, config):
    for more in ({}, {"file:1/model.onnx": base64.b64encode(b"no model").decode()}):
        body = json.dumps({"parameters": {"config": json.dumps(config), **more}})
        status, text, _ = ask(plain, "POST", "/v2/repository/models/simple_string/load", body)
        assert status >= 400, (status, text)
        for value in config.values():
            text = text.replace(str(value), "VALUE")
        expect_no_path(text, plain)


def test_a_damaged_model_is_told_without_its_place(plain):
    folder = plain.repository / "damaged" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"no model at all")
    (plain.repository / "broken").mkdir()
    (plain.repository / "broken" / "config.pbtxt").write_text("no { configuration")
    for name in ("damaged", "broken"):
        status, text, _ = ask(plain, "POST", f"/v2/repository/models/{name}/load", "{}")
        assert status >= 400
        expect_no_path(text, plain)
    status, text, _ = ask(plain, "POST", "/v2/repository/index", "{}")
    assert status == 200
    expect_no_path(text, plain)


# Configuration -------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path, models):
    def write_config(server):
        file = tmp_path / "takt.yaml"
        file.write_text(f"models: {{repository: {models}, cache: none}}\nserver:\n"
                        f"  models: none\n  http: {{port: 0}}\n  grpc: {{port: 0}}\n"
                        f"  metrics: {{port: 0}}\n{server}")
        return file
    return write_config


def test_other_machines_are_not_let_in_by_default(takt, write, authorities):
    own = authorities.server
    tls = f"  tls: {{certificate: {own.certificate}, key: {own.key}}}\n"
    _, line = make_key(takt, "desk", "infer")
    keys = f"  keys:\n  {line}\n"
    for more, words in (("", ["TLS and keys (server.tls, server.keys)"]),
                        (tls, ["add keys (server.keys)"]), (keys, ["add TLS (server.tls)"])):
        config = write("  address: 0.0.0.0\n" + more)
        for command in ("validate", "serve"):
            takt.run(command, config).refused(2, "server.address", "insecure: true", *words)
    takt.run("validate", write("  address: 0.0.0.0\n" + tls + keys)).ok()
    takt.run("validate", write("  address: 0.0.0.0\n  insecure: true\n")).ok()
    warned = takt.run("validate", write("  address: 0.0.0.0\n  insecure: true\n" + keys)).ok()
    assert "warning: server: keys without TLS" in warned.err


def test_what_is_wrong_with_certificates_is_told(takt, write, authorities, tmp_path):
    own, other = authorities.server, authorities.client
    gone = tmp_path / "gone.pem"
    for tls, words in (
            (f"certificate: {gone}, key: {own.key}", ["server.tls: certificate", str(gone)]),
            (f"certificate: {own.certificate}, key: {gone}", ["server.tls: key", "can't be read"]),
            (f"certificate: {own.key}, key: {own.key}", ["server.tls: certificate", "PEM"]),
            (f"certificate: {own.certificate}, key: {other.key}",
             ["server.tls: key", "not the key of the first"]),
            (f"certificate: {own.certificate}, key: {own.key}, client_ca: {own.key}",
             ["server.tls: client_ca"])):
        config = write(f"  tls: {{{tls}}}\n")
        for command in ("validate", "serve"):
            takt.run(command, config).refused(2, *words)


def test_keys_are_made_and_shown_once(takt):
    done = takt.run("key", "line-3", "--roles", "infer,read").ok()
    key, line = done.out.splitlines()
    assert re.fullmatch("takt_[0-9a-f]{64}", key)
    assert re.fullmatch(r'- \{name: line-3, hash: "sha256:[0-9a-f]{64}", roles: \[infer, read\]\}',
                        line)
    assert key not in done.err and key[5:] not in line
    assert takt.run("key", "line-3").ok().out.splitlines()[0] != key
    takt.run("key", "line-3", "--roles", "admin").refused(2, "'admin' is no role", "operate")
    takt.run("key", "a b").refused(2, "'a b' is no name")
    assert "key" in takt.run("completion").ok().out


def test_shared_memory_can_be_switched_off(takt, models, tmp_path):
    server = triton_server.start(takt, tmp_path / "serve", models, more="  shared_memory: false\n")
    status, text, _ = ask(server, "POST", "/v2/systemsharedmemory/region/a/register",
                          json.dumps({"key": "/a", "offset": 0, "byte_size": 8}))
    assert status == 403 and "switched off" in text
