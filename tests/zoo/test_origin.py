"""From an entry to weights in a model: package, checkout, servers, archives, pickles of others."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import pytest
import torch
from zoo_server import ENTRY, sha256

from kdzoo.errors import UserError
from kdzoo.models import create_model, load_weights, save_weights, weights_hash
from kdzoo.zoo import origin, zoo_source
from kdzoo.zoo.index import parse_index
from kdzoo.zoo.origin import cached_file, fetch

TINY = dict(widths=(8, 8, 8, 8))


def tiny(classes=10):
    return create_model("resnet8", classes, in_chans=1, mean=[0.3], std=[0.4], **TINY)


@pytest.fixture
def model():
    torch.manual_seed(1)
    return tiny()


@pytest.fixture
def weights(model):
    save_weights(model, "net.safetensors")
    return Path("net.safetensors").read_bytes()


def entry_of(body, **changes):
    return parse_index([ENTRY | dict(sha256=sha256(body), size=len(body)) | changes])["digits/tiny"]


def torch_file(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture
def known(monkeypatch):
    """Lets ``zoo:digits/tiny`` stand for an entry of the test."""
    entries = {}
    monkeypatch.setattr(zoo_source, "find_entry", lambda name: entries[name])
    return entries


def test_the_package_then_the_checkout_then_the_base_address(server, weights, known, monkeypatch, model):
    entry = entry_of(weights, sources=["package", "zoo_files"])
    monkeypatch.setattr(origin, "PACKAGE", Path("package"))
    monkeypatch.setattr(origin, "CHECKOUT", Path("checkout"))
    with pytest.raises(UserError, match="set KDZOO_ZOO_URL"):
        fetch(entry)
    monkeypatch.setenv("KDZOO_ZOO_URL", f"{server.url}/bucket/")
    server.files["/bucket/digits/tiny.safetensors"] = weights
    assert fetch(entry) == cached_file(entry)
    for folder in ("checkout", "package"):
        path = Path(folder) / entry.file
        path.parent.mkdir(parents=True)
        path.write_bytes(weights)
        assert fetch(entry) == path
    known["digits/tiny"] = entry
    loaded = create_model("resnet8", 10, in_chans=1, checkpoint="zoo:digits/tiny", **TINY)
    assert weights_hash(loaded) == weights_hash(model)  # mean and std with it
    path.write_bytes(weights[:-1] + b"!")
    with pytest.raises(UserError, match=f"expected {sha256(weights)}; it is not loaded"):
        fetch(entry)


def test_torch_files_of_others_become_safetensors(server, known, model):
    body = torch_file({"model": model.network.state_dict(), "best_acc": torch.tensor(1.0)})
    server.files["/net.pth"] = body
    known["digits/tiny"] = entry_of(body, file="digits/net.pth", sources=[f"{server.url}/net.pth"], mean=[0.7])
    loaded = tiny()
    load_weights(loaded, "zoo:digits/tiny")
    assert torch.equal(loaded.network.conv1.weight, model.network.conv1.weight)
    assert loaded.mean.tolist() == pytest.approx([0.7])  # the index's
    converted = cached_file(known["digits/tiny"]).with_suffix(".safetensors")
    written = converted.stat().st_mtime_ns
    load_weights(tiny(), "zoo:digits/tiny")
    assert converted.stat().st_mtime_ns == written and len(server.requests) == 1


class Evil:
    def __reduce__(self):
        return (Path("ran").write_text, ("code",))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("body", [torch_file({"model": Evil()}), pickle.dumps(Evil())], ids=["torch", "pickle"])
def test_pickled_code_is_not_run_and_nothing_is_recorded(server, body):
    server.files["/net.pth"] = body
    entry = entry_of(body, file="digits/net.pth", sources=[f"{server.url}/net.pth"], sha256=None)
    with pytest.raises(UserError, match="kdzoo runs no pickled code|damaged"):
        fetch(entry)
    assert not Path("ran").exists() and not cached_file(entry).with_name("net.pth.sha256").exists()


def test_a_torch_file_that_is_a_zip_bomb(server):
    import zipfile

    with zipfile.ZipFile("net.pth", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"\0" * 30_000_000)
    body = Path("net.pth").read_bytes()
    server.files["/net.pth"] = body
    with pytest.raises(UserError, match="refused: .* unpacks to"):
        fetch(entry_of(body, file="digits/net.pth", sources=[f"{server.url}/net.pth"]))


def test_an_unverified_entry_is_told_and_held_to_its_first_hash(server, model, capsys):
    body = torch_file(model.network.state_dict())
    server.files["/net.pth"] = body
    entry = entry_of(body, file="digits/net.pth", sources=[f"{server.url}/net.pth"], sha256=None, size=None)
    path = fetch(entry)
    told = capsys.readouterr().out
    assert "is unverified" in told and sha256(body) in told
    assert fetch(entry) == path and capsys.readouterr().out == ""
    other = torch_file(tiny().network.state_dict())
    cached_file(entry).write_bytes(other)
    server.files["/net.pth"] = other
    with pytest.raises(UserError, match=f"sha256 {sha256(other)}, expected {sha256(body)}"):
        fetch(entry)


def test_the_published_first_digits_of_a_hash_are_checked(server, weights):
    server.files["/net"] = weights
    good = entry_of(weights, sources=[f"{server.url}/net"], sha256=sha256(weights)[:8])
    assert fetch(good).read_bytes() == weights
    with pytest.raises(UserError, match="expected 00000000"):
        fetch(entry_of(weights, file="digits/other.safetensors", sources=[f"{server.url}/net"], sha256="0" * 8))


def test_a_member_of_a_published_archive_and_its_mirror(server, weights):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        info = tarfile.TarInfo("teachers/net.safetensors")
        info.size = len(weights)
        file.addfile(info, io.BytesIO(weights))
    server.files |= {"/all.tar": buffer.getvalue(), "/net": weights}
    sources = [f"{server.url}/all.tar#teachers/net.safetensors", f"{server.url}/net"]
    assert fetch(entry_of(weights, sources=sources)).read_bytes() == weights
    assert [path for path, _ in server.requests] == ["/all.tar"]
    gone = [sources[0].replace("all", "gone"), sources[1]]
    assert fetch(entry_of(weights, file="digits/two.safetensors", sources=gone)).read_bytes() == weights
    wrong = entry_of(weights, file="digits/three.safetensors", sources=sources[:1], sha256="1" * 64)
    with pytest.raises(UserError, match=f"sha256 {sha256(weights)}, expected {'1' * 64}; it is kept as") as refused:
        fetch(wrong)
    assert "all.tar, remove that to download it again" in str(refused.value)
    assert not cached_file(wrong).exists()
    assert len(list(cached_file(wrong).parent.glob("three.safetensors.wrong-*"))) == 1


def test_offline_says_where_it_looked(server, weights, monkeypatch):
    monkeypatch.setenv("KDZOO_OFFLINE", "yes")
    entry = entry_of(weights, sources=["package", "zoo_files", f"{server.url}/net"])
    with pytest.raises(UserError) as refused:
        fetch(entry)
    for word in ("weights/digits/tiny.safetensors", "zoo_files/digits/tiny.safetensors", str(cached_file(entry)),
                 "tools/download.py digits/tiny"):
        assert word in str(refused.value)
    assert server.requests == []


def test_a_link_in_the_cache_leads_nowhere(server, weights):
    server.files["/net"] = weights
    entry = entry_of(weights, sources=[f"{server.url}/net"])
    outside = Path("outside")
    outside.mkdir()
    cached_file(entry).parent.parent.mkdir(parents=True)
    cached_file(entry).parent.symlink_to(outside.resolve())
    with pytest.raises(UserError, match="leads out of"):
        fetch(entry)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: tiny(classes=7), "checkpoint has 10 classes, the model 7 .fc.weight, fc.bias"),
        (lambda: create_model("resnet8", 10, in_chans=1, widths=(8, 8, 8, 12)), r"of another shape: layer3.* \[8, 8"),
        (lambda: create_model("resnet14", 10, in_chans=1, **TINY), "missing: layer1.1.conv1.weight"),
    ],
)
def test_weights_for_other_classes_and_shapes_name_the_tensors(weights, known, monkeypatch, build, told):
    monkeypatch.setattr(origin, "PACKAGE", Path("."))
    Path("digits").mkdir()
    Path("digits/tiny.safetensors").write_bytes(weights)
    known["digits/tiny"] = entry_of(weights)
    with pytest.raises(UserError, match=told):
        load_weights(build(), "zoo:digits/tiny")


def test_an_unknown_source_tells_the_nearest():
    with pytest.raises(UserError, match="no checkpoint source 'zo' .did you mean 'zoo'"):
        load_weights(tiny(), "zo:digits/resnet20")
    with pytest.raises(UserError, match="there is no file gone.safetensors"):
        load_weights(tiny(), "gone.safetensors")


def test_numpy_numbers_beside_the_weights_are_plain_values(model):
    import numpy as np

    body = torch_file({"model": model.network.state_dict(), "best_acc": np.float64(0.5)})
    Path("ckpt.pth").write_bytes(body)
    Path("old.pth").write_bytes(torch_file_of_old_numpy(model))
    for name in ("ckpt.pth", "old.pth"):
        loaded = tiny()
        load_weights(loaded, name)
        assert torch.equal(loaded.network.conv1.weight, model.network.conv1.weight)


def torch_file_of_old_numpy(model):
    """As NumPy 1 wrote it: the same bytes under the module name it had then."""
    import numpy as np

    content = {"model": model.network.state_dict(), "best_acc": np.float64(0.5)}
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def test_metadata_of_a_conversion(server, model):
    body = torch_file(model.network.state_dict())
    server.files["/net.pth"] = body
    path = fetch(entry_of(body, file="digits/net.pth", sources=[f"{server.url}/net.pth"]))
    from kdzoo.models import read_metadata

    metadata = read_metadata(path)
    assert metadata["source_sha256"] == sha256(body) and json.loads(metadata["std"]) == [0.4]
