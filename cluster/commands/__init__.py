"""The commands, one in each module, and the options that several have; `cli.py` names them."""
