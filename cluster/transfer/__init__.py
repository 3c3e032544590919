"""Files of trials, between a chief and workers that do not see its disk.

    entry    a file of a trial: its name, and what is in it by hash
    store    the chief's side: pieces become files, files become a trial's directory; and pieces of what is there
    mirror   the worker's side: a directory of its own that is as the chief's
    logsend  the worker's side: what a trial prints, to the end of its log on the chief

A worker says what a trial's directory is to be, by name and hash. The chief answers which contents it lacks; they go up
in pieces, each at the place where the last ended, whatever broke in between; and when all are there, the directory is
changed in one step, under the search's lock, if the attempt still holds the trial.
"""
