# A GRU over the rows of MNIST's images with softmax. Rows as steps are our extension: no published number.
_base_ = ["../_base_/data/mnist.py", "../_base_/runtime/default.py"]

augment = []
student = dict(name="gru_rows", options=dict(mean=(0.0,), std=(1.0,)))
losses = [dict(type="CrossEntropy")]
epochs = 5
batch_size = 128
optimizer = dict(type="Adam", lr=1e-3)
schedule = dict(type="Cosine")
