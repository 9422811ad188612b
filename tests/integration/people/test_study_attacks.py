"""Requests, logs and folders that attackers and mistakes leave behind, each with its outcome."""

import asyncio
import json
import re
import socket

import numpy as np
import pytest
from PIL import Image

from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.people import sessions as sessions_module
from mhng.experiment.people.bots import Bot
from mhng.experiment.people.client import Client, Http
from mhng.experiment.people.export import export
from mhng.experiment.people.person import PersonSide, read_person
from mhng.experiment.people.serve import serve
from mhng.experiment.people.session import replay
from mhng.experiment.people.sessions import Sessions
from mhng.experiment.people.sides import read_pictures
from mhng.experiment.people.status import forget, status
from mhng.experiment.people.study import Study
from tests.integration.people.test_study_commands import consent, new, study  # noqa: F401
from tests.integration.people.test_study_page import answer, events, page_of, to_offer
from tests.studies import N, Served, TablePartner, logged, person, served, table_study

FORM = {"content-type": "application/x-www-form-urlencoded"}
AGREE = {"agree": "yes", "language": "en"}


@pytest.fixture
def site(tmp_path):
    with served(table_study(tmp_path)) as one:
        yield one


def log_of(site):
    (participant,) = logged(site.study)
    return site.study.logs.file(participant)


# -- requests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin", ["http://[", "http://", "study", "//study", "http://study@evil", "http://evil#study"]
)
def test_an_odd_origin_is_refused(site, origin):
    client = site.client()
    assert client.post("/page", {"index": "1"}, origin=origin).status == 403
    assert client.post("/begin", AGREE, origin=origin).status == 403
    assert len(events(site)) == 1


@pytest.mark.parametrize("host", ["[", "a b", "evil/x?y#", ""])
def test_an_odd_host_does_not_lose_a_session(site, host):
    answered = Client(site.transport).post("/begin", AGREE, host=host)
    assert answered.status == 303 and answered.headers["location"] == "/page" and "set-cookie" in answered.headers
    assert Client(site.transport).get("/page", host=host).status == 404


def test_no_address_leads_to_another_host(site):
    client = site.client()
    for path in ("/page/", "//evil.example/page/", "/picture/practice.png/"):
        answered = client.get(path, host="evil.example")
        assert answered.status == 404 and "location" not in answered.headers


@pytest.mark.parametrize("length", ["²", "+8", "-1", "1e3", "9" * 40])
def test_an_odd_length_is_refused(site, length):
    cookie = {"cookie": f"study={site.client().cookies['study']}"}
    assert site.transport.send("POST", "/page", cookie | FORM | {"content-length": length}, b"index=1").status == 413
    assert len(events(site)) == 1


def test_a_body_that_does_not_end_is_refused(site, monkeypatch):
    monkeypatch.setattr("mhng.experiment.people.app.PATIENCE", 0.05)
    sent = []

    async def receive():
        await asyncio.sleep(30)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "scheme": "http", "path": "/page", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"study"), (b"content-type", FORM["content-type"].encode())],
    }  # fmt: skip
    asyncio.run(site.transport.app(scope, receive, send))
    assert sent[0]["status"] == 408


@pytest.mark.parametrize("bot", ["\x1b[31mred", "=cmd()", "human", "a\nb", "mh\x00"])
def test_a_bot_states_a_rule(site, bot):
    assert Client(site.transport).post("/begin", {**AGREE, "bot": bot}).status == 400
    assert logged(site.study) == {}


def test_a_second_tab_with_the_consent_goes_on_with_the_session(site):
    client = site.client()
    to_offer(client)
    reply = client.post("/begin", AGREE)
    assert (reply.status, reply.headers["location"]) == (303, "/page") and "set-cookie" not in reply.headers
    assert page_of(client).data["kind"] == "offer" and len(logged(site.study)) == 1


def test_a_tab_of_another_session_in_the_same_browser_keeps_nothing(site):
    client = site.client(PROLIFIC_PID="one")
    stale = _fields(client)
    assert client.post("/begin", {**AGREE, "PROLIFIC_PID": "two"}).status == 303  # another person
    assert client.post("/page", stale).status == 303
    assert page_of(client).data["index"] == "1"
    assert client.post("/page", _fields(client)).status == 303
    assert page_of(client).data["index"] == "2"


