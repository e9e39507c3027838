# The same network with an L2-SVM in place of softmax: published 99.04 (by the argmax of signs).
_base_ = ["mnist_cnn_softmax.py"]

head = dict(type="SVMHead", C=1.0)
losses = [dict(type="HeadLoss")]
