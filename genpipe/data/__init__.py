"""Examples on their way from a data set to a model: read, split, written in shards, drawn in a keyed order."""

from genpipe.data.order import Order
from genpipe.data.raw import Array, RawData, check_examples
from genpipe.data.sharded_array import ShardedArray
from genpipe.data.source import InMemory, Part, Source, read_whole
from genpipe.data.split import Split, in_order, open_split, split_names, write_index
from genpipe.data.splits import Cuts, cut, split_by_hash, split_sizes, subset_by_hash

__all__ = [
    "Array",
    "Cuts",
    "InMemory",
    "Order",
    "Part",
    "RawData",
    "ShardedArray",
    "Source",
    "Split",
    "check_examples",
    "cut",
    "in_order",
    "open_split",
    "read_whole",
    "split_by_hash",
    "split_names",
    "split_sizes",
    "subset_by_hash",
    "write_index",
]
