"""The page of a study: its order, reloads and second submissions, and what an attacker may try."""

import base64
import errno
import json
import os
import re
from contextlib import closing
from pathlib import Path

import pytest
import uvicorn

from mhng.experiment.errors import UsageError
from mhng.experiment.people.app import MOST_BYTES, MOST_FIELDS, PATIENCE
from mhng.experiment.people.client import Client, InProcess
from mhng.experiment.people.export import export
from mhng.experiment.people.serve import serve
from mhng.experiment.people.session import replay
from mhng.experiment.people.sessions import MOST_PARTICIPANTS, Sessions
from mhng.experiment.people.status import forget, status
from mhng.experiment.people.texts import LANGUAGES, texts
from tests.studies import N, Served, logged, person, picture, served, table_study

HTML = '"><script>alert(1)</script>'


@pytest.fixture
def site(tmp_path):
    with served(table_study(tmp_path)) as one:
        yield one


def page_of(client):
    answer = client.get("/page")
    assert answer.status == 200
    return answer


def answer(client, **form):
    """Answer the present page."""
    return client.post("/page", {"index": page_of(client).data["index"], **form})


def to_offer(client):
    """Go on to the first offer."""
    for form in (
        {}, {"quiz_1": "0", "quiz_2": "1"}, {"answer": "take"}, {"sign": "1"},
        {f"group_{n}": str(n) for n in range(N)},
    ):  # fmt: skip
        assert answer(client, **form).status == 303
    assert page_of(client).data["kind"] == "offer"


def events(site):
    (only,) = logged(site.study).values()
    return only


# -- the order ---------------------------------------------------------------------------------------


def test_a_session_goes_through_all_pages_and_is_replayed_from_its_log(site):
    client, kinds = site.client(), []
    forms = {
        "instructions": {}, "quiz": {"quiz_1": "0", "quiz_2": "1"}, "practice-offer": {"answer": "keep"},
        "practice-proposal": {"sign": "2"}, "sort": {f"group_{n}": "1" for n in range(N)}, "offer": {"answer": "take"},
        "proposal": {"sign": "1"}, "questions": {"how": f"by {HTML}", "meaning": "3", "more": ""},
    }  # fmt: skip
    while (page := page_of(client)).data["kind"] != "end":
        kinds.append(page.data["kind"])
        assert answer(client, **forms[kinds[-1]], rt="812", time="1764400000000").status == 303
    assert kinds == [
        "instructions", "quiz", "practice-offer", "practice-proposal", "sort", *["offer", "proposal"] * 6, "questions"
    ]  # fmt: skip
    assert site.study.completion_code(next(iter(logged(site.study)))) in page.text
    first, *later = events(site)
    assert first["kind"] == "begin" and [event["index"] for event in later] == list(range(1, len(later) + 1))
    assert {event["rt"] for event in later} == {812} and {event["version"] for event in later} == {1}
    (live,) = site.sessions._open.values()
    again = replay(site.study, live.participant, [first, *later])
    for name in ("signs", "partner_signs", "groups", "belief", "index", "at"):
        assert getattr(again, name) == getattr(live, name), name


def test_beliefs_are_redrawn_after_a_block_and_replayed_to_the_bit(tmp_path):
    with served(table_study(tmp_path, partners=("mh",), blocks=2)) as site:
        live = site.play("mh", 0)
        assert live.belief != site.study.partner.belief
        (log,) = logged(site.study).values()
        assert replay(site.study, live.participant, log).belief == live.belief
    with served(table_study(tmp_path / "held", blocks=2)) as site:
        (tmp_path / "held").mkdir()
        assert site.play("mh", 0).belief == site.study.partner.belief


def test_conditions_come_equally_often(tmp_path):
    names = ("mh", "accept", "known")
    with served(table_study(tmp_path, partners=names)) as site:
        for _ in range(9):
            site.client()
        found = [site.sessions._open[participant].condition.name for participant in site.sessions._open]
    assert all(set(found[start : start + 3]) == set(names) for start in (0, 3, 6))
    assert len({tuple(found[start : start + 3]) for start in (0, 3, 6)}) > 1


