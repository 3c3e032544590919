"""Faults at random moments on real processes, and the proof afterwards that nothing was lost and nothing counted twice.

__main__    python -m tests.e2e.chaos --kills N --seed S [--seconds LIMIT]
drive       one run: starts the processes, deals the faults, starts again what ended; owns the clock
plan        which fault comes when: drawn from the seed before anything starts
faults      what each kind of fault does, and how it is healed
processes   a process with a name, its output, its trainer
proxy       a TCP proxy that can cut its connections, or go silent
disk        a file system of its own for the results, which can be filled
journal     the event log while it grows
verify      what must hold after a run, read from the files alone
figures     the table at the end
"""
