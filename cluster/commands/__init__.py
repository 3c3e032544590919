"""The commands that look at a search, one in each module; `cli.py` names them."""
