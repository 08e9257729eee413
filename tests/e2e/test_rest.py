# SPDX-License-Identifier: Apache-2.0
"""takt's own REST surface: lines and tasks on pictures, what a server does, verdicts as they come."""

import io
import json
import re
import subprocess
import threading
import urllib.error
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pictures
import program as programs
import pytest
import takt_yaml
from PIL import Image

SERVER = """\
server:
  models: none
  http: {port: 0}
  grpc: {enabled: false}
  metrics: {port: 0}
"""
REQUESTS = "      type: requests\n      images: [board, golden]\n"
BOUNDARY = "----takt-test"


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def form(**parts):
    body = b""
    for name, content in parts.items():
        content = content.encode() if isinstance(content, str) else content
        body += (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n'
                 f"Content-Type: image/png\r\n\r\n").encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


class Rest:
    def __init__(self, place):
        self.place = place

    def call(self, method, path, body=None, content_type=None, headers=None):
        request = urllib.request.Request(f"http://{self.place}{path}", data=body, method=method,
                                         headers=headers or {})
        if content_type:
            request.add_header("Content-Type", content_type)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def get(self, path):
        status, answer = self.call("GET", path)
        assert status == 200, answer
        return answer

    def inspect(self, board, golden, query="", line="station", **fields):
        return self.call("POST", f"/v1/lines/{line}/inspect{query}",
                         form(board=png(board), golden=png(golden), **fields),
                         f"multipart/form-data; boundary={BOUNDARY}")


def start(takt, folder, repository, lines, tasks=None, more=SERVER):
    config = folder / "takt.yaml"
    takt_yaml.write(config, repository, lines, tasks=tasks, more=more)
    log = folder / "serve.log"
    with log.open("w", encoding="utf-8") as out:
        process = takt.start("serve", config, stdout=out, stderr=subprocess.STDOUT)
    programs.wait_until(lambda: "serving;" in log.read_text(encoding="utf-8"), "serving", process)
    places = dict(re.findall(r"^takt: (http|metrics): (?:\w+://)?(\S+)$",
                             log.read_text(encoding="utf-8"), re.MULTILINE))
    return process, Rest(places["http"])


@pytest.fixture(scope="module")
def station(program_path, repository, tmp_path_factory):
    """A line fed by requests, and tasks of all kinds; shared by the tests of this file."""
    folder = tmp_path_factory.mktemp("rest")
    takt = programs.Program(program_path, programs.environment(folder))
    tasks = takt_yaml.defects() + takt_yaml.DIFFERENCE + takt_yaml.KINDS
    lines = takt_yaml.line(REQUESTS, "station", tasks="defects, difference")
    process, rest = start(takt, folder, repository, lines, tasks)
    rest.folder = folder
    rest.process = process
    yield rest
    takt.kill_all()


def board_with(row, column):
    golden = pictures.golden(3)
    test, kind = pictures.with_defect(golden, row, column)
    return test, golden, kind


def test_a_part_gets_the_verdict_of_its_line(station):
    test, golden, kind = board_with(2, 5)
    status, verdict = station.inspect(test, golden, part_id="part-7", recipe="tiny/2")
    assert status == 200, verdict
    assert verdict["verdict"] == "reject" and verdict["route"] == "repair"
    assert verdict["part_id"] == "part-7" and verdict["recipe"] == "tiny/2"
    assert verdict["line"] == "station" and not verdict["by_fallback"]
    best = max(verdict["detections"], key=lambda found: found["score"])
    assert best["class"] == kind
    np.testing.assert_allclose(best["box"], pictures.box_of(2, 5), atol=1)
    status, verdict = station.inspect(golden, golden, query="?part_id=part-8")
    assert status == 200 and verdict["verdict"] == "pass" and verdict["part_id"] == "part-8"


