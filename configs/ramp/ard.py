# ARD: a robust teacher to a robust student.
_base_ = ["../_base_/robust/distill.py"]
losses = [dict(type="ARD", temperature=30.0)]