def test_texts_of_all_languages_have_the_same_keys():
    assert len(LANGUAGES) == 2
    one, two = (texts(language) for language in LANGUAGES)
    assert one.keys() == two.keys()
    for key, text in one.items():
        assert type(text) is type(two[key]) and (not isinstance(text, list) or len(text) == len(two[key])), key
        assert sorted(re.findall(r"\{\w+\}", str(text))) == sorted(re.findall(r"\{\w+\}", str(two[key]))), key


@pytest.mark.parametrize(("path", "headers", "language"), [
    ("/?lang=ja", {}, "ja"), ("/", {"accept_language": "ja-JP,en;q=0.5"}, "ja"), ("/", {}, "en"),
    ("/?lang=xx", {"accept_language": "de"}, "en"),
])  # fmt: skip
def test_the_language_is_that_of_the_address_or_of_the_browser(site, path, headers, language):
    assert f'<html lang="{language}">' in Client(site.transport).get(path, **headers).text


# -- reloads, the back button, two tabs --------------------------------------------------------------


def test_a_reload_shows_the_same_page_and_keeps_nothing(site):
    client = site.client()
    to_offer(client)
    before = events(site)
    assert page_of(client).text == page_of(client).text
    assert page_of(client).headers["cache-control"] == "no-store"
    assert events(site) == before


def test_an_answer_that_comes_twice_or_from_a_stale_tab_is_kept_once(site):
    client = site.client()
    to_offer(client)
    index = page_of(client).data["index"]
    for _ in range(3):
        assert client.post("/page", {"index": index, "answer": "take"}).status == 303
    assert [event["kind"] for event in events(site)].count("offer") == 1
    assert page_of(client).data["kind"] == "proposal"
    for stale in ("0", "-1", "99", "", "1e3", index):
        reply = client.post("/page", {"index": stale, "sign": "1"})
        assert (reply.status, reply.headers["location"]) == (303, "/page")
    assert client.post("/page", {"sign": "1"}).status == 303
    assert len(events(site)) == int(index) + 1


def test_agreeing_twice_begins_one_session(site):
    client = site.client()
    assert client.post("/begin", {"agree": "yes", "language": "en"}).status == 303
    assert client.get("/").headers["location"] == "/page"
    assert len(logged(site.study)) == 1


@pytest.mark.parametrize("form", [
    {}, {"answer": "maybe"}, {"answer": ""}, {"sign": "1"},
])  # fmt: skip
def test_an_unfit_answer_shows_the_page_again(site, form):
    client = site.client()
    to_offer(client)
    before = events(site)
    reply = answer(client, **form)
    assert reply.status == 422 and 'role="alert"' in reply.text and reply.data["kind"] == "offer"
    assert events(site) == before


@pytest.mark.parametrize("sign", ["3", "-1", "²", "1.0", "", "9" * 400, "١"])
def test_an_unknown_sign_is_refused(site, sign):
    client = site.client()
    to_offer(client)
    answer(client, answer="keep")
    assert answer(client, sign=sign).status == 422
    assert events(site)[-1]["kind"] == "offer"


def test_the_quiz_is_asked_until_it_is_right(site):
    client = site.client()
    answer(client)
    assert answer(client, quiz_1="1", quiz_2="1").status == 303
    assert page_of(client).data["kind"] == "quiz" and 'role="alert"' in page_of(client).text
    assert answer(client, quiz_1="0", quiz_2="1").status == 303
    assert page_of(client).data["kind"] == "practice-offer"
    assert [event["correct"] for event in events(site) if event["kind"] == "quiz"] == [False, True]


def test_without_consent_nothing_begins(site):
    client = Client(site.transport)
    assert client.post("/begin", {"language": "en"}).status == 422
    assert client.post("/begin", {"language": "de", "agree": "yes"}).status == 400
    assert logged(site.study) == {} and not client.cookies


# -- what an attacker may try ------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["x" * 32, "../../../etc/passwd0000", "", "%00" * 10, "a" * 5000, "é" * 30])
def test_a_forged_token_has_no_session(site, token):
    site.client()
    client = Client(site.transport)
    client.cookies["study"] = token
    assert client.get("/page").status == 404 and client.post("/page", {"index": "1"}).status == 404
    assert client.get("/").status == 200
    assert len(events(site)) == 1


