// How the masked convolution is cut on the CPU. It hangs on the shape alone, never on the processor: the order of every
// sum follows from it.
//
// Forward, and transposed for the gradient towards x: a strip of an image's rows is copied with the rows that its taps
// reach and zeros between the rows, and is then a matrix of source channels by consecutive pixels, in which a tap is a
// shift. The product with the weights runs over tiles of pixels and blocks of kBlock target channels. Lanes are pixels,
// so nothing is transposed; the few that lie between two rows are dropped on the way out.
#pragma once

#include "genpipe/masked_conv.h"

namespace genpipe {

constexpr int64_t kBlock = 8;         // target channels whose weights lie side by side in a panel
constexpr int64_t kTilePixels = 48;   // at most; a tile is three vectors
constexpr int64_t kStripNumbers = 128 * 1024;  // of a copied strip, which must stay in the second-level cache

GENPIPE_FN int64_t larger_of(int64_t a, int64_t b) { return a > b ? a : b; }
GENPIPE_FN int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How far live taps reach, no further than the image.
GENPIPE_FN int64_t reach_rows(const ConvShape& shape) {
  return min(shape.kernel_height / 2 * shape.dilation, shape.height);
}
GENPIPE_FN int64_t reach_columns(const ConvShape& shape) {
  return min(shape.kernel_width / 2 * shape.dilation, shape.width);
}
// Whether any pixel of the image lies so far from another.
GENPIPE_FN bool tap_is_within(const ConvShape& shape, int64_t tap) {
  int64_t row = tap_row(shape, tap), column = tap_column(shape, tap);
  return -row < shape.height && column < shape.width && -column < shape.width;
}

// Numbers from one line to the next, where lines of `numbers` are walked across: an odd count of cache lines, or
// channels of images as wide as a power of two would fall into one set of the cache.
GENPIPE_FN int64_t spread_pitch(int64_t numbers) { return (ceil_div(numbers, 16) | 1) * 16; }

// Channels of rows with zeros between them; the zeros after a row are those before the next.
struct PaddedRows {
  int64_t margin, width, pitch;  // zeros before the first row; from row to row; from channel to channel
};

struct ConvPlan {
  int64_t sources, targets, groups;  // groups of targets that see the same sources
  int64_t group_targets, group_blocks, blocks;
  int64_t chunk, chunks;             // sources that are summed over at once, as many as the first-level cache holds
  PaddedRows copied;                 // a strip's
  int64_t strips, units;
};

GENPIPE_FN ConvPlan conv_plan(const MaskedConvArgs& a) {
  ConvPlan plan;
  const ConvShape& s = a.shape;
  plan.sources = a.transposed ? s.out_channels : s.in_channels;
  plan.targets = a.transposed ? s.in_channels : s.out_channels;
  plan.groups = a.mask.groups;
  plan.group_targets = plan.targets / plan.groups;
  plan.group_blocks = ceil_div(plan.group_targets, kBlock);
  plan.blocks = plan.groups * plan.group_blocks;
  int64_t rows = larger_of(1, ceil_div(a.mask.taps, s.kernel_width));
  plan.chunks = ceil_div(plan.sources, larger_of(8, 128 / rows));
  plan.chunk = ceil_div(plan.sources, plan.chunks);
  plan.copied.width = s.width + reach_columns(s);
  plan.copied.margin = reach_columns(s);
  plan.copied.pitch = spread_pitch(plan.copied.margin + (a.strip_rows + reach_rows(s)) * plan.copied.width + kTilePixels + plan.copied.margin);
  plan.strips = ceil_div(s.height, a.strip_rows);
  plan.units = s.batch * plan.strips;
  return plan;
}

// Calls step(tap, source) for what the targets of `group` sum over in `chunk`, in the order of the sum.
template <class Step>
GENPIPE_FN void for_each_step(const MaskedConvArgs& a, const ConvPlan& plan, int64_t group, int64_t chunk, Step step) {
  ChannelRange centre = a.transposed ? centre_outputs(a.mask, a.shape, group) : centre_inputs(a.mask, a.shape, group);
  for (int64_t tap = 0; tap < a.mask.taps; ++tap) {
    if (!tap_is_within(a.shape, tap)) continue;
    int64_t begin = chunk * plan.chunk, end = min(begin + plan.chunk, plan.sources);
    if (tap == a.mask.centre_tap) begin = larger_of(begin, centre.begin), end = min(end, centre.end);
    for (int64_t source = begin; source < end; ++source) step(tap, source);
  }
}

// The rows of a strip: as many as the cache holds, in strips of about one height, and at least `wanted` strips if that
// leaves each a few rows.
GENPIPE_FN int64_t conv_strip_rows(const ConvShape& s, int64_t channels, int64_t wanted) {
  int64_t width = s.width + reach_columns(s);
  int64_t fitting = larger_of(1, kStripNumbers / larger_of(1, width * channels) - reach_rows(s));
  int64_t strips = larger_of(ceil_div(s.height, fitting), min(wanted, ceil_div(s.height, 4)));
  return ceil_div(s.height, strips);
}

// Which lanes of a vector are pixels of the strip, and where the first of them goes in its output.
struct VectorPixels {
  int64_t offset;
  uint64_t lanes;
};

// All sizes are in numbers of the precision that is computed in.
GENPIPE_FN int64_t conv_panel_numbers(const MaskedConvArgs& a) {
  ConvPlan plan = conv_plan(a);
  return plan.blocks * kBlock * plan.sources * a.mask.taps;
}

// A task's scratch: the copied strip, a tile of every block's partial sums, the bias by blocks, the steps of each group
// and chunk with their counts, and the VectorPixels of a strip in vectors of two pixels or more.
GENPIPE_FN int64_t conv_scratch_numbers(const MaskedConvArgs& a) {
  ConvPlan plan = conv_plan(a);
  int64_t numbers = plan.sources * plan.copied.pitch + plan.blocks * kBlock * (kTilePixels + 1);
  int64_t words = plan.groups * (plan.sources * a.mask.taps + plan.chunks);
  int64_t vectors = (a.strip_rows * plan.copied.width + kTilePixels) / 2;
  return ceil_div(numbers + words * int64_t(sizeof(int64_t) / sizeof(float)) +
                      vectors * int64_t(sizeof(VectorPixels) / sizeof(float)),
                  16) * 16;
}

// Gradient towards the weights: a matrix product whose inner dimension is the pixels. Lanes are output channels, so the
// gradient of a stretch of pixels is transposed, a slab of channels at a time; x is copied with zeros around its rows,
// so that every tap is a shift, and read a number at a time. Each stretch is summed by itself and then added to its
// part's partial sums.
constexpr int64_t kSlab = 64;             // output channels
constexpr int64_t kStretchPixels = 112;   // at most; with a slab, what the first-level cache holds
constexpr int64_t kParts = 16;            // at most
constexpr int64_t kPartialNumbers = 1024 * 1024;  // of all parts, about

struct ConvWeightPlan {
  PaddedRows copied;             // a strip's
  int64_t strips, units, slabs;
  int64_t taps;                  // live taps that some pixel sees
  int64_t sums;                  // of each output channel: one for an input channel and such a tap, one for the bias
};

GENPIPE_FN ConvWeightPlan conv_weight_plan(const MaskedConvWeightArgs& a) {
  ConvWeightPlan plan;
  const ConvShape& s = a.shape;
  plan.copied.width = s.width + reach_columns(s);
  plan.copied.margin = reach_columns(s);
  plan.copied.pitch = spread_pitch(plan.copied.margin + (a.strip_rows + reach_rows(s)) * plan.copied.width + 16);
  plan.strips = ceil_div(s.height, a.strip_rows);
  plan.units = s.batch * plan.strips;
  plan.slabs = ceil_div(s.out_channels, kSlab);
  plan.taps = 0;
  for (int64_t tap = 0; tap < a.mask.taps; ++tap) plan.taps += tap_is_within(s, tap);
  plan.sums = s.in_channels * plan.taps + 1;
  return plan;
}

// Strips and parts are counted from the shape alone, and fixed before the number of threads is known.
GENPIPE_FN int64_t conv_weight_strip_rows(const ConvShape& s) {
  return conv_strip_rows(s, s.in_channels, ceil_div(kParts, larger_of(1, s.batch)));
}
GENPIPE_FN int64_t conv_weight_parts(const MaskedConvWeightArgs& a) {
  ConvWeightPlan plan = conv_weight_plan(a);
  int64_t fitting = larger_of(1, kPartialNumbers / (plan.slabs * kSlab * plan.sums));
  return larger_of(1, min(min(kParts, fitting), plan.units));
}

// Numbers of the precision that is computed in; the scratch is a task's.
GENPIPE_FN int64_t conv_partial_numbers(const MaskedConvWeightArgs& a) {
  ConvWeightPlan plan = conv_weight_plan(a);
  return a.parts * plan.slabs * kSlab * plan.sums;
}
GENPIPE_FN int64_t conv_weight_scratch_numbers(const MaskedConvWeightArgs& a) {
  ConvWeightPlan plan = conv_weight_plan(a);
  int64_t offsets = plan.sums * int64_t(sizeof(int64_t) / sizeof(float));
  return ceil_div(a.shape.in_channels * plan.copied.pitch + kStretchPixels * kSlab + offsets, 16) * 16;
}

}  // namespace genpipe
