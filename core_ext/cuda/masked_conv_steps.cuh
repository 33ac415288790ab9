// What the tiled kernels of the masked convolution share: where a pixel is, and the order of the sums.
#pragma once

#include "launch.cuh"
#include "masked_conv_tiles.h"

namespace genpipe {
namespace cuda {

// A pixel of the batch, its images laid end to end.
struct Pixel {
  int64_t image;
  int row, column;
  bool exists;
};

static __device__ __forceinline__ Pixel pixel_at(const ConvShape& s, int64_t index) {
  int64_t area = s.height * s.width, image = index / area, within = index - image * area;
  return {image, int(within / s.width), int(within % s.width), image < s.batch};
}

// Where a tap leads from a pixel.
struct Seen {
  int64_t offset;  // within a channel
  bool exists;
};
static __device__ __forceinline__ Seen seen_from(const ConvShape& s, const Pixel& pixel, int64_t tap, bool transposed) {
  int64_t down = tap_row(s, tap), right = tap_column(s, tap);
  int64_t row = pixel.row + (transposed ? -down : down), column = pixel.column + (transposed ? -right : right);
  bool exists = pixel.exists && row >= 0 && row < s.height && column >= 0 && column < s.width;
  return {exists ? row * s.width + column : 0, exists};
}

// A column of the weight's gradient: an input channel and a tap of it.
struct Input {
  int64_t channel;
  int down, right;
  bool exists;
};
static __device__ __forceinline__ Input input_at(const MaskedConvWeightArgs& a, const ConvWeightTiles& tiles,
                                                 int64_t index) {
  if (index >= tiles.inputs || !tap_is_within(a.shape, index % a.mask.taps)) return {0, 0, 0, false};
  int64_t tap = index % a.mask.taps;
  return {index / a.mask.taps, int(tap_row(a.shape, tap)), int(tap_column(a.shape, tap)), true};
}
// Its place in x, or -1, as a pixel of the output sees it.
static __device__ __forceinline__ int64_t input_offset(const ConvShape& s, const Input& input, const Pixel& pixel) {
  int row = pixel.row + input.down, column = pixel.column + input.right;
  bool exists = pixel.exists && input.exists && row >= 0 && row < s.height && column >= 0 && column < s.width;
  return exists ? ((pixel.image * s.in_channels + input.channel) * s.height + row) * s.width + column : -1;
}

// The sources [from, from + width) of a tap, of which those in [begin, end) count, for the targets of one group: chunk
// by chunk, tap by tap. Steps start at multiples of the width from the chunk's beginning, whatever the group sees.
struct StepWalk {
  const MaskedConvArgs* a;
  const ConvPlan* plan;
  ChannelRange centre;
  int64_t chunk_size, width;
  int64_t chunk, tap, from, begin, end;

  __device__ StepWalk(const MaskedConvArgs& args, const ConvPlan& its_plan, int64_t group, int64_t chunk_sources,
                      int64_t step_width)
      : a(&args), plan(&its_plan), chunk_size(chunk_sources), width(step_width), chunk(0), tap(-1), from(0), begin(0),
        end(0) {
    centre = a->transposed ? centre_outputs(a->mask, a->shape, group) : centre_inputs(a->mask, a->shape, group);
    enter_tap();
  }

  __device__ bool done() const { return chunk >= plan->sources; }

  __device__ void next() {
    from += width;
    if (from >= end) enter_tap();
  }

 private:
  // The next tap that some pixel and this group see.
  __device__ void enter_tap() {
    for (;;) {
      if (++tap >= a->mask.taps) {
        tap = 0;
        chunk += chunk_size;
        if (done() || a->mask.taps == 0) {
          chunk = plan->sources;
          return;
        }
      }
      if (!tap_is_within(a->shape, tap)) continue;
      begin = chunk;
      end = min(chunk + chunk_size, plan->sources);
      if (tap == a->mask.centre_tap) {
        begin = larger_of(begin, centre.begin);
        end = min(end, centre.end);
      }
      if (begin >= end) continue;
      from = chunk + (begin - chunk) / width * width;
      return;
    }
  }
};

}  // namespace cuda
}  // namespace genpipe
