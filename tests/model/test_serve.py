from __future__ import annotations

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from PIL import Image

from radialog_instruct.assets import demo_dir
from radialog_instruct.errors import ModelError, UsageError
from radialog_instruct.records import Turn
from radialog_instruct.sources.images import load_image
from radialog_instruct.terminal import run_app
from radialog_model.checkpoint import Checkpoint, load_checkpoint
from radialog_model.cli import app as cli
from radialog_model.generate import Answerer, Question, answer, predict_findings, prompt_text
from radialog_model.serve.app import ServerSettings, build_app
from radialog_model.serve.images import ImageLimits, SentImage
from radialog_model.serve.local import Local
from radialog_model.serve.run import check_host
from radialog_model.serve.tower import load_tower
from radialog_model.serve.upstream import Upstream

PATHS = sorted((demo_dir() / "images").glob("*.jpg"))[:3]
LIMITS = ImageLimits(max_bytes=2**20, max_pixels=10**6)


def data_url(path: Path) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"


def body(text: str = "Write the report.", image: str | None = None, **more: Any) -> dict[str, Any]:
    url = {"type": "image_url", "image_url": {"url": image or data_url(PATHS[0])}}
    return {
        "model": "radialog-project",
        "messages": [{"role": "user", "content": [url, {"type": "text", "text": text}]}],
        "max_tokens": 12,
        **more,
    }


@contextmanager
def served(application: Any) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load_checkpoint()


@pytest.fixture(scope="module")
def url(checkpoint: Checkpoint) -> Iterator[str]:
    settings = ServerSettings("radialog-project", max_body=3 * 2**20, images=LIMITS)
    with served(build_app(checkpoint, Local(Answerer(checkpoint), slots=4), settings)) as address:
        yield address


def post(url: str, content: Any, **more: Any) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/chat/completions", json=content, timeout=60, **more)


def expected(checkpoint: Checkpoint, path: Path, text: str, findings: str | None, tokens: int = 12) -> str:
    question = Question((Turn("user", text),), "report_generation", load_image(path), findings)
    return answer(checkpoint, [question], max_new_tokens=tokens)[0].text


def streamed(response: httpx2.Response) -> list[dict[str, Any]]:
    lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_report_carries_the_predicted_findings(url: str, checkpoint: Checkpoint) -> None:
    findings = predict_findings(checkpoint, [load_image(PATHS[0])])[0]
    result = post(url, body()).json()
    assert result["choices"][0]["message"]["content"] == expected(checkpoint, PATHS[0], "Write the report.", findings)
    assert result["radialog"] == {"findings": findings, "dropped_turns": 0}
    assert result["usage"]["completion_tokens"] == 12
    assert result["choices"][0]["finish_reason"] == "length"
    assert httpx2.get(f"{url}/health").json() == {"status": "ok"}
    assert httpx2.get(f"{url}/v1/models").json()["data"][0]["id"] == "radialog-project"


def test_findings_are_the_clients_to_override_or_drop(url: str, checkpoint: Checkpoint) -> None:
    for field, text in (("large pneumothorax", "large pneumothorax"), ("off", None)):
        result = post(url, body(findings=field)).json()
        assert result["radialog"]["findings"] == text
        content = result["choices"][0]["message"]["content"]
        assert content == expected(checkpoint, PATHS[0], "Write the report.", text)


def test_a_stream_says_the_same_piece_by_piece(url: str) -> None:
    whole = post(url, body()).json()["choices"][0]["message"]["content"]
    events = streamed(post(url, body(stream=True, stream_options={"include_usage": True})))
    pieces = [event["choices"][0]["delta"].get("content", "") for event in events if event["choices"]]
    assert "".join(pieces) == whole
    assert sum(bool(piece) for piece in pieces) > 3
    assert events[0]["radialog"]["findings"]
    assert events[-2]["choices"][0]["finish_reason"] == "length"
    assert events[-1]["usage"]["completion_tokens"] == 12


