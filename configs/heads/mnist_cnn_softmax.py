# Agarap's CNN with softmax on MNIST: published 99.23 after 10,000 steps at a constant rate; 1,876 steps here.
_base_ = ["../_base_/data/mnist.py", "../_base_/runtime/default.py"]

augment = []
student = dict(name="agarap_cnn", options=dict(mean=(0.0,), std=(1.0,)))  # the paper's images are in [0, 1]
losses = [dict(type="CrossEntropy")]
epochs = 4
batch_size = 128
optimizer = dict(type="Adam", lr=1e-3)
schedule = dict(type="Cosine")
runtime = dict(log_every=100)
