// bfloat16 on tensor cores: tiles of 64 by 128 sums over steps of 32, eight warps of 32 by 32. Both operands lie in
// shared memory with the inner dimension innermost. Pixels are gathered by number, since a tap may shift them off every
// alignment: through registers, while the step before is multiplied.
#pragma once

#include "async_copy.cuh"
#include "masked_conv_steps.cuh"
#include "mma.cuh"

namespace genpipe {
namespace cuda {

constexpr int kMmaThreads = 256, kMmaStep = int(kSourceStep);
constexpr int kMmaPitch = kMmaStep + 8;  // eight rows' 16 bytes each then cover every bank

struct alignas(16) MmaStage {
  bfloat16 left[kTileTargets][kMmaPitch];
  bfloat16 right[kTileColumns][kMmaPitch];
};

// Warp w has the rows 32 (w % 2) and the columns 32 (w / 2) of the tile; sums[i][j] is the 16 by 8 block (i, j) of them.
typedef float MmaSums[2][4][4];
static __device__ __forceinline__ int mma_row(int thread, int i, int which) {
  return thread / 32 % 2 * 32 + i * 16 + thread % 32 / 4 + which / 2 * 8;
}
static __device__ __forceinline__ int mma_column(int thread, int j) {
  return thread / 64 * 32 + j * 8 + thread % 4 * 2;  // and the next one
}

static __device__ __forceinline__ void mma_multiply_add(const MmaStage& stage, int thread, MmaSums& sums) {
  int lane = thread % 32, first_row = thread / 32 % 2 * 32, first_column = thread / 64 * 32;
#pragma unroll
  for (int k = 0; k < kMmaStep; k += 16) {
    uint32_t left[2][4], right[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      load_rows(&stage.left[first_row + i * 16][k], kMmaPitch, lane, left[i]);
      load_columns(&stage.right[first_column + i * 16][k], kMmaPitch, lane, right[i]);
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) multiply_add(sums[i][j], left[i], right[j / 2] + j % 2 * 2, lane);
    }
  }
}

// Runs the steps of gather: begin(stage) starts a step's loads, or says that there is none; finish(stage) puts what came
// into registers where it belongs.
template <class Gather>
static __device__ __forceinline__ void mma_product(MmaStage* stages, MmaSums& sums, Gather& gather) {
  bool more = gather.begin(stages[0]);
  if (more) gather.finish(stages[0]);
  wait_copies<0>();
  __syncthreads();
  for (int step = 0; more; ++step) {
    MmaStage& next = stages[(step + 1) % 2];
    more = gather.begin(next);
    mma_multiply_add(stages[step % 2], threadIdx.x, sums);
    if (more) gather.finish(next);
    wait_copies<0>();
    __syncthreads();
  }
}

// (target, tap, source), the targets of each group padded to whole tiles and the sources to whole steps.
struct PackBf16 {
  MaskedConvArgs a;
  ConvPlan plan;
  ConvTiles tiles;

  __device__ void operator()(int64_t i) const {
    int64_t source = i % tiles.padded_sources, tap = i / tiles.padded_sources % a.mask.taps;
    int64_t padded = i / tiles.padded_sources / a.mask.taps, each = tiles.group_tiles * kTileTargets;
    int64_t within = padded % each, target = padded / each * plan.group_targets + within;
    int64_t out = a.transposed ? source : target, in = a.transposed ? target : source;
    bool live = within < plan.group_targets && source < plan.sources && tap_is_live(a.mask, a.shape, out, in, tap);
    int64_t kernel = a.shape.kernel_height * a.shape.kernel_width;
    const bfloat16* weight = static_cast<const bfloat16*>(a.weight) + (out * a.shape.in_channels + in) * kernel + tap;
    static_cast<bfloat16*>(a.panels)[i] = live ? *weight : bfloat16{0};
  }
};

// A thread gathers half of the sources of one pixel, and 16 bytes of the weights.
struct GatherPixels {
  static constexpr int kSources = kMmaStep / 2;
  const MaskedConvArgs& a;
  const ConvTiles& tiles;
  StepWalk walk;
  Pixel pixel;
  const bfloat16 *image, *panel;  // of the tile's first row
  int64_t area;
  uint32_t words[kSources / 2];

  __device__ bool begin(MmaStage& stage) {
    if (walk.done()) return false;
    int row = threadIdx.x / 4, part = threadIdx.x % 4 * 8;
    copy_async<16>(&stage.left[row][part],
                   panel + (row * a.mask.taps + walk.tap) * tiles.padded_sources + walk.from + part, true);
    close_copies();
    Seen seen = seen_from(a.shape, pixel, walk.tap, a.transposed);
    int64_t first = walk.from + threadIdx.x / kTileColumns * kSources;
    const bfloat16* from = image + first * area + seen.offset;
#pragma unroll
    for (int k = 0; k < kSources; ++k) {
      bool given = seen.exists && first + k >= walk.begin && first + k < walk.end;
      uint32_t bits = given ? from[k * area].bits : 0u;
      words[k / 2] = k % 2 == 0 ? bits : words[k / 2] | bits << 16;
    }
    walk.next();
    return true;
  }