def test_concurrent_requests_share_a_batch_and_keep_their_answers(url: str, checkpoint: Checkpoint) -> None:
    asked = [(PATHS[n % 3], f"Is there any finding {n}?") for n in range(12)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(
            pool.map(lambda pair: post(url, body(pair[1], data_url(pair[0]), findings="edema")).json(), asked)
        )
    said = [result["choices"][0]["message"]["content"] for result in answers]
    assert said == [expected(checkpoint, path, text, "edema") for path, text in asked]


def test_a_dialog_goes_on(url: str) -> None:
    first = body()
    first["messages"] += [
        {"role": "assistant", "content": "The heart is enlarged."},
        {"role": "user", "content": "Is there any cardiomegaly?"},
    ]
    assert post(url, first).json()["choices"][0]["message"]["content"]


def test_who_goes_away_frees_the_slot(url: str) -> None:
    for _ in range(6):
        with httpx2.stream("POST", f"{url}/v1/chat/completions", json=body(stream=True, max_tokens=600)) as response:
            next(response.iter_lines())
    assert post(url, body()).status_code == 200


def changed(**fields: Any) -> dict[str, Any]:
    return {**body(), **fields}


def picture(width: int, height: int) -> str:
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


TEXT = {"type": "text", "text": "Hi"}
SHOWN = {"type": "image_url", "image_url": {"url": data_url(PATHS[0])}}


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (changed(messages=[user(TEXT)]), 400, "no image"),
        (changed(messages=[user(SHOWN, SHOWN, TEXT)]), 400, "2 images"),
        (changed(messages=[user(TEXT), {"role": "assistant", "content": "A"}, user(SHOWN)]), 400, "first user message"),
        (changed(messages=[]), 400, "messages"),
        (changed(messages=[{"role": "system", "content": "S"}, user(SHOWN)]), 400, "system messages are not taken"),
        (changed(messages=[user(SHOWN), user(TEXT)]), 400, "must be of the role assistant"),
        (changed(messages=[user(SHOWN), {"role": "assistant", "content": "A"}]), 400, "the last message"),
        (changed(model="gpt"), 404, "no model 'gpt'"),
        (changed(max_tokens=100_000), 400, "the model's context 1024"),
        (changed(max_tokens=0), 400, "max_tokens"),
        (changed(temperature="hot"), 400, "temperature"),
        (changed(n=2), 400, "n is not supported"),
        (changed(tools=[{"type": "function"}]), 400, "tools is not supported"),
        (body(image="data:image/png;base64,aGVsbG8="), 400, "not an image"),
        (body(image="data:image/png;base64,***"), 400, "not base64"),
        (body(image="data:image/png"), 400, "no comma"),
        (body(image=data_url(PATHS[0])[:2003]), 400, "the image is damaged"),
        (body(image="https://example.org/x.jpg"), 400, "images are not fetched from this host"),
        (body(image="file:///etc/passwd"), 400, "data: URL"),
        (body(image="http://[::1"), 400, "no URL"),
        (body(image=picture(2000, 2000)), 413, "2000 x 2000 pixels"),
        (body("word " * 3000), 400, "the model's context"),
        ([1, 2], 400, "body"),
    ],
)
def test_wrong_requests_get_openais_error(url: str, content: Any, status: int, message: str) -> None:
    response = post(url, content)
    error = response.json()["error"]
    assert response.status_code == status
    assert message in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_bodies_that_are_no_json_or_too_long(url: str) -> None:
    address = f"{url}/v1/chat/completions"
    response = httpx2.post(address, content=b"{nope")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
    assert httpx2.post(address, content=b"[" * 100_000).status_code == 400
    too_long = httpx2.post(address, content=b" " * 4 * 2**20)
    assert (too_long.status_code, too_long.json()["error"]["code"]) == (413, "request_too_large")
    pieces = httpx2.post(address, content=iter([b" " * 2**20] * 4))  # without a declared length
    assert pieces.status_code == 413
    assert httpx2.get(f"{url}/nowhere").json()["error"]["message"] == "Not Found"
    assert httpx2.get(address).status_code == 405


