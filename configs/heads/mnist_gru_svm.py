# The same GRU with an L2-SVM: sums and C = 0.5 as in GRU-SVM, at the twin's learning rate (the paper's differ tenfold).
_base_ = ["mnist_gru_softmax.py"]

head = dict(type="SVMHead", C=0.5, reduction="sum", regulariser="half_sum")
losses = [dict(type="HeadLoss")]
