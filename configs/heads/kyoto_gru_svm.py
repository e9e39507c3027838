# GRU-SVM on the Kyoto traffic as its code trains it: published 84.15 (softmax twin 70.75, at a tenth of this rate).
_base_ = ["../_base_/runtime/default.py"]

data = dict(type="Kyoto", path="data/kyoto2013")
student = dict(name="gru_rows", options=dict(img_size=(21, 10), drop_rate=0.15))
head = dict(type="SVMHead", C=0.5, reduction="sum", regulariser="half_sum")
losses = [dict(type="HeadLoss")]
epochs = 5
batch_size = 256
optimizer = dict(type="Adam", lr=1e-5)
