"""Downloads from a real server that drops, lies, errs and redirects."""

import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from zoo_server import send, serve_range, sha256

from kdzoo.errors import UserError
from kdzoo.zoo.download import download

BODY = np.random.default_rng(0).bytes(300_000)
HASH = sha256(BODY)


def drop(after, times, **headers):
    """An act that closes the connection after so many bytes, the first so many times."""
    left = [times]

    def act(handler):
        if left[0] == 0:
            return serve_range(handler, BODY, **headers)
        left[0] -= 1
        begin = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        handler.send_response(206 if begin else 200)
        handler.send_header("Content-Length", str(len(BODY) - begin))
        if begin:
            handler.send_header("Content-Range", f"bytes {begin}-{len(BODY) - 1}/{len(BODY)}")
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(BODY[begin : begin + after])
        handler.wfile.flush()
        handler.close_connection = True

    return act


def left_in(folder):
    return sorted(p.name for p in Path(folder).iterdir() if not p.name.endswith(".lock"))


def test_a_file_arrives_once(server):
    server.files["/net"] = BODY
    for _ in range(2):
        assert download([f"{server.url}/net"], Path("c/net"), HASH).read_bytes() == BODY
    assert server.requests == [("/net", None)] and left_in("c") == ["net"]


def test_a_dropped_connection_is_resumed_where_it_broke(server):
    server.acts["/net"] = drop(100_000, 2)
    download([f"{server.url}/net"], Path("net"), HASH)
    assert Path("net").read_bytes() == BODY
    asked = [r for _, r in server.requests]
    assert asked[0] is None and len(asked) == 3
    assert 0 < int(asked[1][6:-1]) <= 100_000 < int(asked[2][6:-1]) <= 200_000


def test_the_next_call_goes_on_where_the_last_one_was_killed(server):
    server.files["/net"] = BODY
    Path(".net.part").write_bytes(BODY[:12_345])
    download([f"{server.url}/net"], Path("net"), HASH)
    assert Path("net").read_bytes() == BODY and server.requests == [("/net", "bytes=12345-")]
    assert left_in(".") == ["net"]


@pytest.mark.parametrize("old", [b"older" * 100, BODY + b"more", b"x" * len(BODY)], ids=["other", "longer", "as long"])
def test_half_of_another_file_is_dropped_and_the_whole_is_fetched(server, old):
    server.files["/net"] = BODY
    Path(".net.part").write_bytes(old)
    download([f"{server.url}/net"], Path("net"), HASH)
    assert Path("net").read_bytes() == BODY and left_in(".") == ["net"]


def test_a_finished_part_needs_no_server(server):
    Path(".net.part").write_bytes(BODY)
    download([f"{server.url}/net"], Path("net"), HASH)
    assert Path("net").read_bytes() == BODY and server.requests == []


def test_a_server_without_ranges_is_read_from_the_start(server):
    server.acts["/net"] = lambda handler: send(handler, BODY)
    Path(".net.part").write_bytes(BODY[:1000])
    download([f"{server.url}/net"], Path("net"), HASH)
    assert Path("net").read_bytes() == BODY


def test_without_a_hash_only_one_version_is_pieced_together(server):
    server.acts["/net"] = drop(100_000, 1, ETag='"v1"')
    Path(".net.part").write_bytes(b"of an older call")
    download([f"{server.url}/net"], Path("net"), None)
    assert Path("net").read_bytes() == BODY and [r is None for _, r in server.requests] == [True, False]
    server.requests.clear()
    server.acts["/other"] = drop(100_000, 1)  # no ETag: from the start
    download([f"{server.url}/other"], Path("other"), None)
    assert Path("other").read_bytes() == BODY and [r for _, r in server.requests] == [None, None]