def test_the_name_of_a_participant_is_no_token(site):
    site.client()
    client = Client(site.transport)
    client.cookies["study"] = next(iter(logged(site.study)))
    assert client.get("/page").status == 404


def test_tokens_are_long_and_the_cookie_is_kept_from_scripts_and_other_sites(site):
    reply = Client(site.transport).post("/begin", {"agree": "yes", "language": "en"})
    cookie = reply.headers["set-cookie"]
    assert len(cookie.partition(";")[0].partition("=")[2]) >= 32
    assert "httponly" in cookie.lower() and "samesite=lax" in cookie.lower()
    assert "secure" not in cookie.lower()
    site.transport.scheme = "https"
    assert (
        "secure"
        in Client(site.transport).post("/begin", {"agree": "yes", "language": "en"}).headers["set-cookie"].lower()
    )
    token = cookie.partition(";")[0].partition("=")[2]
    assert token not in json.dumps(logged(site.study)) and all(
        token not in path.name for path in site.study.path.rglob("*")
    )


@pytest.mark.parametrize("path", [
    "/picture/../partner.pt", "/picture/..%2fpartner.pt", "/picture/%2e%2e/%2e%2e/etc/passwd", "/static/../app.py",
    "/static/app.py", "/static/page.html.j2", "/picture/000.png", "/picture/", "/logs/", "/design.json",
    "//etc/passwd",
])  # fmt: skip
def test_only_listed_files_are_served(site, path):
    reply = Client(site.transport).get(path)
    assert reply.status == 404 and b"PNG" not in reply.body


def test_only_the_persons_side_reaches_the_browser(tmp_path):
    study = table_study(tmp_path, demo=True)
    hidden = [picture(10 + n) for n in range(N)]
    with served(study) as site:
        client, seen = site.client(), []
        to_offer(client)
        while page_of(client).data["kind"] != "questions":
            seen.append(page_of(client))
            answer(client, answer="take", sign="0")
        names = set(re.findall(r"/picture/([\w.]+)", "".join(page.text for page in seen)))
        assert len(names) == N and {client.get(f"/picture/{name}").body for name in names} == set(
            map(picture, range(N))
        )
        for page in seen:
            assert not any(base64.b64encode(data).decode() in page.text for data in hidden)
            assert not re.search(r"\d\.\d{4}", page.text)  # no number of the partner's table
        answer(client, how="x", meaning="1")
        assert all(base64.b64encode(data).decode() in page_of(client).text for data in hidden)  # a demo shows it last


