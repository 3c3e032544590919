"""Whether this process is the one that writes results.

The only thing that this program knows about the cluster: a search may be shared by several processes, and what comes
after it should be done by one. Without the cluster package there is one process, and it does everything.
"""

from __future__ import annotations

try:
    from cluster import is_chief
except ImportError:

    def is_chief() -> bool:
        """Returns True: there is no other process."""
        return True


__all__ = ["is_chief"]