  __device__ void finish(MmaStage& stage) const {
    bfloat16* to = &stage.right[threadIdx.x % kTileColumns][threadIdx.x / kTileColumns * kSources];
#pragma unroll
    for (int i = 0; i < kSources / 2; i += 4) {
      *reinterpret_cast<uint4*>(to + 2 * i) = make_uint4(words[i], words[i + 1], words[i + 2], words[i + 3]);
    }
  }
};

__global__ void __launch_bounds__(kMmaThreads) convolve_bf16(MaskedConvArgs a, ConvPlan plan, ConvTiles tiles) {
  __shared__ MmaStage stages[2];
  const ConvShape& s = a.shape;
  int64_t area = s.height * s.width;
  int thread = threadIdx.x;
  for (int64_t tile = blockIdx.x; tile < tiles.row_tiles * tiles.column_tiles; tile += gridDim.x) {
    int64_t row_tile = tile % tiles.row_tiles, first_pixel = tile / tiles.row_tiles * kTileColumns;
    int64_t group = row_tile / tiles.group_tiles, first_target = row_tile % tiles.group_tiles * kTileTargets;
    Pixel pixel = pixel_at(s, first_pixel + thread % kTileColumns);
    const bfloat16* image = static_cast<const bfloat16*>(a.x) + (pixel.exists ? pixel.image : 0) * plan.sources * area;
    const bfloat16* panel = static_cast<const bfloat16*>(a.panels) +
                            row_tile * kTileTargets * a.mask.taps * tiles.padded_sources;
    GatherPixels gather{a, tiles, StepWalk(a, plan, group, plan.sources, kMmaStep), pixel, image, panel, area, {}};
    MmaSums sums = {};
    mma_product(stages, sums, gather);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int which = 0; which < 4; ++which) {
        int64_t index = first_pixel + mma_column(thread, j) + which % 2, to = index / area;
        if (to >= s.batch) continue;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          int64_t within = first_target + mma_row(thread, i, which);
          if (within >= plan.group_targets) continue;
          int64_t target = group * plan.group_targets + within;
          float bias = a.bias == nullptr ? 0.0f : load(static_cast<const bfloat16*>(a.bias) + target);
          store(static_cast<bfloat16*>(a.out) + (to * plan.targets + target) * area + index % area,
                sums[i][j][which] + bias);
        }
      }
    }
  }
}

// A lane gathers one pixel: for its warp's share of the output channels, and of the inputs.
struct GatherChannels {
  static constexpr int kRows = kTileTargets / (kMmaThreads / 32), kColumns = kTileColumns / (kMmaThreads / 32);
  const MaskedConvWeightArgs& a;
  const Input* inputs;
  int64_t first_out, at, end;
  bfloat16 left[kRows], right[kColumns];

  __device__ bool begin(MmaStage&) {
    if (at >= end) return false;
    const ConvShape& s = a.shape;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    Pixel pixel = pixel_at(s, at + lane);
    pixel.exists = at + lane < end;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      int64_t out = first_out + warp * kRows + i;
      int64_t from = ((pixel.image * s.out_channels + out) * s.height + pixel.row) * s.width + pixel.column;
      left[i] = pixel.exists && out < s.out_channels ? static_cast<const bfloat16*>(a.grad)[from] : bfloat16{0};
    }
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      int64_t from = input_offset(s, inputs[warp * kColumns + i], pixel);
      right[i] = from >= 0 ? static_cast<const bfloat16*>(a.x)[from] : bfloat16{0};
    }
    at += kMmaStep;
    return true;
  }

  __device__ void finish(MmaStage& stage) const {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int i = 0; i < kRows; ++i) stage.left[warp * kRows + i][lane] = left[i];
#pragma unroll
    for (int i = 0; i < kColumns; ++i) stage.right[warp * kColumns + i][lane] = right[i];
  }
};

// partials[part][output channel][input channel, tap]
__global__ void __launch_bounds__(kMmaThreads) weight_bf16(MaskedConvWeightArgs a, ConvWeightTiles tiles) {
  __shared__ MmaStage stages[2];
  __shared__ Input inputs[kTileColumns];
  const ConvShape& s = a.shape;
  int thread = threadIdx.x;
  int64_t pixels = s.batch * s.height * s.width, per_part = tiles.row_tiles * tiles.column_tiles;
  for (int64_t tile = blockIdx.x; tile < a.parts * per_part; tile += gridDim.x) {
    int64_t part = tile / per_part, first_out = tile % tiles.row_tiles * kTileTargets;
    int64_t first_input = tile / tiles.row_tiles % tiles.column_tiles * kTileColumns;
    int64_t at = part * tiles.part_pixels;
    if (thread < kTileColumns) inputs[thread] = input_at(a, tiles, first_input + thread);
    __syncthreads();
    GatherChannels gather{a, inputs, first_out, at, min(at + tiles.part_pixels, pixels), {}, {}};
    MmaSums sums = {};
    mma_product(stages, sums, gather);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int which = 0; which < 4; ++which) {
        int64_t out = first_out + mma_row(thread, i, which);
        if (out >= s.out_channels) continue;
        float* partial = static_cast<float*>(a.partials) + (part * s.out_channels + out) * tiles.inputs;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          int64_t column = first_input + mma_column(thread, j) + which % 2;
          if (column < tiles.inputs) partial[column] = sums[i][j][which];
        }
      }
    }
  }
}

}  // namespace cuda
}  // namespace genpipe
