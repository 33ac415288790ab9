"""Examples on their way from a data set to a model: read, split, written in shards, drawn in a keyed order."""

from genpipe.data.order import Order
from genpipe.data.raw import Array, RawData
from genpipe.data.source import Part, Source, read_whole
from genpipe.data.split import Split, in_order, open_split, write_split
from genpipe.data.splits import split_by_hash, subset_by_hash

__all__ = [
    "Array",
    "Order",
    "Part",
    "RawData",
    "Source",
    "Split",
    "in_order",
    "open_split",
    "read_whole",
    "split_by_hash",
    "subset_by_hash",
    "write_split",
]
