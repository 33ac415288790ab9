// The masked convolution of autoregressive networks (van den Oord et al., 2016), 'same' padding and odd kernels:
//   out[n, o, p] = bias[o] + sum over live taps t and input channels i of weight[o, i, t] x[n, i, p + offset(t)].
// In raster order the live taps are the kernel's first ones, so a mask is their number and a rule for the centre tap.
#pragma once

#include "genpipe/platform.h"

namespace genpipe {

// What output group g sees of the input groups at the centre tap, where that tap is live.
enum class Centre : int32_t {
  whole,   // every group
  before,  // the groups before g: mask A, with channel groups
  upto,    // those and g: mask B
};

struct ConvMask {
  int64_t taps;       // live taps: the kernel's first in raster order
  int64_t centre_tap;  // its index, within the live taps or just past them
  int64_t groups;
  Centre centre;
};

struct ConvShape {
  int64_t batch, in_channels, out_channels, height, width;
  int64_t kernel_height, kernel_width, dilation;
};

// The mask types, as the schema numbers them.
enum class MaskType : int64_t {
  a,           // raster order without the centre
  b,           // raster order with the centre
  vertical_a,  // the rows above
  vertical_b,  // the rows above and the current one
};

GENPIPE_FN ConvMask conv_mask(MaskType type, int64_t groups, const ConvShape& shape) {
  int64_t above = shape.kernel_height / 2 * shape.kernel_width, centre = above + shape.kernel_width / 2;
  if (type == MaskType::vertical_a) return {above, centre, 1, Centre::whole};
  if (type == MaskType::vertical_b) return {above + shape.kernel_width, centre, 1, Centre::whole};
  // With one group the centre is seen as a whole or, under A, not at all.
  if (groups == 1) return {type == MaskType::a ? centre : centre + 1, centre, 1, Centre::whole};
  return {centre + 1, centre, groups, type == MaskType::a ? Centre::before : Centre::upto};
}

// Channels [begin, end).
struct ChannelRange {
  int64_t begin, end;
};

// The input channels that the output channels of `group` see at the centre tap.
GENPIPE_FN ChannelRange centre_inputs(const ConvMask& mask, const ConvShape& shape, int64_t group) {
  int64_t each = shape.in_channels / mask.groups;
  if (mask.centre == Centre::whole) return {0, shape.in_channels};
  return {0, (mask.centre == Centre::before ? group : group + 1) * each};
}

// The output channels that see the input channels of `group` at the centre tap.
GENPIPE_FN ChannelRange centre_outputs(const ConvMask& mask, const ConvShape& shape, int64_t group) {
  int64_t each = shape.out_channels / mask.groups;
  if (mask.centre == Centre::whole) return {0, shape.out_channels};
  return {(mask.centre == Centre::before ? group + 1 : group) * each, shape.out_channels};
}

GENPIPE_FN bool tap_is_live(const ConvMask& mask, const ConvShape& shape, int64_t out, int64_t in, int64_t tap) {
  if (tap != mask.centre_tap || mask.centre == Centre::whole) return tap < mask.taps;
  return in < centre_inputs(mask, shape, out / (shape.out_channels / mask.groups)).end;
}

GENPIPE_FN int64_t tap_row(const ConvShape& shape, int64_t tap) {
  return (tap / shape.kernel_width - shape.kernel_height / 2) * shape.dilation;
}
GENPIPE_FN int64_t tap_column(const ConvShape& shape, int64_t tap) {
  return (tap % shape.kernel_width - shape.kernel_width / 2) * shape.dilation;
}

// out = x * weight + bias, or, transposed, the gradient towards x from the one towards out. `sources` are the channels
// that are read and `targets` those that are written: in and out, or the other way round.
struct MaskedConvArgs {
  const void *x, *weight, *bias;  // bias: null where there is none
  void* out;
  void *panels, *scratch;  // see masked_conv_plan.h; each task has scratch of its own
  DType dtype;
  bool transposed;
  ConvShape shape;
  ConvMask mask;
  int64_t strip_rows, tasks;  // the rows of an image that are worked on at once; runs of strips, side by side
};

// The gradients towards weight and bias: partial sums over each of `parts` runs of strips, then their sum in order.
struct MaskedConvWeightArgs {
  const void *grad, *x;
  void *grad_weight, *grad_bias;
  void *partials, *scratch;
  DType dtype;
  ConvShape shape;
  ConvMask mask;
  int64_t strip_rows, parts, tasks;
};

}  // namespace genpipe
