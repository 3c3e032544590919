"""Fashion-MNIST, tuned with KerasTuner: an ordinary program that runs in one process or on a cluster, unchanged.

python -m fashion train        the baseline
python -m fashion tune         one search
python -m fashion compare      the baseline, then several searches, in one table

__main__.py    the command line
settings.py    what a run can be asked to do, and the defaults
data.py        finds, verifies, scales and splits the data
  idx.py         the official files: names, checksums, format
  download.py    gets them from the network
  generated.py   draws stand-in images where there are none
  diagnose.py    tells `cluster doctor` whether the real images are here
model.py       the network and its search space, a keras_tuner.HyperModel
train.py       trains the baseline
tune.py        one search, and its best model
compare.py     several searches, and their table
project.py     notes beside KerasTuner's files: settings and time
files.py       writes files whole or not at all
table.py       tables as plain text and Markdown
role.py        is this the process that writes results?
quiet.py       imports Keras without TensorFlow's notices
errors.py      what can go wrong, and the exit codes
"""