def test_a_verdict_over_http_is_the_journals_and_the_sinks(station):
    status, verdict = station.inspect(pictures.golden(1), pictures.golden(1), part_id="in-all")
    assert status == 200
    sink = station.folder / "verdicts.jsonl"

    def written():
        text = sink.read_text(encoding="utf-8") if sink.exists() else ""
        return [line for line in map(json.loads, text.splitlines()) if line["part_id"] == "in-all"]

    programs.wait_until(written, "the verdict in the sink", station.process)
    assert written() == [verdict]


def test_a_damaged_picture_is_judged_not_refused(station):
    status, verdict = station.call("POST", "/v1/lines/station/inspect",
                                   form(board=b"no picture", golden=png(pictures.golden(1))),
                                   f"multipart/form-data; boundary={BOUNDARY}")
    assert status == 200
    assert verdict["verdict"] == "review" and verdict["by_fallback"]
    assert any("board" in reason for reason in verdict["reasons"])
    assert [task["total_us"] for task in verdict["tasks"]] == [0, 0], "they were never asked"


@pytest.mark.parametrize("path, body, content_type, word", [
    ("/v1/lines/station/inspect", form(board=b"x"), None, "application/x-www-form-urlencoded"),
    ("/v1/lines/station/inspect", form(board=b"x"), f"multipart/form-data; boundary={BOUNDARY}",
     "'golden' is missing"),
    ("/v1/lines/station/inspect", form(board=b"x", golden=b"x", bord=b"x"),
     f"multipart/form-data; boundary={BOUNDARY}", "did you mean 'board'"),
    ("/v1/lines/station/inspect", b"--other--", f"multipart/form-data; boundary={BOUNDARY}",
     "boundary"),
    ("/v1/lines/station/inspect", b"", "image/png", "empty"),
    ("/v1/lines/station/inspect", b"{}", "application/json", "image/png"),
    ("/v1/lines/station/inspect?part_id=%ff", form(board=b"x", golden=b"x"),
     f"multipart/form-data; boundary={BOUNDARY}", "must be UTF-8"),
    ("/v1/lines/station/inspect", form(board=b"x", golden=b"x", recipe=b"\xed\xa0\x80"),
     f"multipart/form-data; boundary={BOUNDARY}", "must be UTF-8"),
    ("/v1/lines/station/inspect?part_idd=1", b"x", "image/png", "did you mean 'part_id'"),
    ("/v1/tasks/defects?deadline_ms=0", b"x", "image/png", "1 to 600000"),
    ("/v1/tasks/defects", form(board=b"x", golden=b"y"),
     f"multipart/form-data; boundary={BOUNDARY}", "not a PNG, JPEG or BMP"),
    ("/v1/tasks/defects", form(board=b"x"), f"multipart/form-data; boundary={BOUNDARY}",
     "'golden' is missing"),
])
def test_a_wrong_request_is_told_what_is_expected(station, path, body, content_type, word):
    status, answer = station.call("POST", path, body, content_type)
    assert status == 400 and word in answer["error"], answer


def test_what_isnt_there_is_named(station):
    for method, path, word in [("POST", "/v1/lines/statoin/inspect", "did you mean 'station'"),
                               ("GET", "/v1/lines/x", "no line"),
                               ("POST", "/v1/tasks/defect", "did you mean 'defects'"),
                               ("GET", "/v1/nothing", "openapi.json"), ("GET", "/", "openapi.json")]:
        status, answer = station.call(method, path, b"x" if method == "POST" else None, "image/png")
        assert status == 404 and word in answer["error"], (path, answer)
    for method, path in [("POST", "/v1/status"), ("DELETE", "/v1/lines"), ("PUT", "/v1/frames"),
                         ("GET", "/v1/lines/station/inspect"), ("PATCH", "/v1/tasks/defects")]:
        assert station.call(method, path, b"")[0] == 405, path


