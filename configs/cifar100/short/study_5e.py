# The study in 5 epochs of float32, for processors without bfloat16.
_base_ = "study.py"

epochs = 5
runtime = dict(precision="fp32")
