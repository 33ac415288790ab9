"""Stores: artifacts and checkpoints at any fsspec address, of which a workspace is one machine's copy."""

from genpipe.stores.site import Site
from genpipe.stores.store import Store, in_parallel
from genpipe.stores.stored import StoredFolder

__all__ = ["Site", "Store", "StoredFolder", "in_parallel"]