def _fields(client):
    return dict(re.findall(r'type="hidden" name="(index|session)" value="(\w+)"', page_of(client).text))


def test_many_sessions_do_not_stay_in_memory(site, monkeypatch):
    monkeypatch.setattr(sessions_module, "MOST_OPEN", 3)
    clients = [site.client() for _ in range(6)]
    for client in clients:
        to_offer(client)
        assert len(site.sessions._open) <= 3
    assert [page_of(client).data["kind"] for client in clients] == ["offer"] * 6


ODD = "a\x00b\u202e\u200b\ud800 =cmd() <b>'\",;\r\n\t😀 " + "x" * 1975 + " " + "y" * 40


def test_an_odd_answer_is_kept_replayed_and_exported(site, tmp_path):
    client = site.client()
    to_offer(client)
    while page_of(client).data["kind"] != "questions":
        answer(client, answer="keep", sign="0", rt=str(2**53), time=str(2**53))
    form = {"how": ODD.encode("utf-8", "surrogatepass").decode("utf-8", "replace"), "meaning": "1", "more": "\x00 \n"}
    assert answer(client, **form).status == 303
    assert page_of(client).data["kind"] == "end"
    again = Served(site.study)
    client.transport = again.transport
    assert page_of(client).data["kind"] == "end"
    again.transport.close()
    (participant,) = logged(site.study)
    how = site.study.logs.read(participant)[-1]["answer"]["how"]
    assert how.isprintable() and how.endswith("x") and not set(how) & set("\x00\u202e\u200b\r\n")


def test_a_response_time_beyond_the_table_is_not_kept(site):
    client = site.client()
    for sent, kept in ((str(2**31), None), (str(2**31 - 1), 2**31 - 1), ("-1", None), ("1.5", None), ("٣", None)):
        answer(client, rt=sent, quiz_1="2", quiz_2="2")
        assert events(site)[-1]["rt"] == kept


# -- logs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [
    lambda event: event.pop("time"), lambda event: event.update(time="1"), lambda event: event.update(rt="fast"),
    lambda event: event.update(client_time=0.5), lambda event: event.update(rt=[]),
])  # fmt: skip
@pytest.mark.parametrize("line", [0, 2])
def test_an_event_without_its_times_is_damaged(site, tmp_path, change, line):
    to_offer(site.client())
    file = log_of(site)
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    change(lines[line])
    file.write_text("".join(json.dumps(event) + "\n" for event in lines))
    assert status(site.study)["damaged"] == 1
    with pytest.raises(UsageError, match=f"line {line + 1}"):
        export(site.study, tmp_path / "out", everyone=True)


@pytest.mark.parametrize("answered", [[], "x", None, 3, {"how": 1}, {"how": "x", "meaning": "3", "more": ""}])
def test_questions_with_a_damaged_answer_are_refused(site, answered):
    site.play("mh", 0)
    file = log_of(site)
    *before, last = [json.loads(line) for line in file.read_text().splitlines()]
    last["answer"] = answered
    file.write_text("".join(json.dumps(event) + "\n" for event in [*before, last]))
    assert status(site.study)["damaged"] == 1


def test_a_log_of_another_version_is_refused(site):
    to_offer(site.client())
    file = log_of(site)
    file.write_text(file.read_text().replace('"version": 1', '"version": 2', 1))
    (row,) = status(site.study)["sessions"]
    assert "version 2" in row["fault"]


@pytest.mark.parametrize("text", ["", "{broken\n", '{"slot": 0', "[]\n", '{"slot": "0"}\n', "\x00\x00\n"])
def test_a_damaged_log_can_be_forgotten_and_the_study_opens_again(site, text):
    site.client()
    file = log_of(site)
    file.write_text(text)
    assert forget(site.study, file.stem) == file.stem
    assert logged(site.study) == {}
    Sessions(site.study)


