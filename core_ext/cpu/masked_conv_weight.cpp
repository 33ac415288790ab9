// The work unit is a task: a run of pairs of a part of the strips and a slab of output channels. masked_conv_weight_sum
// then adds the parts; its unit is an input channel, and one more for the bias.
#include "masked_conv_plan.h"
#include "pixel_copies.h"

namespace genpipe {
namespace {

#if defined(__AVX512F__)
constexpr int kMaxVectors = 4;
#else
constexpr int kMaxVectors = 2;
#endif

// partial[R][N vectors] += sum over a stretch of x[r] * grad: x[r] points at the first pixel of input r, `width` from
// row to row; grad is (rows * columns, kSlab).
template <class C, int R, int N>
__attribute__((noinline)) static void product(const C* const* inputs, int64_t width, const C* grad, int64_t rows,
                                              int64_t columns, C* partial) {
  typedef Vector<C> Vec;
  typename Vec::V sums[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) sums[r][n] = Vec::zero();
  }
  const C* x[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) x[r] = inputs[r];
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column, grad += kSlab) {
      typename Vec::V g[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) g[n] = Vec::load(grad + n * Vec::kWidth);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        typename Vec::V value = Vec::fill(x[r][column]);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) sums[r][n] = Vec::fma(value, g[n], sums[r][n]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) x[r] += width;
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) {
      C* to = partial + r * kSlab + n * Vec::kWidth;
      Vec::store(to, Vec::add(Vec::load(to), sums[r][n]));
    }
  }
}

// The same for `count` inputs, in tiles of as many as the registers hold beside N vectors of the gradient.
template <class C, int N>
GENPIPE_FN void products(const C* base, const int64_t* offsets, int64_t count, int64_t width, const C* grad,
                         int64_t rows, int64_t columns, C* partial) {
  constexpr int kRows = N == 3 ? 8 : N == 1 ? 8 : 6;
  const C* inputs[kRows];
  for (int64_t i = 0; i < count; i += kRows) {
    int64_t tile = min(count - i, kRows);
    for (int64_t r = 0; r < tile; ++r) inputs[r] = base + offsets[i + r];
    C* to = partial + i * kSlab;
    if (tile == kRows) {
      product<C, kRows, N>(inputs, width, grad, rows, columns, to);
    } else {
      for (int64_t r = 0; r < tile; ++r) product<C, 1, N>(inputs + r, width, grad, rows, columns, to + r * kSlab);
    }
  }
}

// partial[kSlab] += the sum of grad's pixels.
template <class C>
GENPIPE_FN void add_columns(const C* grad, int64_t pixels, C* partial) {
  typedef Vector<C> Vec;
  for (int64_t channel = 0; channel < kSlab; channel += 4 * Vec::kWidth) {
    typename Vec::V sums[4];
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n) sums[n] = Vec::zero();
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
#pragma GCC unroll 4
      for (int n = 0; n < 4; ++n) {
        sums[n] = Vec::add(sums[n], Vec::load(grad + pixel * kSlab + channel + n * Vec::kWidth));
      }
    }
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n) {
      C* to = partial + channel + n * Vec::kWidth;
      Vec::store(to, Vec::add(Vec::load(to), sums[n]));
    }
  }
}

// Adds a stretch of pixels to a slab's partial sums.
template <class C>
GENPIPE_FN void add_stretch(const C* base, const int64_t* offsets, int64_t count, int64_t width, const C* grad,
                            int64_t rows, int64_t columns, int64_t channels, C* partial) {
  typedef Vector<C> Vec;
  for (int64_t channel = 0; channel < channels; channel += kMaxVectors * Vec::kWidth) {
    int64_t vectors = min(ceil_div(channels - channel, Vec::kWidth), kMaxVectors);
    const C* slab = grad + channel;
    C* to = partial + channel;
    switch (vectors) {
      case 1: products<C, 1>(base, offsets, count, width, slab, rows, columns, to); break;
      case 2: products<C, 2>(base, offsets, count, width, slab, rows, columns, to); break;
#if defined(__AVX512F__)
      case 3: products<C, 3>(base, offsets, count, width, slab, rows, columns, to); break;
      case 4: products<C, 4>(base, offsets, count, width, slab, rows, columns, to); break;
#endif
    }
  }
  add_columns(grad, rows * columns, partial + count * kSlab);
}

