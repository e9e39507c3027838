"""tools/download.py for weights, tools/export.py: one line for every mistake, nothing downloaded twice."""

import os
from pathlib import Path

import pytest
from zoo_server import ENTRY, sha256

from kdzoo.models import create_model, save_weights
from kdzoo.tools import download, export
from kdzoo.zoo import index
from kdzoo.zoo.cache import cache_folder


@pytest.fixture
def own_zoo(server, monkeypatch):
    """An index of two models: one on the server, one that nobody has."""
    save_weights(create_model("resnet8", 10, in_chans=1, widths=(8, 8, 8, 8)), "net.safetensors")
    body = Path("net.safetensors").read_bytes()
    server.files["/net"] = body
    here = ENTRY | dict(sources=[f"{server.url}/net"], sha256=sha256(body), size=len(body))
    gone = ENTRY | dict(name="digits/gone", file="digits/gone.safetensors", sources=[f"{server.url}/gone"])
    entries = index.parse_index([here, gone])
    index.write_index(entries, Path("index.json"))
    for name in ("kdzoo.zoo.index.read_index", "kdzoo.zoo.read_index"):
        monkeypatch.setattr(name, lambda: entries)
    return server


def test_download_list_and_verify(own_zoo, capsys):
    assert download.main(["digits/tiny"]) == 0
    path = cache_folder() / "zoo" / "digits" / "tiny.safetensors"
    assert capsys.readouterr().out == f"digits/tiny: {path}\n" and path.is_file()
    assert download.main(["zoo:digits/tiny", "--offline"]) == 0 and len(own_zoo.requests) == 1
    assert download.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert "digits/tiny" in out and "digits/gone" in out and "top1 50.00 (published)" in out
    assert download.main(["--list", "--filter", "*/t*"]) == 0
    assert "digits/gone" not in capsys.readouterr().out
    assert download.main(["--verify"]) == 0
    assert capsys.readouterr().out == f"digits/tiny: ok, {path}\ndigits/gone: not here\n"
    path.write_bytes(b"damaged")
    assert download.main(["--verify", "digits/tiny"]) == 1
    out = capsys.readouterr().out
    assert "WRONG" in out and sha256(b"damaged") in out and own_zoo.files["/net"] != path.read_bytes()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["digits/tny"], "the zoo has no 'digits/tny' (did you mean 'digits/tiny' or"),
        (["digits/gone"], "gone answers 404 Not Found"),
        (["digits/tiny", "--offline"], "offline, and zoo:digits/tiny is not here; looked for"),
        (["--list", "--filter", "cifar*"], "no model's name matches 'cifar*'"),
        (["--verify", "--filter", "cifar*"], "no model's name matches 'cifar*'"),
        (["--verify", "digits/tny"], "did you mean 'digits/tiny'"),
        (["nowhere:x"], "there is no checkpoint source 'nowhere'"),
    ],
)
def test_mistakes_are_one_line(own_zoo, capsys, words, told):
    assert download.main(words) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and told in err
    assert "KDZOO_OFFLINE" not in os.environ


def test_nothing_to_do_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stopped:
        download.main([])
    assert stopped.value.code == 2 and "give a NAME, --list" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_export_of_a_zoo_model(capsys):
    command = ["configs/digits/gru_rows.py", "zoo:digits/gru_rows", "--format", "pt2", "--images", "5"]
    assert export.main(command) == 0
    assert Path("exported/gru_rows.pt2").is_file() and "on 5 test images" in capsys.readouterr().out
    assert export.main(["configs/digits/resnet20.py", "zoo:digits/gru_rows", "--format", "pt2"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "does not fit resnet20; missing: conv1.weight" in err and err.count("\n") == 1
