"""The server hands out its table of files with strict headers, and nothing else to nobody else."""

import http.client
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from browsing import serving

pytest.importorskip("starlette", reason="the server needs: pip install 'geocamnet[web]'")
from starlette.testclient import TestClient

from geocamnet.cli import main
from geocamnet.errors import DataError
from geocamnet.web import server as server_module
from geocamnet.web.server import HEADERS, Certificate, app_of, listen, serve


@pytest.fixture
def client(files):
    return TestClient(app_of(files), base_url="http://127.0.0.1")


@pytest.fixture
def port(files):
    with serving(app_of(files)) as (port, _):
        yield port


def said(port, request):
    """Send bytes, return the status line."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sent:
        sent.sendall(request)
        return sent.recv(4096).split(b"\r\n")[0].decode()


def test_every_file_of_the_page_comes_whole_with_its_type(client, files):
    for path, one in files.items():
        answer = client.get(f"/{path}")
        assert answer.status_code == 200, path
        assert answer.content == one.content, path
        assert answer.headers["content-type"] == one.content_type, path
    assert client.get("/").content == files["index.html"].content


def test_every_answer_carries_the_strict_headers(client):
    for answer in (client.get("/"), client.get("/nowhere"), client.get("/model.onnx"), client.post("/", content=b"x")):
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "http" not in policy  # no other origin


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml", "/..%2f..%2fpyproject.toml", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd",
        "/engine/../../site.py", "/engine", "/page/", "/index.html/",
        "/site.py", "/.hidden", "/%00", "/index.html%00.js", "/C:/Windows/win.ini",
    ],
)  # fmt: skip
def test_a_path_that_is_not_in_the_table_is_not_found(port, path):
    assert said(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()).split()[1] in ("404", "400")


def test_what_is_known_already_is_not_sent_again_and_text_is_packed(client):
    first = client.get("/plasma.js")
    again = client.get("/plasma.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["content-encoding"] == "gzip"
    plain = client.get("/plasma.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == first.content
    head = client.head("/plasma.js", headers={"Accept-Encoding": "identity"})
    assert (int(head.headers["content-length"]), head.content) == (len(plain.content), b"")


def test_nothing_is_taken(client):
    assert client.post("/index.html", content=b"a photograph").status_code in (405, 413)
    assert client.request("GET", "/index.html", content=b"x" * 10_000_000).status_code == 413
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert client.request(method, "/index.html").status_code == 405


def test_another_name_for_this_machine_is_refused_on_loopback(files):
    client = TestClient(app_of(files), base_url="http://evil.example")
    assert client.get("/").status_code == 400
    assert TestClient(app_of(files, host="192.168.7.7"), base_url="http://laptop.local").get("/").status_code == 200


def test_malformed_and_oversized_requests_end_and_the_server_goes_on(port):
    assert "400" in said(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    assert "400" in said(port, b"GET / HTTP/1.1\r\n\r\n")
    assert "400" in said(port, b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert "413" in said(port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n")
    assert "200" in said(port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")


@pytest.mark.slow
def test_two_hundred_clients_at_once_are_all_answered(port, files):
    def ask(_):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/model.onnx")
        return connection.getresponse().read() == files["model.onnx"].content

    with ThreadPoolExecutor(200) as pool:
        assert all(pool.map(ask, range(200)))


def test_it_listens_on_the_asked_address_alone():
    with listen("127.0.0.1", 0) as one:
        port = one.getsockname()[1]
        assert one.getsockname()[0] == "127.0.0.1"
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), timeout=2):
            pass
        with pytest.raises(DataError, match=f"port {port}.*--port 0"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 70000), ("127.0.0.1", -1), ("203.0.113.9", 0), ("no such", 0)]
)
def test_an_address_that_is_none_is_told(host, port):
    with pytest.raises(DataError, match=r"received|Can't listen"):
        listen(host, port)


def test_the_verb_serves_the_model_named(any_engine, web_student, monkeypatch):
    seen = {}
    monkeypatch.setattr(server_module, "serve", lambda files, **about: seen.update(files=files, **about))
    main(["web", "--model", str(web_student), "--port", "0"])
    assert (seen["host"], seen["port"]) == ("127.0.0.1", 0)
    assert seen["files"]["model.onnx"].content == web_student.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal to send")
def test_ctrl_c_ends_the_verb_without_an_error(web_student):
    program = f"""
from geocamnet.cli import main
from geocamnet.web import site
site.site = lambda model: {{}}
main(["web", "--model", {str(web_student)!r}, "--port", "0"])
"""
    running = subprocess.Popen(
        [sys.executable, "-c", program],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200", "TERM": "dumb"},
    )  # fmt: skip
    told = ""
    while not (address := re.search(r"http://127\.0\.0\.1:(\d+)/", told)):
        told += (line := running.stderr.readline())
        assert line, told
    assert "404" in said(int(address[1]), b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    running.send_signal(signal.SIGINT)
    told += running.communicate(timeout=60)[1]
    assert running.returncode == 0, told
    assert "Stopped" not in told


def test_a_missing_model_file_is_one_sentence(any_engine, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["web", "--model", "nowhere.onnx"])
    assert ended.value.code == 2
    assert "nowhere.onnx" in capsys.readouterr().err


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """Return a certificate for 127.0.0.1 that signs itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    made = Certificate(folder / "chain.pem", folder / "key.pem")
    about = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-out", made.chain, "-keyout", made.key]
    subprocess.run([*command, *about], check=True, capture_output=True)
    return made


def test_with_a_certificate_the_page_comes_over_https(files, secured, monkeypatch):
    listening = []

    def listen_and_tell(host, port):
        listening.append(listen(host, port))
        return listening[0]

    monkeypatch.setattr(server_module, "listen", listen_and_tell)
    running = []
    start = server_module.uvicorn.Server.run
    monkeypatch.setattr(
        server_module.uvicorn.Server, "run", lambda self, **how: (running.append(self), start(self, **how))[1]
    )
    options = {"host": "127.0.0.1", "port": 0, "secured": secured}
    thread = threading.Thread(target=serve, args=(files,), kwargs=options, daemon=True)
    thread.start()
    while not (running and running[0].started):
        assert thread.is_alive()
        time.sleep(0.02)
    try:
        trusting = ssl.create_default_context(cafile=str(secured.chain))
        asked = http.client.HTTPSConnection("127.0.0.1", listening[0].getsockname()[1], context=trusting, timeout=20)
        asked.request("GET", "/index.html", headers={"Accept-Encoding": "identity"})
        answer = asked.getresponse()
        assert (answer.status, answer.read()) == (200, files["index.html"].content)
        asked.close()
    finally:
        running[0].should_exit = True
        thread.join(20)


def test_a_certificate_that_is_none_or_another_ones_gets_a_sentence(secured, tmp_path, capsys):
    with pytest.raises(DataError, match=r"none\.pem: no such file"):
        Certificate(tmp_path / "none.pem", secured.key).check()
    (tmp_path / "letter.pem").write_text("Dear all,", encoding="utf-8")
    with pytest.raises(DataError, match="can't be used for https"):
        Certificate(tmp_path / "letter.pem", secured.key).check()
    locked = tmp_path / "locked.pem"
    command = ["openssl", "rsa", "-aes128", "-passout", "pass:secret", "-in", secured.key, "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(DataError, match="without a password"):
        Certificate(secured.chain, locked).check()
    with pytest.raises(SystemExit):
        main(["web", "--certificate", str(secured.chain), "--port", "0"])
    assert "belong together" in capsys.readouterr().err