def test_a_participant_without_a_code_is_forgotten_by_its_identification(site):
    first, second = (site.client(PROLIFIC_PID=name) for name in ("one", "two"))
    (site.study.logs.folder / ("ab" * 8 + ".jsonl")).write_text("{broken\n")
    with pytest.raises(UsageError, match="no session of 'three'"):
        forget(site.study, "three")
    forget(site.study, "one")
    assert first.get("/page").status == 404 and page_of(second).data["kind"] == "instructions"


@pytest.mark.parametrize("text", ["{broken\n", "[]\n", '{"slot": null}\n', '{"slot": 0, "recruiting": []}\n'])
def test_a_damaged_first_line_is_named_when_the_study_opens(site, text):
    site.client()
    file = log_of(site)
    file.write_text(text)
    with pytest.raises(UsageError, match=rf"{file.name}\b.* line 1\b.*; move the log away, or delete it"):
        Sessions(site.study)


def test_a_folder_in_the_place_of_a_log_is_no_participant(site):
    (site.study.logs.folder / ("ab" * 8 + ".jsonl")).mkdir(parents=True)
    assert Sessions(site.study).repaired == [] and status(site.study)["sessions"] == []


# -- commands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:99999", "http://[::1", "http://x:y", "ftp://x", "", "http://", "http://x/y",
])  # fmt: skip
def test_an_odd_address_of_a_server_is_told(url):
    with pytest.raises(UsageError, match="--url"):
        Http(url)


@pytest.mark.parametrize(("host", "port", "said"), [
    ("", 8000, "--host"), ("::1", 65536, "--port"), ("::1", -1, "--port"), ("no host", 0, "--host no host"),
    ("a" * 70, 0, "cannot be used"), ("127.0.0.1", None, "Address already in use"),
])  # fmt: skip
def test_an_odd_address_to_listen_at_is_told_in_one_line(site, host, port, said, capfd):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UsageError, match=said):
            serve(site.study, host, other.getsockname()[1] if port is None else port)
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_ends_an_export_in_one_line(site, tmp_path, monkeypatch):
    site.play("mh", 0)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mhng.experiment.people.export.read_person", lambda path, design: person())
    monkeypatch.setattr("mhng.experiment.people.export.Path.mkdir", full)
    with pytest.raises(RunError, match="No space left"):
        export(site.study, tmp_path / "out", bots=True)


@pytest.mark.parametrize(("flags", "said"), [
    (["--objects", "0"], "--objects is 0"), (["--signs", "0"], "--signs is 0"), (["--groups", "0"], "--groups is 0"),
    (["--data", ""], "--data is ''"), (["--data", "a,"], "--data is 'a,'"),
])  # fmt: skip
def test_nothing_and_zero_are_not_the_default(tmp_path, consent, flags, said, capsys):  # noqa: F811
    assert new(tmp_path / "study", consent, *([] if "--data" in flags else ["--data", "creatures"]), *flags) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "study").exists()


def test_a_changed_consent_text_is_not_shown_as_the_old_version(tmp_path, consent, capsys):  # noqa: F811
    folder = tmp_path / "study"
    assert new(folder, consent, "--data", "creatures") == 0
    text = (folder / "consent.ja.txt").read_text()
    (folder / "consent.ja.txt").write_text(text.replace("Consent", "Agree"))
    capsys.readouterr()
    assert study("status", folder) == 2 and "consent texts have version" in capsys.readouterr().err
    (folder / "consent.ja.txt").write_text("\ufeff\n" + text + "\n\n")  # an editor may have saved it
    assert study("status", folder) == 0


def test_the_data_set_tells_no_path_of_this_machine(tmp_path, consent):  # noqa: F811
    (tmp_path / "secret" / "mine").mkdir(parents=True)
    for n in range(4):
        Image.fromarray(np.full((20, 20, 3), 60 * n, np.uint8)).save(tmp_path / "secret" / "mine" / f"{n}.png")
    assert new(tmp_path / "study", consent, "--data", tmp_path / "secret" / "mine") == 0
    assert study("bots", tmp_path / "study", "--count", 1) == 0
    assert study("export", tmp_path / "study", "--bots", "--out", tmp_path / "ds") == 0
    for file in (tmp_path / "ds").rglob("*.*"):
        assert "secret" not in file.read_text()