// The partial sums of one part and one slab.
template <class T>
GENPIPE_FN void sum_part(const MaskedConvWeightArgs& a, const ConvWeightPlan& plan, int64_t part, int64_t slab,
                         const int64_t* offsets, compute_t<T>* copy, compute_t<T>* grad, compute_t<T>* partial) {
  const ConvShape& shape = a.shape;
  int64_t area = shape.height * shape.width, reach = reach_rows(shape);
  int64_t channels = min(kSlab, shape.out_channels - slab * kSlab);
  // Whole rows where several fit, else pieces of one.
  int64_t step_rows = larger_of(1, kStretchPixels / shape.width), step_columns = min(shape.width, kStretchPixels);
  for (int64_t i = 0; i < kSlab * plan.sums; ++i) partial[i] = 0;
  for (int64_t i = 0; i < kStretchPixels * kSlab; ++i) grad[i] = 0;  // where the slab has fewer channels
  for (int64_t unit = part * plan.units / a.parts; unit < (part + 1) * plan.units / a.parts; ++unit) {
    int64_t image = unit / plan.strips, first = unit % plan.strips * a.strip_rows;
    int64_t rows = min(a.strip_rows, shape.height - first);
    copy_padded(static_cast<const T*>(a.x) + image * shape.in_channels * area, shape.in_channels, shape.height,
                shape.width, first - reach, rows + reach, plan.copied, copy);
    const T* from = static_cast<const T*>(a.grad) + (image * shape.out_channels + slab * kSlab) * area;
    for (int64_t row = 0; row < rows; row += step_rows) {
      for (int64_t column = 0; column < shape.width; column += step_columns) {
        int64_t num_rows = min(step_rows, rows - row), num_columns = min(step_columns, shape.width - column);
        transpose(from + (first + row) * shape.width + column, area, channels, num_rows * num_columns, grad, kSlab);
        const compute_t<T>* base = copy + plan.copied.margin + (reach + row) * plan.copied.width + column;
        add_stretch(base, offsets, plan.sums - 1, plan.copied.width, grad, num_rows, num_columns, channels, partial);
      }
    }
  }
}

template <class T>
GENPIPE_FN void partial_sums(const MaskedConvWeightArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  const ConvShape& shape = a.shape;
  ConvWeightPlan plan = conv_weight_plan(a);
  for (int64_t task = begin; task < end; ++task) {
    C* copy = static_cast<C*>(a.scratch) + task * conv_weight_scratch_numbers(a);
    C* grad = copy + shape.in_channels * plan.copied.pitch;
    int64_t* offsets = reinterpret_cast<int64_t*>(grad + kStretchPixels * kSlab);
    int64_t inputs = 0;
    for (int64_t channel = 0; channel < shape.in_channels; ++channel) {
      for (int64_t tap = 0; tap < a.mask.taps; ++tap) {
        if (!tap_is_within(shape, tap)) continue;
        offsets[inputs++] = channel * plan.copied.pitch + tap_row(shape, tap) * plan.copied.width + tap_column(shape, tap);
      }
    }
    int64_t pairs = a.parts * plan.slabs;
    for (int64_t pair = task * pairs / a.tasks; pair < (task + 1) * pairs / a.tasks; ++pair) {
      sum_part<T>(a, plan, pair / plan.slabs, pair % plan.slabs, offsets, copy, grad,
                  static_cast<C*>(a.partials) + pair * kSlab * plan.sums);
    }
  }
}

// One sum of each output channel: the parts' in order.
template <class C>
GENPIPE_FN void sum_over_parts(const MaskedConvWeightArgs& a, const ConvWeightPlan& plan, int64_t slab, int64_t sum,
                               C* totals) {
  for (int64_t channel = 0; channel < kSlab; ++channel) totals[channel] = 0;
  for (int64_t part = 0; part < a.parts; ++part) {
    const C* from = static_cast<const C*>(a.partials) + ((part * plan.slabs + slab) * plan.sums + sum) * kSlab;
    for (int64_t channel = 0; channel < kSlab; ++channel) totals[channel] += from[channel];
  }
}

template <class T>
GENPIPE_FN void sum_parts(const MaskedConvWeightArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  const ConvShape& shape = a.shape;
  ConvWeightPlan plan = conv_weight_plan(a);
  int64_t kernel = shape.kernel_height * shape.kernel_width;
  T* grad_weight = static_cast<T*>(a.grad_weight);
  for (int64_t slab = 0; slab < plan.slabs; ++slab) {
    int64_t first = slab * kSlab, channels = min(kSlab, shape.out_channels - first);
    C totals[kSlab];
    for (int64_t input = begin; input < end; ++input) {
      if (input == shape.in_channels) {
        sum_over_parts(a, plan, slab, plan.sums - 1, totals);
        for (int64_t i = 0; i < channels; ++i) store(static_cast<T*>(a.grad_bias) + first + i, totals[i]);
        continue;
      }
      int64_t sum = input * plan.taps;
      for (int64_t tap = 0; tap < kernel; ++tap) {
        bool summed = tap < a.mask.taps && tap_is_within(shape, tap);
        if (summed) sum_over_parts(a, plan, slab, sum++, totals);
        for (int64_t i = 0; i < channels; ++i) {
          bool live = summed && tap_is_live(a.mask, shape, first + i, input, tap);
          store(grad_weight + ((first + i) * shape.in_channels + input) * kernel + tap, live ? totals[i] : C(0));
        }
      }
    }
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void masked_conv_weight(const MaskedConvWeightArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { partial_sums<decltype(t)>(a, begin, end); });
}

void masked_conv_weight_sum(const MaskedConvWeightArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { sum_parts<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
