// float32: tiles of 64 by 128 sums, 8 by 8 of them to each of 128 threads, over steps of 8. Forward, each sum is the
// CPU's chain of multiply-adds, bit for bit; towards the weights, the parts are others than the CPU's.
#pragma once

#include "async_copy.cuh"
#include "masked_conv_steps.cuh"

namespace genpipe {
namespace cuda {

constexpr int kF32Threads = 128, kF32Step = 8, kF32Stages = 3;

// The operands of a step: rows of `left` and `right` are the inner dimension.
struct F32Stage {
  float left[kF32Step][kTileTargets + 4];  // the padding spreads writes along the inner dimension over the banks
  float right[kF32Step][kTileColumns + 4];
};
constexpr int kF32SharedBytes = kF32Stages * int(sizeof(F32Stage));

// A thread's rows are 4 i and the 4 from 32 + 4 i, its columns 4 j and the 4 from 64 + 4 j.
static __device__ __forceinline__ int f32_row(int thread, int r) { return thread / 16 * 4 + r % 4 + r / 4 * 32; }
static __device__ __forceinline__ int f32_column(int thread, int c) { return thread % 16 * 4 + c % 4 + c / 4 * 64; }

static __device__ __forceinline__ void f32_multiply_add(const F32Stage& stage, int thread, float sums[8][8]) {
#pragma unroll
  for (int k = 0; k < kF32Step; ++k) {
    float left[8], right[8];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float4 l = *reinterpret_cast<const float4*>(&stage.left[k][f32_row(thread, half * 4)]);
      float4 r = *reinterpret_cast<const float4*>(&stage.right[k][f32_column(thread, half * 4)]);
      left[half * 4] = l.x, left[half * 4 + 1] = l.y, left[half * 4 + 2] = l.z, left[half * 4 + 3] = l.w;
      right[half * 4] = r.x, right[half * 4 + 1] = r.y, right[half * 4 + 2] = r.z, right[half * 4 + 3] = r.w;
    }
#pragma unroll
    for (int r = 0; r < 8; ++r) {
#pragma unroll
      for (int c = 0; c < 8; ++c) sums[r][c] = fma(left[r], right[c], sums[r][c]);
    }
  }
}

// Runs the steps that load(stage) begins to copy, a stage at a time, until it says that there are no more.
template <class Load>
static __device__ __forceinline__ void f32_product(F32Stage* stages, float sums[8][8], Load load) {
  int begun = 0;
  for (int i = 0; i < kF32Stages - 1; ++i) {
    begun += load(stages[i]);
    close_copies();
  }
  for (int step = 0; step < begun; ++step) {
    wait_copies<kF32Stages - 2>();
    __syncthreads();  // the step's copies are everybody's, and the stage before it is free
    begun += load(stages[(step + kF32Stages - 1) % kF32Stages]);
    close_copies();
    f32_multiply_add(stages[step % kF32Stages], threadIdx.x, sums);
  }
  wait_copies<0>();
  __syncthreads();
}

// (tap, source, target), the targets of each group padded to whole tiles.
struct PackF32 {
  MaskedConvArgs a;
  ConvPlan plan;
  ConvTiles tiles;

