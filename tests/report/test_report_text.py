"""The terminal's table, line by line."""

from kdzoo.report import read_groups, text_table

TEACHER = {"name": "resnet20", "top1": 92.0}


def test_a_study(study):
    assert text_table(read_groups([study])).splitlines() == [
        "run        network   parameters  seeds  last top-1 %            NLL        ECE %       time",
        "-------------------------------------------------------------------------------------------",
        "teacher    resnet20      78,042      3  93.00 ± 1.00  0.500 ± 0.000  2.50 ± 0.00  1 min 1 s",
        "alone      resnet8       78,042      3  82.00 ± 2.00  0.500 ± 0.000  2.50 ± 0.00  1 min 1 s",
        "distilled  resnet8       78,042      3  84.00 ± 3.00  0.500 ± 0.000  2.50 ± 0.00  1 min 1 s",
        "distilled minus alone: +2.00 ± 1.00 points of last top-1, better in 3 of 3 seeds "
        "(paired 95 % interval -0.48 to +4.48)",
    ]


def test_unfinished_and_damaged_runs_are_said(tmp_path, make_run, make_line):
    make_run(tmp_path / "kd" / "seed0", 80.0)
    broken = make_run(tmp_path / "kd" / "seed1", finished=False, epochs=15, log=[make_line(e) for e in range(1, 8)])
    with open(broken / "log.jsonl", "a") as log:
        log.write('{"epoch": 8')
    make_run(tmp_path / "new", finished=False, log=[])
    assert text_table(read_groups([tmp_path / "kd", tmp_path / "new"])).splitlines() == [
        "run  network  parameters   seeds  last top-1 %    NLL  ECE %       time",
        "-----------------------------------------------------------------------",
        "kd   resnet8      78,042  1 of 2         80.00  0.500   2.50  1 min 1 s",
        "new  resnet8           –  0 of 1             –      –      –          –",
        "kd/seed1: unfinished, epoch 7 of 15",
        "kd/seed1: 1 broken line in log.jsonl left out (a killed run leaves its last line cut off)",
        "new: unfinished, epoch 0 of 3",
    ]