def test_a_truncated_file_is_tried_again_then_refused(server):
    server.acts["/net"] = drop(50_000, 99)
    with pytest.raises(UserError, match=r"net could not be downloaded: http.*/net .*5 times"):
        download([f"{server.url}/net"], Path("net"), HASH)
    assert len(server.requests) == 5 and not Path("net").exists()
    server.acts["/net"] = lambda handler: send(handler, BODY[:1000])  # says it is whole
    with pytest.raises(UserError, match="gives another file"):
        download([f"{server.url}/net"], Path("other"), HASH)
    assert not Path("other").exists()


def test_a_wrong_file_is_kept_aside_with_both_hashes(server):
    wrong = b"not the weights"
    server.files["/net"] = wrong
    with pytest.raises(UserError) as refused:
        download([f"{server.url}/net"], Path("net"), HASH)
    assert HASH in str(refused.value) and sha256(wrong) in str(refused.value)
    kept = f"net.wrong-{sha256(wrong)[:8]}"
    assert kept in str(refused.value) and left_in(".") == [kept] and Path(kept).read_bytes() == wrong


def test_mirrors_are_tried_in_turn(server):
    server.files |= {"/wrong": b"wrong", "/good": BODY}
    server.acts["/page"] = lambda handler: send(handler, b"<html>sorry</html>", Content_Type="text/html; charset=utf-8")
    urls = [f"{server.url}/{name}" for name in ("gone", "page", "wrong", "good")]
    download(urls, Path("net"), HASH)
    assert Path("net").read_bytes() == BODY
    assert [path for path, _ in server.requests] == ["/gone", "/page", "/wrong", "/good"]


def test_every_mirror_is_told(server):
    server.acts["/page"] = lambda handler: send(handler, b"<html>", Content_Type="text/html")
    server.acts["/busy"] = lambda handler: send(handler, b"later", 503)
    with pytest.raises(UserError) as refused:
        download([f"{server.url}/{name}" for name in ("gone", "page", "busy")], Path("net"), HASH)
    told = str(refused.value)
    assert "answers 404 Not Found" in told and "a web page, not" in told and "503 Service Unavailable, 5 times" in told
    assert "\n" not in told and not Path("net").exists()
    assert [path for path, _ in server.requests] == ["/gone", "/page", *["/busy"] * 5]  # 404 is not asked twice


def test_an_error_page_with_status_200_is_no_weights_even_without_a_hash(server):
    server.acts["/net"] = lambda handler: send(handler, b"<html>log in", Content_Type="text/html")
    with pytest.raises(UserError, match="a web page, not"):
        download([f"{server.url}/net"], Path("net"), None)
    assert not Path("net").exists()


def test_redirects_are_followed_but_not_in_circles_nor_to_files(server):
    server.files["/net"] = BODY
    server.acts["/moved"] = lambda handler: send(handler, b"", 302, Location="/net")
    server.acts["/round"] = lambda handler: send(handler, b"", 302, Location="/round")
    server.acts["/local"] = lambda handler: send(handler, b"", 302, Location="file:///etc/passwd")
    download([f"{server.url}/moved"], Path("net"), HASH)
    assert Path("net").read_bytes() == BODY
    for name in ("round", "local"):
        with pytest.raises(UserError, match="no usable address"):
            download([f"{server.url}/{name}"], Path("other"), HASH)


def test_a_resumed_redirect_keeps_its_range(server):
    server.files["/net"] = BODY
    server.acts["/moved"] = lambda handler: send(handler, b"", 302, Location="/net")
    Path(".net.part").write_bytes(BODY[:777])
    download([f"{server.url}/moved"], Path("net"), HASH)
    assert server.requests[-1] == ("/net", "bytes=777-") and Path("net").read_bytes() == BODY


def test_an_endless_file_is_cut_off(server):
    server.files["/net"] = b"x" * 3_000_000
    with pytest.raises(UserError, match="sends more than"):
        download([f"{server.url}/net"], Path("net"), HASH, size=10)
    assert not Path("net").exists()


def test_a_server_that_is_not_there(server):
    with pytest.raises(UserError, match="breaks off.*5 times"):
        download(["http://127.0.0.1:9/net"], Path("net"), HASH)


