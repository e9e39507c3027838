"""tools/novel.py as a user types it."""

import json
from pathlib import Path

from kdzoo.config import Config
from kdzoo.tools import novel, train


def test_train_on_seven_digits_and_meet_three(tiny, capsys):
    split = dict(type="ClassSplit", source=dict(type="Digits"), seen=7, train_limit=84, test_limit=60)
    tiny |= dict(data=split, head=dict(type="NormalizedSoftmaxHead"), losses=[dict(type="HeadLoss")], epochs=1)
    Path("tiny.py").write_text(Config(tiny).dump())
    assert train.main(["tiny.py", "--device", "cpu", "--work-dir", "w"]) == 0
    capsys.readouterr()
    command = ["tiny.py", "w/last.safetensors", "--device", "cpu"]
    assert novel.main([*command, "--support", "200", "--queries", "100", "--out", "n"]) == 0
    out = capsys.readouterr().out
    assert "7 seen, 3 novel classes; 200 support images, 100 queries" in out and "conventions:" in out
    record = json.loads(Path("n/novel.json").read_text())
    assert 0 <= record["joint"]["ncm_harmonic"] <= 100 and record["grown_head"]["novel"] >= 0
    means = record["imprinted_head"]  # a head of means decides as the nearest mean does
    assert [means["all"], means["novel"]] == [record["joint"]["ncm"], record["joint"]["ncm_novel"]]
    for wrong, words in (
        (["--neighbours", "0"], "neighbours and recalls must be 1 or more"),
        (["--queries", "0"], "test_limit is 0"),
        (["--support", "9", "--queries", "9"], "--support 9 draws no image of"),
    ):
        assert novel.main([*command, "--support", "200", *wrong]) == 2
        assert words in capsys.readouterr().err
    assert novel.main([*command, "--support", "200", "--shots", "2"]) == 0
    assert "20 support images" in capsys.readouterr().out
    assert novel.main([*command, "--cfg-options", "data.type=Digits"]) == 2
    assert "no ClassSplit" in capsys.readouterr().err