def test_single_tasks_answer_by_their_kind(station):
    test, golden, kind = board_with(1, 1)
    pair = form(board=png(test), golden=png(golden))
    content_type = f"multipart/form-data; boundary={BOUNDARY}"
    status, answer = station.call("POST", "/v1/tasks/defects", pair, content_type)
    assert status == 200, answer
    best = max(answer["detections"], key=lambda found: found["score"])
    assert best["class"] == kind and (answer["width"], answer["height"]) == (64, 64)
    status, answer = station.call("POST", "/v1/tasks/difference?deadline_ms=60000", pair,
                                  content_type)
    assert status == 200 and answer["distance"] > 0.5 and len(answer["differences"]) == 1
    status, answer = station.call("POST", "/v1/tasks/kinds", pair, content_type)
    assert status == 200 and len(answer["classes"]) == 7
    assert answer["class"] in [entry["class"] for entry in answer["classes"]]
    assert abs(sum(entry["score"] for entry in answer["classes"]) - 1) < 0.01


def test_lines_tasks_and_status_say_what_there_is(station):
    station.inspect(pictures.golden(1), pictures.golden(1))
    (line,) = station.get("/v1/lines")
    assert line["name"] == "station" and line["source"] == "requests"
    assert line["images"] == ["board", "golden"] and line["tasks"] == ["defects", "difference"]
    assert line["deadline_us"] == 30_000_000
    assert line["verdicts"] == line["pass"] + line["review"] + line["reject"] > 0
    assert station.get("/v1/lines/station")["name"] == "station"
    tasks = {task["name"]: task for task in station.get("/v1/tasks")}
    assert {name: task["kind"] for name, task in tasks.items()} == {
        "defects": "detection", "difference": "distance", "kinds": "classification"}
    assert station.get("/v1/tasks/kinds") == tasks["kinds"]
    status = station.get("/v1/status")
    assert status["ready"] and status["name"] == "takt"
    assert {worker["task"] for worker in status["workers"]} == set(tasks)
    assert all(worker["state"] == "serving" for worker in status["workers"])


def test_recent_verdicts_come_page_by_page(station):
    for i in range(7):
        assert station.inspect(pictures.golden(1), pictures.golden(1), part_id="paged")[0] == 200
    seen, path = [], "/v1/frames?part_id=paged&limit=3"
    while path:
        page = station.get(path)
        assert len(page["frames"]) <= 3
        seen += [frame["id"] for frame in page["frames"]]
        path = (f"/v1/frames?part_id=paged&limit=3&before={page['next']}"
                if page["next"] else None)
    assert len(seen) == 7 and seen == sorted(seen, reverse=True)
    assert station.get("/v1/frames?part_id=paged&verdict=reject")["frames"] == []
    assert len(station.get("/v1/frames?line=station&verdict=pass&limit=500")["frames"]) >= 7
    for query in ["limit=0", "limit=501", "limit=x", "verdict=good", "before=-1", "page=2"]:
        assert station.call("GET", f"/v1/frames?{query}")[0] == 400, query


def read_events(reply, count):
    events, event = [], {}
    while len(events) < count:
        line = reply.readline().decode().rstrip("\n")
        if not line and event:
            events.append(event)
            event = {}
        elif line and not line.startswith(":"):
            key, value = line.split(": ", 1)
            event[key] = value
    return events


