"""The only package that touches KerasTuner's private names.

    install    a role between a program and KerasTuner: `installed`
    trial      the inside of a trial: resumed epochs, reports, whole checkpoints
    hyperband  rounds that are filled though trials fail
    bayesian   Bayesian proposals that are new, and thought out in milliseconds
    reload     what a project on disk becomes when it is opened again
    journal    what a step changes in an oracle's saved state
    oracle     what the chief needs of an oracle beyond its public methods; what a worker needs of its own
    stock      KerasTuner's own messages
    quiet      what KerasTuner prints by itself, left out
    check      whether the installed KerasTuner is one that all this knows

Everything is put in place by attribute, at the moment the program imports KerasTuner, so that whatever the program
decides before that (its Keras backend, its environment) holds; and is taken away again.
"""

from cluster.seams.check import check
from cluster.seams.install import TUNER_ID, Role, installed
from cluster.seams.journal import CHANGE
from cluster.seams.oracle import OwnedOracle, adopt_directory, restore, trial_class, tried
from cluster.seams.reload import FINISHED
from cluster.seams.stock import empty_trial, space_from_proto, stock_protos, trial_from_proto

__all__ = [
    "CHANGE",
    "FINISHED",
    "TUNER_ID",
    "OwnedOracle",
    "Role",
    "adopt_directory",
    "check",
    "empty_trial",
    "installed",
    "restore",
    "space_from_proto",
    "stock_protos",
    "trial_class",
    "trial_from_proto",
    "tried",
]