def test_a_body_of_200_megabytes_is_refused_before_it_is_read(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {200 * 10**6}\r\n\r\n"
        connection.sendall(head.encode())
        assert b" 413 " in connection.recv(4096).splitlines()[0]


def test_a_key_is_asked_for(checkpoint: Checkpoint) -> None:
    settings = ServerSettings("radialog-project", api_key="secret")
    with served(build_app(checkpoint, Local(Answerer(checkpoint)), settings)) as address:
        assert post(address, body()).json()["error"]["code"] == "invalid_api_key"
        assert post(address, body(), headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert post(address, body(), headers={"Authorization": "Bearer secret"}).status_code == 200
        assert httpx2.get(f"{address}/health").status_code == 200


def test_other_hosts_need_a_key() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        check_host(host, None)
    check_host("0.0.0.0", "secret")
    for host in ("0.0.0.0", "192.0.2.1", "myhost"):
        with pytest.raises(UsageError, match="without a key"):
            check_host(host, None)


def test_the_tower_alone_predicts_the_same_and_writes_the_same_prompt(checkpoint: Checkpoint) -> None:
    small = load_tower()
    image = load_image(PATHS[0])
    assert predict_findings(small, [image]) == predict_findings(checkpoint, [image])
    question = Question((Turn("user", "Hi"),), "report_generation", image, "edema")
    assert prompt_text(small, question) == prompt_text(checkpoint, question)
    with pytest.raises(ModelError, match="no config.json"):
        load_tower(demo_dir())


class Recorder:
    """A vLLM server's replacement: it keeps the body and says one thing in pieces."""

    def __init__(self, status: int = 200, lines: tuple[str, ...] = ()) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._status, self._lines = status, lines

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.requests import Request
        from starlette.responses import JSONResponse, PlainTextResponse

        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if request.url.path == "/v1/models":
            await JSONResponse({"data": [self.listed()]})(scope, receive, send)
            return
        self.bodies.append(await request.json())
        text = "".join(f"data: {line}\n\n" for line in self._lines)
        await PlainTextResponse(text, self._status)(scope, receive, send)

    def listed(self) -> dict[str, Any]:
        return {"id": "inner"}


def delta(text: str, finish: str | None = None) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


USAGE = json.dumps({"choices": [], "usage": {"prompt_tokens": 70, "completion_tokens": 3}})


def test_an_upstream_server_gets_the_published_prompt(checkpoint: Checkpoint) -> None:
    recorder = Recorder(lines=(delta(" The"), delta(" heart "), delta("is "), delta("", "stop"), USAGE, "[DONE]"))
    small = load_tower()
    with (
        served(recorder) as inner,
        served(build_app(small, Upstream(small, f"{inner}/v1"), ServerSettings("radialog-project"))) as outer,
    ):
        result = post(outer, body(max_tokens=1000)).json()
        assert result["choices"][0] == {
            "index": 0,
            "message": {"role": "assistant", "content": "The heart is"},
            "finish_reason": "stop",
        }
        assert result["usage"] == {"prompt_tokens": 70, "completion_tokens": 3, "total_tokens": 73}
    sent = recorder.bodies[0]
    findings = predict_findings(checkpoint, [load_image(PATHS[0])])[0]
    question = Question((Turn("user", "Write the report."),), "report_generation", load_image(PATHS[0]), findings)
    rendered = checkpoint.processor.tokenizer.apply_chat_template(
        [
            {**message, "content": message["content"]}
            if isinstance(message["content"], str)
            else {
                **message,
                "content": [{"type": "image"} if p["type"] == "image_url" else p for p in message["content"]],
            }
            for message in sent["messages"]
        ],
        tokenize=False,
        chat_template=checkpoint.processor.chat_template,
    )
    assert rendered == prompt_text(checkpoint, question)
    assert sent["model"] == "inner"
    assert sent["messages"][1]["content"][0]["image_url"]["url"] == SentImage(load_image(PATHS[0]), "").url()
    assert sent["max_tokens"] < 1000  # what the prompt leaves of the context


def test_an_upstream_server_that_fails_is_a_bad_gateway() -> None:
    small = load_tower()
    with pytest.raises(ModelError, match="the server does not answer"):
        Upstream(small, "http://127.0.0.1:9/v1")
    for recorder, message in (
        (Recorder(500, ("oops",)), "refuses with status 500"),
        (Recorder(lines=("nonsense",)), "no event stream"),
        (Recorder(lines=('{"error": {"message": "full"}}',)), "full"),
    ):
        with (
            served(recorder) as inner,
            served(build_app(small, Upstream(small, f"{inner}/v1"), ServerSettings("radialog-project"))) as outer,
        ):
            response = post(outer, body())
            assert response.status_code == 502
            assert message in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "0.0.0.0"), "without a key"),
        (("--backend", "rocket"), "choose transformers or vllm"),
        (("--findings", "guess"), "choose predicted or off"),
        (("--upstream", "http://127.0.0.1:9/v1"), "add --backend vllm"),
        (("--backend", "vllm", "--upstream", "x", "--vllm-arg", "--y"), "leave out --upstream"),
    ],
)
def test_wrong_options_are_one_line(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RADIALOG_API_KEY", raising=False)
    assert run_app(cli, "radialog-model", ["serve", *arguments]) == 2
    assert message in capsys.readouterr().err


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def ready(url: str, process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        assert process.poll() is None, process.stderr.read()
        try:
            httpx2.get(f"{url}/health", timeout=1)
            return
        except httpx2.HTTPError:
            time.sleep(0.05)
    raise AssertionError("not ready")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_and_ends_on_a_signal(weights: Path, number: signal.Signals) -> None:
    port = free_port()
    command = [sys.executable, "-m", "radialog_model.cli", "serve", "--weights", str(weights), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    ready(f"http://127.0.0.1:{port}", process)
    assert post(f"http://127.0.0.1:{port}", body(max_tokens=3)).status_code == 200
    process.send_signal(number)
    assert process.wait(20) == 0
    assert "Traceback" not in process.stderr.read()


FAKE_VLLM = """\
import http.server, json, os, pathlib, subprocess, sys
pathlib.Path(os.environ["PIDS"]).write_text(f"{os.getpid()} {subprocess.Popen(['sleep', '600']).pid}")
pathlib.Path(os.environ["PIDS"] + ".args").write_text(json.dumps(sys.argv))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{"data": [{"id": "r"}]}')
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_server_is_never_left_behind(weights: Path, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "vllm").write_text(f"#!{sys.executable}\n{FAKE_VLLM}")
    (tmp_path / "vllm").chmod(0o755)
    pids, port = tmp_path / "pids", free_port()
    environment = os.environ | {"PIDS": str(pids), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "radialog_model.cli", "serve", "--weights", str(weights), "--port", str(port)]
    command += ["--backend", "vllm", "--vllm-arg=--enforce-eager"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    ready(f"http://127.0.0.1:{port}", process)
    server, engine = map(int, pids.read_text().split())
    given = json.loads((tmp_path / "pids.args").read_text())
    assert given[1:3] == ["serve", str(weights)]
    assert given[-1] == "--enforce-eager"
    assert "transformers" in given
    assert alive(server)
    process.send_signal(number)
    assert process.wait(20) == (0 if number == signal.SIGTERM else -number)
    for _ in range(100):
        if not alive(server):
            break
        time.sleep(0.05)
    assert not alive(server)
    if number == signal.SIGTERM:
        assert not alive(engine)
    elif alive(engine):
        os.kill(engine, signal.SIGKILL)  # the fake does not clean up as vLLM does