def test_a_study_with_pictures_is_replayed_to_the_bit(tmp_path, consent):  # noqa: F811
    flags = ("--data", "creatures", "--partner", "mh,binary", "--blocks", 4)
    assert new(tmp_path / "study", consent, *flags) == 0
    opened = Study.open(tmp_path / "study")
    with served(opened) as one:
        for number in range(2):
            participant = Bot("mh", read_person(opened.path, opened.design), number=number).play(one.transport)
            live, log = one.sessions._open[participant], opened.logs.read(participant)
            fresh = Study.open(tmp_path / "study")
            again = replay(fresh, participant, log)
            assert live.belief.table == again.belief.table != opened.partner.belief.table
            assert (live.signs, live.partner_signs) == (again.signs, again.partner_signs) and again.finished
            # The partner's beliefs follow from its signs alone: other answers to offers change nothing.
            other = replay(fresh, participant, log[:1])
            for event in log[1:]:
                kept = {"answer": "keep"} if event["kind"] == "offer" else {}
                sign = {} if "sign" not in event else {"sign": other.signs[other.place.object]}
                moved = {"groups": event["groups"][::-1]} if event["kind"] == "sort" else {}
                other.advance(event | kept | sign | moved)
            assert other.belief.table == live.belief.table and other.partner_signs == live.partner_signs


def test_a_log_belongs_to_its_pictures(tmp_path, consent, capsys):  # noqa: F811
    folder = tmp_path / "study"
    assert new(folder, consent, "--data", "creatures") == 0
    assert study("bots", folder, "--count", 1) == 0
    shown = folder / "stimuli" / "person"
    (shown / "000.png").write_bytes((shown / "001.png").read_bytes())
    capsys.readouterr()
    assert study("status", folder) == 0 and "another design" in capsys.readouterr().out


def test_a_bot_of_another_study_is_told(site):
    two = PersonSide(None, np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(RunError, match="3 objects, but the bot knows 2"):
        Bot("mh", two).play(site.transport)


def test_wrong_answers_to_the_quiz_do_not_fill_the_disk(site, monkeypatch):
    monkeypatch.setattr("mhng.experiment.people.session.MOST_WRONG", 3)
    client = site.client()
    answer(client)
    for _ in range(6):
        answer(client, quiz_1="2", quiz_2="2")
    assert len(events(site)) == 4
    assert answer(client, quiz_1="0", quiz_2="1").status == 303
    assert page_of(client).data["kind"] == "practice-offer"


def test_a_partner_that_fails_stops_its_sessions_and_no_others(tmp_path, monkeypatch):
    def fails(*_):
        raise ValueError("no draw")

    with served(table_study(tmp_path, partners=("mh",), blocks=2, offers=2 * N)) as site:
        client = site.client()
        to_offer(client)
        with monkeypatch.context() as patch:
            patch.setattr(TablePartner, "redraw", fails)
            for _ in range(2 * N - 1):
                assert answer(client, answer="keep", sign="0").status == 303
            count = len(events(site))
            assert answer(client, sign="0").status == 503
            for _ in range(2):  # the answer is kept, once, and no page is shown with beliefs of before
                assert client.get("/page").status == 503
                assert client.post("/page", {"index": str(count), "sign": "0"}).status == 503
            assert len(events(site)) == count + 1
            assert page_of(site.client()).data["kind"] == "instructions"
        assert page_of(client).data["kind"] == "sort"


def test_own_pictures_are_neither_tiny_nor_huge(tmp_path):
    sizes = ((8, 8), (1200, 900), (3, 400), (900, 2))
    for n, size in enumerate(sizes):
        Image.new("RGB", size, (60 * n, 0, 0)).save(tmp_path / f"{n}.png")
    shown = [picture.size for picture in read_pictures(tmp_path, len(sizes))]
    assert shown == [(240, 240), (960, 720), (6, 800), (900, 2)]