@pytest.mark.parametrize("headers", [
    {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://study.evil.example"},
    {"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"origin": "http://study:81"},
])  # fmt: skip
def test_forms_of_other_sites_are_refused(site, headers):
    client = site.client()
    assert client.post("/page", {"index": "1"}, **headers).status == 403
    assert client.post("/begin", {"agree": "yes", "language": "en"}, **headers).status == 403
    assert len(events(site)) == 1
    assert client.post("/page", {"index": "1"}, origin="http://study", sec_fetch_site="same-origin").status == 303


def test_huge_and_odd_posts_are_refused(site):
    client = site.client()
    form = {"content-type": "application/x-www-form-urlencoded"}
    send = site.transport.send
    cookie = {"cookie": f"study={client.cookies['study']}"}
    assert client.post("/page", {"index": "1", "how": "x" * 70_000}).status == 413
    assert client.post("/page", {f"f{n}": "1" for n in range(400)}).status == 400
    assert send("POST", "/page", cookie | {"content-type": "text/plain"}, b"index=1").status == 415
    assert send("POST", "/page", cookie | {"content-type": "multipart/form-data; boundary=x"}, b"--x--").status == 415
    assert send("POST", "/page", cookie | form, "index=1&x=é".encode()).status == 400
    assert send("POST", "/page", cookie | form | {"content-length": "1"}, b"x=" + b"y" * 70_000).status == 413
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert send(method, "/page", cookie, b"").status == 405
    assert len(events(site)) == 1


def test_answers_and_identifications_are_escaped(site):
    client = Client(site.transport)
    page = client.get(f"/?PROLIFIC_PID={HTML.replace(' ', '%20').replace('<', '%3C').replace('>', '%3E')}")
    assert "<script>alert" not in page.text and "&lt;script&gt;" in page.text
    assert "You may &lt;stop&gt; at any time." in page.text
    refused = client.post("/begin", {"agree": "yes", "language": "en", "bot": HTML})
    assert refused.status == 400 and "<script>alert" not in refused.text


def test_the_docs_state_the_cookies_the_limits_and_the_headers_of_the_proxy(tmp_path, monkeypatch):
    """Requests as the nginx of docs/people.md passes them on, to the application that `serve` runs."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "people.md").read_text(encoding="utf-8")
    values = {"$http_host": "study.example.org", "$scheme": "https"}
    passed = {name.lower(): values[value] for name, value in re.findall(r"proxy_set_header (\S+) (\S+);", text)}
    served_with = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: served_with.append(server.config))
    serve(table_study(tmp_path))
    (config,) = served_with
    config.load()
    with closing(InProcess(config.loaded_app)) as transport:
        form = {"agree": "yes", "language": "en"}
        reply = Client(transport).post("/begin", form, origin="https://study.example.org", **passed)
        assert reply.status == 303
        stated = re.search(r"a cookie \((.*) behind HTTPS\)\. Logs", text)[1].replace("`", "").split(", ")
        assert stated == ["HttpOnly", "SameSite=Lax", "Secure"]
        assert {part.lower() for part in stated} <= set(reply.headers["set-cookie"].lower().split("; "))
        assert Client(transport).post("/begin", form, origin="https://evil.example", **passed).status == 403
    assert f"bodies over {MOST_BYTES // 1024} KiB or {PATIENCE} seconds, and more than {MOST_FIELDS} fields" in text
    assert f"client_max_body_size {MOST_BYTES // 1024}k;" in text and f"{MOST_PARTICIPANTS:,} sessions" in text


def test_every_answer_has_the_headers_that_keep_other_sites_out(site):
    client = site.client()
    for path in ("/", "/page", "/nowhere", "/static/style.css"):
        reply = client.get(path)
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "http" not in re.sub(r"http://www.w3.org\S*", "", reply.text)  # no asset of another site


def test_identifications_are_hashed_and_begin_once(site):
    form = {"PROLIFIC_PID": "5f9d0c1e2b3a", "STUDY_ID": "study-77", "SESSION_ID": "session-88"}
    client = site.client(**form)
    text = json.dumps(logged(site.study))
    assert not any(value in text for value in form.values())
    assert len(events(site)[0]["recruiting"]) == 3
    other = Client(site.transport)
    assert other.post("/begin", {"agree": "yes", "language": "en", **form}).status == 409
    assert other.get("/?PROLIFIC_PID=5f9d0c1e2b3a").status == 200
    # The same browser goes on; another person in it begins anew.
    assert client.get("/?PROLIFIC_PID=5f9d0c1e2b3a").headers["location"] == "/page"
    assert client.get("/?PROLIFIC_PID=someone").status == 200
    again = Served(site.study)  # after a restart too
    assert Client(again.transport).post("/begin", {"agree": "yes", "language": "ja", **form}).status == 409
    again.transport.close()


# -- damaged, deleted and full -----------------------------------------------------------------------


def test_a_line_without_an_end_is_cut_and_the_session_goes_on(site):
    client = site.client()
    to_offer(client)
    file = site.study.logs.file(next(iter(logged(site.study))))
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"index": 6, "kind": "offer", "ans')
    again = Served(site.study)
    assert again.sessions.repaired == [file.stem] and file.read_bytes() == whole
    client.transport = again.transport
    assert page_of(client).data["kind"] == "offer"
    again.transport.close()


def test_a_log_without_a_whole_line_never_began(site, tmp_path):
    file = site.study.logs.folder / ("ab" * 8 + ".jsonl")
    file.parent.mkdir(exist_ok=True)
    for left in (b"", b'{"version": 1, "ki'):
        file.write_bytes(left)
        assert Sessions(site.study).repaired == ["ab" * 8] and not file.exists()


@pytest.mark.parametrize("change", [
    lambda lines: [*lines[:3], "{broken", *lines[4:]],
    lambda lines: [*lines[:3], "[1, 2]", *lines[4:]],
    lambda lines: [*lines[:3], *lines[4:]],
    lambda lines: [*lines[:3], lines[3], *lines[3:]],
    lambda lines: [*lines[:-1], lines[-1].replace('"offered": ', '"offered": 1')],
    lambda lines: [*lines[:-1], lines[-1].replace("offer", "proposal")],
    lambda lines: [*lines[:-1], lines[-1].replace('"time"', '"tame"')],
    lambda lines: [lines[0].replace("0123456789abcdef", "fedcba9876543210"), *lines[1:]],
])  # fmt: skip
def test_a_damaged_or_edited_log_is_refused_and_others_go_on(site, tmp_path, change):
    client = site.client()
    to_offer(client)
    answer(client, answer="keep")
    file = site.study.logs.file(next(iter(logged(site.study))))
    file.write_text("\n".join(change(file.read_text().splitlines())) + "\n")
    again = Served(site.study)
    client.transport = again.transport
    assert client.get("/page").status == 503 and client.post("/page", {"index": "1"}).status == 503
    other = again.client()
    assert page_of(other).data["kind"] == "instructions"
    report = status(site.study)
    assert report["damaged"] == 1 and sum("fault" in row for row in report["sessions"]) == 1
    with pytest.raises(UsageError, match=file.stem):
        export(site.study, tmp_path / "out", everyone=True)
    assert not (tmp_path / "out").exists()
    again.transport.close()


def test_a_deleted_session_ends_at_once_and_leaves_its_place_only(site):
    client = site.client(PROLIFIC_PID="person")
    to_offer(client)
    (participant,) = logged(site.study)
    assert forget(site.study, client.cookies["study"]) == participant
    assert logged(site.study) == {} and client.get("/page").status == 404
    assert client.post("/page", {"index": "6", "answer": "take"}).status == 404
    left = "".join(path.read_text() for path in site.study.logs.folder.iterdir())
    assert left == '{"slot": 0, "bot": null}\n'
    with pytest.raises(UsageError, match="no session"):
        forget(site.study, participant)
    site.client(PROLIFIC_PID="person")  # the same person may begin again, also without a new server
    forget(site.study, *logged(site.study))
    again = Served(site.study)  # the places are not given again
    again.client(PROLIFIC_PID="person")
    assert events(again)[0]["slot"] == 2
    again.transport.close()


def test_a_full_disk_loses_no_answer_silently(site, monkeypatch):
    client = site.client()
    to_offer(client)
    before, index = events(site), page_of(client).data["index"]
    write = os.write

    def fails(descriptor, data):
        write(descriptor, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mhng.experiment.people.log.os.write", fails)
        assert client.post("/page", {"index": index, "answer": "take"}).status == 503
        assert Client(site.transport).post("/begin", {"agree": "yes", "language": "en"}).status == 503
    assert events(site) == before and page_of(client).data["index"] == index
    assert client.post("/page", {"index": index, "answer": "take"}).status == 303
    assert len(events(site)) == len(before) + 1


def test_an_answer_that_cannot_be_flushed_is_not_confirmed_and_kept_once(site, monkeypatch):
    client = site.client()
    to_offer(client)
    before, index = events(site), page_of(client).data["index"]

    def fails(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("mhng.experiment.util.files.os.fsync", fails)
        assert client.post("/page", {"index": index, "answer": "take"}).status == 503
    assert client.post("/page", {"index": index, "answer": "take"}).status == 303
    assert len(events(site)) == len(before) + 1 and page_of(client).data["kind"] == "proposal"


def test_bots_are_marked_and_do_not_use_places_of_people(site):
    site.play("mh", 0)
    site.client()
    begins = sorted((log[0]["bot"] or "", log[0]["slot"]) for log in logged(site.study).values())
    assert begins == [("", 0), ("mh", 0)]
    assert person().table.shape == (N, 3)
