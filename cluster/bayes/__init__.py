"""Bayesian optimisation as KerasTuner has it, thought out in milliseconds. It knows neither KerasTuner nor files.

    cube      the search space as a unit cube: where values lie, and what is active where
    gaussian  the Gaussian process: its likelihood, its posterior and the gradients of it
    descent   the way down a function that is cheap for many points at once
    propose   from trials to the next one

All is a function of what it is given: no clock, no state that an answer depends on. That is why what was thought out
ahead, in whichever process, is what would have been thought out later.
"""
