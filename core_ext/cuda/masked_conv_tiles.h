// How the masked convolution is cut on CUDA: matrix products in tiles, for the kernels and for whoever makes their
// workspace. As on the CPU it hangs on the shape alone.
//
// Forward, and transposed for the gradient towards x, each block gives kTileTargets channels of one group by
// kTileColumns pixels, which run on from image to image. Towards the weights a block gives kTileTargets output
// channels by kTileInputs pairs of an input channel and a live tap, over one of `parts` runs of pixels.
#pragma once

#include "../cpu/masked_conv_plan.h"

namespace genpipe {
namespace cuda {

constexpr int kTileTargets = 64;
constexpr int kTileColumns = 128;  // pixels, or inputs

// Weights as a matrix in which the targets of each group fill whole tiles: float32 has (tap, source, target), the
// target innermost; bfloat16 has (target, tap, source), the sources of a tap rounded up to whole steps of the product.
constexpr int64_t kSourceStep = 32;

struct ConvTiles {
  int64_t group_tiles, row_tiles, column_tiles;  // tiles of a group's targets, of all targets, of the pixels
  int64_t padded_targets, padded_sources;
};

GENPIPE_FN ConvTiles conv_tiles(const MaskedConvArgs& a, const ConvPlan& plan) {
  ConvTiles tiles;
  tiles.group_tiles = ceil_div(plan.group_targets, kTileTargets);
  tiles.row_tiles = plan.groups * tiles.group_tiles;
  tiles.column_tiles = ceil_div(a.shape.batch * a.shape.height * a.shape.width, kTileColumns);
  tiles.padded_targets = tiles.row_tiles * kTileTargets;
  tiles.padded_sources = ceil_div(plan.sources, kSourceStep) * kSourceStep;
  return tiles;
}

// Weights of the panels, in the tensors' own dtype; float64 needs none.
GENPIPE_FN int64_t conv_panel_weights(const MaskedConvArgs& a) {
  if (a.dtype == DType::f64) return 0;
  ConvTiles tiles = conv_tiles(a, conv_plan(a));
  return tiles.padded_targets * a.mask.taps * tiles.padded_sources;
}

struct ConvWeightTiles {
  int64_t inputs, row_tiles, column_tiles;
  int64_t part_pixels;  // a multiple of kSourceStep
};

GENPIPE_FN ConvWeightTiles conv_weight_tiles(const MaskedConvWeightArgs& a) {
  ConvWeightTiles tiles;
  tiles.inputs = a.shape.in_channels * a.mask.taps;
  tiles.row_tiles = ceil_div(a.shape.out_channels, kTileTargets);
  tiles.column_tiles = ceil_div(tiles.inputs, kTileColumns);
  int64_t pixels = a.shape.batch * a.shape.height * a.shape.width;
  tiles.part_pixels = ceil_div(ceil_div(pixels, a.parts), kSourceStep) * kSourceStep;
  return tiles;
}

// Enough blocks to fill any device, of a thousand pixels or more.
GENPIPE_FN int64_t conv_weight_parts(const MaskedConvWeightArgs& a) {
  int64_t pixels = a.shape.batch * a.shape.height * a.shape.width;
  int64_t tiles = ceil_div(a.shape.out_channels, kTileTargets) *
                  ceil_div(larger_of(1, a.shape.in_channels * a.mask.taps), kTileColumns);
  return larger_of(1, min(ceil_div(512, tiles), pixels / 1024));
}

// Numbers of the precision that is computed in.
GENPIPE_FN int64_t conv_partial_numbers(const MaskedConvWeightArgs& a) {
  if (a.dtype == DType::f64) return 0;
  return a.parts * a.shape.out_channels * a.shape.in_channels * a.mask.taps;
}

}  // namespace cuda
}  // namespace genpipe
