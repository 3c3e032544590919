"""The same program on Ray Tune: `cluster run --ray`. The only package that imports Ray, when it is used.

role      what `tuner.search()` does: it hands the search to Ray Tune, and returns with the oracle filled
connect   finds the Ray cluster, and checks that a trial can run there
signals   SIGTERM, which ends a run on Ray as it does elsewhere
node      a Ray cluster of containers: its head, which is the driver, and its workers
searcher  Ray's way to the search: a trial for each question, its end, its loss
judge     one of Ray's schedulers, told of epochs alone
borrowed  Ray's own searchers and schedulers, over KerasTuner's space
remote    what runs a trial in Ray's processes
ship      what travels from the program to them
"""
