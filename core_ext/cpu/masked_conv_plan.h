// How the masked convolution is cut on the CPU. It hangs on the shape alone, never on the processor: the order of every
// sum follows from it.
//
// Forward, and transposed for the gradient towards x: a strip of an image's rows is copied with the rows that its taps
// reach, and is then a matrix of source channels by consecutive pixels, in which a tap is a shift. The product with the
// weights runs over tiles of pixels and blocks of kBlock target channels; lanes are pixels, so nothing is transposed,
// and those that a tap shifts across the image's edge are masked.
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

struct ConvPlan {
  int64_t sources, targets, groups;       // groups of targets that see the same sources
  int64_t group_targets, group_blocks, blocks;
  int64_t chunk;                          // sources that are summed over at once, as many as the first-level cache holds
  int64_t margin, pitch;                  // of a channel of the copied strip: numbers before its pixels; to the next
  int64_t strips, units;
};

GENPIPE_FN int64_t live_rows(const ConvShape& shape, const ConvMask& mask) {
  return larger_of(1, ceil_div(mask.taps, shape.kernel_width));
}

GENPIPE_FN ConvPlan conv_plan(const MaskedConvArgs& a) {
  ConvPlan plan;
  const ConvShape& s = a.shape;
  plan.sources = a.transposed ? s.out_channels : s.in_channels;
  plan.targets = a.transposed ? s.in_channels : s.out_channels;
  plan.groups = a.mask.groups;
  plan.group_targets = plan.targets / plan.groups;
  plan.group_blocks = ceil_div(plan.group_targets, kBlock);
  plan.blocks = plan.groups * plan.group_blocks;
  plan.chunk = larger_of(8, 64 / live_rows(s, a.mask));
  plan.margin = ceil_div(reach_columns(s), 16) * 16;
  plan.pitch = spread_pitch(2 * plan.margin + (a.strip_rows + reach_rows(s)) * s.width + kTilePixels);
  plan.strips = ceil_div(s.height, a.strip_rows);
  plan.units = s.batch * plan.strips;
  return plan;
}

// The rows of a strip: as many as the cache holds, in strips of about one height, and at least `wanted` strips if the
// image has as many.
GENPIPE_FN int64_t conv_strip_rows(const ConvShape& s, int64_t channels, int64_t wanted) {
  int64_t fitting = larger_of(1, kStripNumbers / larger_of(1, s.width * channels) - reach_rows(s));
  int64_t strips = larger_of(ceil_div(s.height, fitting), min(wanted, s.height));
  return ceil_div(s.height, strips);
}

// A tap that pixels of the image can see.
struct PlannedTap {
  int64_t index, offset;  // in the kernel; in the copied strip
  int64_t row, column;    // the same offset in the image
};

// Numbers of the precision that is computed in.
GENPIPE_FN int64_t conv_panel_numbers(const MaskedConvArgs& a) {
  ConvPlan plan = conv_plan(a);
  return plan.blocks * kBlock * plan.sources * a.mask.taps;
}

// A task's scratch: the copied strip, a tile of every block's partial sums, the bias by blocks, the masks of each column
// of the kernel (at most a vector for each vector of pixels), and the taps.
GENPIPE_FN int64_t conv_mask_numbers(const MaskedConvArgs& a) {
  return a.shape.kernel_width * ceil_div(a.strip_rows * a.shape.width, kTilePixels) * kTilePixels;
}
GENPIPE_FN int64_t conv_scratch_numbers(const MaskedConvArgs& a) {
  ConvPlan plan = conv_plan(a);
  int64_t taps = a.mask.taps * int64_t(sizeof(PlannedTap) / sizeof(float));
  int64_t blocks = plan.blocks * kBlock * (kTilePixels + 1);
  return ceil_div(plan.sources * plan.pitch + blocks + conv_mask_numbers(a) + taps, 16) * 16;
}

// Gradient towards the weights: a matrix product whose inner dimension is the pixels. Lanes are output channels, so the
// gradient of a stretch of pixels is transposed, a slab of channels at a time; x is copied with zeros around its rows,
// so that every tap is a shift, and read a number at a time. Each stretch is summed by itself and then added to its
// part's partial sums.
constexpr int64_t kSlab = 64;             // output channels
constexpr int64_t kStretchPixels = 112;   // at most; with a slab, what the first-level cache holds
constexpr int64_t kParts = 16;            // at most
constexpr int64_t kPartialNumbers = 8 * 1024 * 1024;  // of all parts, about

struct ConvWeightPlan {
  int64_t width, margin, pitch;  // of the copied strip: numbers of a row, before the first pixel, of a channel
  int64_t strips, units, slabs;
  int64_t taps;                  // live taps that some pixel sees
  int64_t sums;                  // of each output channel: one for an input channel and such a tap, one for the bias
};

GENPIPE_FN ConvWeightPlan conv_weight_plan(const MaskedConvWeightArgs& a) {
  ConvWeightPlan plan;
  const ConvShape& s = a.shape;
  plan.width = s.width + reach_columns(s);  // the zeros after a row are those before the next
  plan.margin = reach_columns(s);
  plan.pitch = spread_pitch(plan.margin + (a.strip_rows + reach_rows(s)) * plan.width);
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
  return ceil_div(a.shape.in_channels * plan.pitch + kStretchPixels * kSlab + offsets, 16) * 16;
}

}  // namespace genpipe