def test_a_damaged_file_in_the_cache_is_kept_aside_and_fetched_again(server):
    server.files["/net"] = BODY
    Path("net").write_bytes(BODY[:-1] + bytes([BODY[-1] ^ 1]))
    download([f"{server.url}/net"], Path("net"), HASH)
    assert Path("net").read_bytes() == BODY and len(left_in(".")) == 2


def test_offline_asks_nobody(server, monkeypatch):
    server.files["/net"] = BODY
    monkeypatch.setenv("KDZOO_OFFLINE", "1")
    with pytest.raises(UserError, match="offline, and net is not here; looked for net"):
        download([f"{server.url}/net"], Path("net"), HASH)
    Path("net").write_bytes(b"wrong")
    with pytest.raises(UserError, match=HASH):
        download([f"{server.url}/net"], Path("net"), HASH)
    Path("net").write_bytes(BODY)
    assert download([f"{server.url}/net"], Path("net"), HASH) == Path("net") and server.requests == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_told_and_leaves_nothing(server):
    server.files["/net"] = BODY
    Path(".net.part").symlink_to("/dev/full")  # every write fails with ENOSPC
    with pytest.raises(UserError, match="the disk is full"):
        download([f"{server.url}/net"], Path("net"), HASH)
    assert left_in(".") == []


def test_too_little_room_is_told_before_anything_is_fetched(server):
    with pytest.raises(UserError, match="the disk is full: net needs 1,000,000,000,000,000,000 bytes"):
        download([f"{server.url}/net"], Path("net"), HASH, size=10**18)
    assert server.requests == []


def test_a_cache_that_cannot_be_written(server, monkeypatch):
    Path("file").write_text("")
    with pytest.raises(UserError, match="can't write .*KDZOO_CACHE"):
        download([f"{server.url}/net"], Path("file/cache/net"), HASH)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as on a read-only disk; root may write anything else
    with pytest.raises(UserError, match="can't write .*Permission denied.*KDZOO_CACHE"):
        download([f"{server.url}/net"], Path("net"), HASH)
    Path("net").write_bytes(BODY)
    assert download([], Path("net"), HASH) == Path("net")  # reading from it is fine


def fetch_in_child(url, path, ready, go):
    ready.release()
    go.wait()
    download([url], Path(path), HASH)


@pytest.mark.skipif(sys.platform == "win32", reason="one platform is enough for the lock")
def test_two_processes_share_one_download(server):
    def slow(handler):
        time.sleep(0.3)
        send(handler, BODY)

    server.acts["/net"] = slow
    context = multiprocessing.get_context("fork")
    ready, go = context.Semaphore(0), context.Event()
    arguments = (f"{server.url}/net", "net", ready, go)
    children = [context.Process(target=fetch_in_child, args=arguments) for _ in range(2)]
    for child in children:
        child.start()
    for _ in children:
        ready.acquire()
    go.set()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0, 0]
    assert len(server.requests) == 1 and Path("net").read_bytes() == BODY


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_process_killed_midway_leaves_nothing_under_the_name(server):
    half = threading.Event()

    def stall(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY[:200_000])
        handler.wfile.flush()
        half.wait(30)

    server.acts["/net"] = stall
    context = multiprocessing.get_context("fork")
    child = context.Process(target=download, args=([f"{server.url}/net"], Path("net"), HASH))
    child.start()
    part = Path(".net.part")
    for _ in range(1000):
        if part.is_file() and part.stat().st_size > 100_000:
            break
        time.sleep(0.01)
    child.kill()
    child.join(30)
    half.set()
    assert child.exitcode == -9 and not Path("net").exists() and part.stat().st_size > 100_000
    del server.acts["/net"]
    server.files["/net"] = BODY
    download([f"{server.url}/net"], Path("net"), HASH)
    assert Path("net").read_bytes() == BODY and int(server.requests[-1][1][6:-1]) > 100_000