def test_verdicts_are_heard_as_they_come_and_again_after_a_break(station):
    url = f"http://{station.place}/v1/events?part_id=heard"
    with urllib.request.urlopen(url, timeout=60) as reply:
        assert reply.headers["Content-Type"] == "text/event-stream"
        for _ in range(3):
            station.inspect(pictures.golden(1), pictures.golden(1), part_id="heard")
        station.inspect(pictures.golden(1), pictures.golden(1), part_id="unheard")
        events = read_events(reply, 3)
    assert [event["event"] for event in events] == ["verdict"] * 3
    assert all(json.loads(event["data"])["part_id"] == "heard" for event in events)
    request = urllib.request.Request(url, headers={"Last-Event-ID": events[0]["id"]})
    with urllib.request.urlopen(request, timeout=60) as reply:
        again = read_events(reply, 2)
    assert again == events[1:]
    bad = urllib.request.Request(url, headers={"Last-Event-ID": "x"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(bad, timeout=60)
    assert refused.value.code == 400


def test_many_stations_at_once_each_hear_of_their_own_part(station):
    def one(number):
        row, column = divmod(number % 64, 8)
        test, golden, kind = board_with(row, column)
        status, verdict = station.inspect(test, golden, part_id=f"many-{number}")
        if status == 503:
            assert "try again" in verdict["error"]
            return None
        assert status == 200 and verdict["part_id"] == f"many-{number}"
        return max(verdict["detections"], key=lambda found: found["score"])["class"] == kind

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(one, range(60)))
    answered = [answer for answer in answers if answer is not None]
    assert len(answered) > 12 and all(answered)


def test_the_description_names_every_path(station):
    description = station.get("/openapi.json")
    assert description["openapi"].startswith("3.1")
    assert {"/v1/lines/{line}/inspect", "/v1/tasks/{task}", "/v1/status", "/v1/lines", "/v1/tasks",
            "/v1/frames", "/v1/events"} <= set(description["paths"])


def test_a_stop_answers_what_was_accepted_and_ends_listeners(takt, tmp_path, repository):
    lines = takt_yaml.line(REQUESTS, "station")
    process, rest = start(takt, tmp_path, repository, lines)
    reply = urllib.request.urlopen(f"http://{rest.place}/v1/events", timeout=60)
    answers, stop = [], threading.Event()

    def hand_in():
        while not stop.is_set():
            try:
                answers.append(rest.inspect(pictures.golden(1), pictures.golden(1)))
            except OSError:  # it has closed
                return

    threads = [threading.Thread(target=hand_in) for _ in range(4)]
    for thread in threads:
        thread.start()
    programs.wait_until(lambda: len(answers) > 20, "verdicts", process)
    process.terminate()
    process.wait(timeout=programs.WAIT_S)
    stop.set()
    for thread in threads:
        thread.join()
    assert process.returncode == 0
    assert {status for status, _ in answers} <= {200, 503}
    reply.read()  # ends
    sink = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").open(encoding="utf-8")]
    answered = {verdict["seq"] for status, verdict in answers if status == 200}
    assert answered <= {verdict["seq"] for verdict in sink}
    assert len(sink) == len({verdict["seq"] for verdict in sink})


def test_requests_need_a_server(takt, tmp_path, repository):
    config = tmp_path / "takt.yaml"
    takt_yaml.write(config, repository, takt_yaml.line(REQUESTS, "station"))
    takt.run("validate", config).refused(2, "lines.station.source", "add a server section")


# Reviews ------------------------------------------------------------------------------------------


def reviewed(station, part):
    """Hands a damaged part in, which a person must look at, and returns it once it is stored."""
    status, verdict = station.call("POST", f"/v1/lines/station/inspect?part_id={part}",
                                   form(board=b"no picture", golden=png(pictures.golden(1))),
                                   f"multipart/form-data; boundary={BOUNDARY}")
    assert status == 200 and verdict["verdict"] == "review"
    found = []

    def stored():
        found[:] = station.get(f"/v1/reviews?part_id={part}")["items"]
        return found

    programs.wait_until(stored, "the verdict in the store", station.process)
    return found[0]


def test_a_person_decides_once_or_says_replace(station):
    item = reviewed(station, "decided-once")
    path = f"/v1/reviews/{item['id']}"
    assert "review" not in item
    decision = json.dumps({"decision": "reject", "by": "Ada", "note": "scratch"})
    status, review = station.call("POST", f"{path}/decision", decision.encode(), "application/json")
    assert status == 200, review
    assert review["decision"] == "reject" and review["by"] == "Ada" and review["earlier"] == 0
    status, answer = station.call("POST", f"{path}/decision", decision.encode(), "application/json")
    assert status == 409 and "replace" in answer["error"]
    again = json.dumps({"decision": "pass", "by": "Bo", "replace": True}).encode()
    status, review = station.call("POST", f"{path}/decision", again, "application/json")
    assert status == 200 and review["earlier"] == 1
    assert [one["by"] for one in station.get(f"{path}/decisions")] == ["Bo", "Ada"]
    assert station.get(path)["review"]["decision"] == "pass"
    ids = [one["id"] for one in station.get("/v1/reviews?decided=true&order=newest")["items"]]
    assert item["id"] in ids
    assert item["id"] not in [one["id"] for one in
                              station.get("/v1/reviews?decided=false&limit=500")["items"]]


def test_rejects_become_training_data(station):
    test, golden, kind = board_with(4, 4)
    status, _ = station.inspect(test, golden, part_id="to-train")
    assert status == 200
    found = []

    def stored():
        found[:] = station.get("/v1/reviews?verdict=reject&part_id=to-train")["items"]
        return found

    programs.wait_until(stored, "the reject in the store", station.process)
    (item,) = found
    assert {picture["role"] for picture in item["pictures"]} == {"board", "golden"}
    with urllib.request.urlopen(
            f"http://{station.place}/v1/reviews/{item['id']}/pictures/board", timeout=60) as reply:
        assert reply.headers["Content-Type"] == "image/png"
        kept = np.asarray(Image.open(io.BytesIO(reply.read())).convert("L"))
    np.testing.assert_array_equal(kept, test)
    box = pictures.box_of(4, 4)
    decision = {"decision": "reject", "by": "Ada", "labels": [{"class": kind, "box": box}]}
    status, review = station.call("POST", f"/v1/reviews/{item['id']}/decision",
                                  json.dumps(decision).encode(), "application/json")
    assert status == 200, review
    with urllib.request.urlopen(f"http://{station.place}/v1/reviews/export?format=coco"
                                "&decision=reject&limit=1000", timeout=60) as reply:
        assert reply.headers["Content-Type"] == "application/zip"
        assert reply.headers["Takt-More"] == "false" and int(reply.headers["Takt-Labels"]) >= 1
        archive = zipfile.ZipFile(io.BytesIO(reply.read()))
    coco = json.loads(archive.read("annotations.json"))
    (image,) = [image for image in coco["images"] if image["id"] == item["id"]]
    assert archive.read(f"images/{image['file_name']}").startswith(b"\x89PNG")
    (annotation,) = [one for one in coco["annotations"] if one["image_id"] == item["id"]]
    assert annotation["bbox"] == [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert names[annotation["category_id"]] == kind
    with urllib.request.urlopen(f"http://{station.place}/v1/reviews/export?format=yolo"
                                "&decision=reject", timeout=60) as reply:
        archive = zipfile.ZipFile(io.BytesIO(reply.read()))
    assert {"classes.txt", "data.yaml"} <= set(archive.namelist())


@pytest.mark.parametrize("method, path, body, status, word", [
    ("GET", "/v1/reviews?order=up", None, 400, "oldest or newest"),
    ("GET", "/v1/reviews?order=", None, 400, "oldest or newest"),
    ("GET", "/v1/reviews?decided=perhaps", None, 400, "true or false"),
    ("GET", "/v1/reviews?limit=0", None, 400, "1 to 500"),
    ("GET", "/v1/reviews/999999", None, 404, ""),
    ("GET", "/v1/reviews/x", None, 404, "whole number"),
    ("GET", "/v1/reviews/1/pictures/%2e%2e%2fx", None, 404, ""),
    ("GET", "/v1/reviews/export", None, 400, "format"),
    ("GET", "/v1/reviews/export?format=voc", None, 400, "coco"),
    ("POST", "/v1/reviews/999999/decision", b'{"decision":"pass","by":"A"}', 404, ""),
    ("POST", "/v1/reviews/1/decision", b'{"decision":"maybe","by":"A"}', 400, "decision"),
    ("POST", "/v1/reviews/1/decision", b'{"decision":"pass","by":"A","label":[]}', 400, "label"),
    ("POST", "/v1/reviews/1/decision", b"[]", 400, ""),
    ("DELETE", "/v1/reviews/1", None, 405, "GET"),
])
def test_a_wrong_review_is_refused(station, method, path, body, status, word):
    code, answer = station.call(method, path, body, "application/json" if body else None)
    assert code == status and word in answer["error"], answer
    assert str(station.folder) not in answer["error"]