  __device__ void operator()(int64_t i) const {
    int64_t padded = i % tiles.padded_targets, source = i / tiles.padded_targets % plan.sources;
    int64_t tap = i / tiles.padded_targets / plan.sources, kernel = a.shape.kernel_height * a.shape.kernel_width;
    int64_t each = tiles.group_tiles * kTileTargets, within = padded % each;
    int64_t target = padded / each * plan.group_targets + within;
    int64_t out = a.transposed ? source : target, in = a.transposed ? target : source;
    bool live = within < plan.group_targets && tap_is_live(a.mask, a.shape, out, in, tap);
    const float* weight = static_cast<const float*>(a.weight) + (out * a.shape.in_channels + in) * kernel + tap;
    static_cast<float*>(a.panels)[i] = live ? *weight : 0.0f;
  }
};

__global__ void __launch_bounds__(kF32Threads) convolve_f32(MaskedConvArgs a, ConvPlan plan, ConvTiles tiles) {
  GENPIPE_DYNAMIC_SHARED(F32Stage, stages);
  const ConvShape& s = a.shape;
  int64_t area = s.height * s.width;
  int thread = threadIdx.x;
  for (int64_t tile = blockIdx.x; tile < tiles.row_tiles * tiles.column_tiles; tile += gridDim.x) {
    int64_t row_tile = tile % tiles.row_tiles, first_pixel = tile / tiles.row_tiles * kTileColumns;
    int64_t group = row_tile / tiles.group_tiles, first_target = row_tile % tiles.group_tiles * kTileTargets;
    auto channel = [&](int r) { return first_target + f32_row(thread, r); };  // within the group
    float sums[8][8];
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      bool given = a.bias != nullptr && channel(r) < plan.group_targets;
      float bias = given ? static_cast<const float*>(a.bias)[group * plan.group_targets + channel(r)] : 0.0f;
#pragma unroll
      for (int c = 0; c < 8; ++c) sums[r][c] = bias;
    }
    Pixel pixel = pixel_at(s, first_pixel + thread);
    const float* image = static_cast<const float*>(a.x) + (pixel.exists ? pixel.image : 0) * plan.sources * area;
    StepWalk walk(a, plan, group, plan.chunk, kF32Step);
    f32_product(stages, sums, [&](F32Stage& stage) {
      if (walk.done()) return 0;
      Seen seen = seen_from(s, pixel, walk.tap, a.transposed);
      const float* from = image + walk.from * area + seen.offset;
#pragma unroll
      for (int k = 0; k < kF32Step; ++k) {  // a thread's pixel
        bool given = seen.exists && walk.from + k >= walk.begin && walk.from + k < walk.end;
        copy_async<4>(&stage.right[k][thread], given ? from + k * area : image, given);
      }
      int k = thread / 16, quad = thread % 16 * 4;  // four targets of one of the sources
      bool given = walk.from + k >= walk.begin && walk.from + k < walk.end;
      const float* panel = static_cast<const float*>(a.panels);
      int64_t at = (walk.tap * plan.sources + walk.from + k) * tiles.padded_targets + row_tile * kTileTargets + quad;
      copy_async<16>(&stage.left[k][quad], given ? panel + at : panel, given);
      walk.next();
      return 1;
    });
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      int64_t index = first_pixel + f32_column(thread, c), to = index / area;
      if (to >= s.batch) continue;
      float* out = static_cast<float*>(a.out) + (to * plan.targets + group * plan.group_targets) * area + index % area;
#pragma unroll
      for (int r = 0; r < 8; ++r) {
        if (channel(r) < plan.group_targets) out[channel(r) * area] = sums[r][c];
      }
    }
  }
}

// partials[part][output channel][input channel, tap]
__global__ void __launch_bounds__(kF32Threads) weight_f32(MaskedConvWeightArgs a, ConvWeightTiles tiles) {
  GENPIPE_DYNAMIC_SHARED(F32Stage, stages);
  const ConvShape& s = a.shape;
  int64_t area = s.height * s.width, pixels = s.batch * area;
  __shared__ Input inputs[kTileColumns];
  int thread = threadIdx.x;
  int64_t per_part = tiles.row_tiles * tiles.column_tiles;
  for (int64_t tile = blockIdx.x; tile < a.parts * per_part; tile += gridDim.x) {
    int64_t part = tile / per_part, first_out = tile % tiles.row_tiles * kTileTargets;
    int64_t first_input = tile / tiles.row_tiles % tiles.column_tiles * kTileColumns;
    int64_t at = part * tiles.part_pixels, end = min(at + tiles.part_pixels, pixels);
    inputs[thread] = input_at(a, tiles, first_input + thread);
    __syncthreads();
    float sums[8][8] = {};
    f32_product(stages, sums, [&](F32Stage& stage) {
      if (at >= end) return 0;
      int k = thread % kF32Step;  // a thread's pixel
      Pixel pixel = pixel_at(s, at + k);
      pixel.exists = at + k < end;
      const float* x = static_cast<const float*>(a.x);
      const float* grad = static_cast<const float*>(a.grad);
#pragma unroll
      for (int column = thread / kF32Step; column < kTileColumns; column += kF32Threads / kF32Step) {
        int64_t from = input_offset(s, inputs[column], pixel);
        copy_async<4>(&stage.right[k][column], from >= 0 ? x + from : x, from >= 0);
      }
      int64_t within = pixel.row * s.width + pixel.column;
#pragma unroll
      for (int row = thread / kF32Step; row < kTileTargets; row += kF32Threads / kF32Step) {
        bool given = pixel.exists && first_out + row < s.out_channels;
        int64_t from = (pixel.image * s.out_channels + first_out + row) * area + within;
        copy_async<4>(&stage.left[k][row], given ? grad + from : grad, given);
      }
      at += kF32Step;
      return 1;
    });
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      int64_t to = first_out + f32_row(thread, r);
      if (to >= s.out_channels) continue;
      float* partial = static_cast<float*>(a.partials) + (part * s.out_channels + to) * tiles.inputs;
#pragma unroll
      for (int c = 0; c < 8; ++c) {
        int64_t column = first_input + f32_column(thread, c);
        if (column < tiles.inputs) partial[column] = sums[r][c];
      }
    }
  }
}

}  // namespace cuda
}  // namespace genpipe
