// A number a thread: what float64 runs on. Sums run as on the CPU, over chunks of sources, then taps, then sources.
#include "../cpu/masked_conv_plan.h"
#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
struct Convolve {
  MaskedConvArgs a;
  ConvPlan plan;

  __device__ void operator()(int64_t i) const {
    typedef compute_t<T> C;
    const ConvShape& s = a.shape;
    int64_t area = s.height * s.width, pixel = i % area, target = i / area % plan.targets;
    int64_t row = pixel / s.width, column = pixel % s.width, kernel = s.kernel_height * s.kernel_width;
    int64_t group = target / plan.group_targets;
    ChannelRange centre = a.transposed ? centre_outputs(a.mask, s, group) : centre_inputs(a.mask, s, group);
    const T* image = static_cast<const T*>(a.x) + i / area / plan.targets * plan.sources * area;
    int64_t along_out = s.in_channels * kernel;
    int64_t source_step = a.transposed ? along_out : kernel;
    const T* weight = static_cast<const T*>(a.weight) + target * (a.transposed ? kernel : along_out);
    C sum = a.bias == nullptr ? C(0) : load(static_cast<const T*>(a.bias) + target);
    for (int64_t chunk = 0; chunk < plan.sources; chunk += plan.chunk) {
      for (int64_t tap = 0; tap < a.mask.taps; ++tap) {
        int64_t begin = chunk, end = min(chunk + plan.chunk, plan.sources);
        if (tap == a.mask.centre_tap) begin = larger_of(begin, centre.begin), end = min(end, centre.end);
        int64_t down = tap_row(s, tap), right = tap_column(s, tap);
        int64_t y = a.transposed ? row - down : row + down, x = a.transposed ? column - right : column + right;
        if (y < 0 || y >= s.height || x < 0 || x >= s.width) continue;
        for (int64_t source = begin; source < end; ++source) {
          sum = fma(load(weight + source * source_step + tap), load(image + source * area + y * s.width + x), sum);
        }
      }
    }
    store(static_cast<T*>(a.out) + i, sum);
  }
};

// One element of the weight's gradient, or, past them, of the bias's.
template <class T>
struct WeightGradient {
  MaskedConvWeightArgs a;

  __device__ void operator()(int64_t i) const {
    typedef compute_t<T> C;
    const ConvShape& s = a.shape;
    int64_t kernel = s.kernel_height * s.kernel_width, area = s.height * s.width;
    int64_t weights = s.out_channels * s.in_channels * kernel;
    bool is_bias = i >= weights;
    int64_t tap = is_bias ? 0 : i % kernel, in = is_bias ? 0 : i / kernel % s.in_channels;
    int64_t out = is_bias ? i - weights : i / kernel / s.in_channels;
    int64_t down = is_bias ? 0 : tap_row(s, tap), right = is_bias ? 0 : tap_column(s, tap);
    C total = 0;
    for (int64_t n = 0; (is_bias || tap_is_live(a.mask, s, out, in, tap)) && n < s.batch; ++n) {
      const T* grad = static_cast<const T*>(a.grad) + (n * s.out_channels + out) * area;
      const T* image = static_cast<const T*>(a.x) + (n * s.in_channels + in) * area;
      C sum = 0;
      for (int64_t pixel = 0; pixel < area; ++pixel) {
        int64_t y = pixel / s.width + down, x = pixel % s.width + right;
        if (y < 0 || y >= s.height || x < 0 || x >= s.width) continue;
        sum = fma(load(grad + pixel), is_bias ? C(1) : load(image + y * s.width + x), sum);
      }
      total += sum;
    }
    store(is_bias ? static_cast<T*>(a.grad_bias) + out : static_cast<T*>(a.grad_weight) + i, total);
  }
};

template <class T>
int convolve(const MaskedConvArgs& a, void* stream) {
  ConvPlan plan = conv_plan(a);
  int64_t numbers = a.shape.batch * plan.targets * a.shape.height * a.shape.width;
  return launch_for_each(Convolve<T>{a, plan}, numbers, stream);
}

template <class T>
int weight_gradient(const MaskedConvWeightArgs& a, void* stream) {
  const ConvShape& s = a.shape;
  int64_t weights = s.out_channels * s.in_channels * s.kernel_height * s.kernel_width;
  return launch_for_each(WeightGradient<T>{a}, weights + s.out_channels, stream);
}

}  // namespace

int masked_conv(const MaskedConvArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) { return convolve<decltype(t)>(a, stream); });
}

int masked_conv_weight(const MaskedConvWeightArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) { return weight_gradient<decltype(t)>(a, stream); });
}

}  // namespace cuda
}  // namespace genpipe
