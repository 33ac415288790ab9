// The masked convolution by precision: float32 and bfloat16 in tiles, float64 a number to a thread, in the CPU's order.
#include "masked_conv_bf16.cuh"
#include "masked_conv_f32.cuh"
#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

struct Convolve {
  MaskedConvArgs a;
  ConvPlan plan;

  __device__ void operator()(int64_t i) const {
    typedef double T;
    const ConvShape& s = a.shape;
    int64_t area = s.height * s.width, pixel = i % area, target = i / area % plan.targets;
    int64_t row = pixel / s.width, column = pixel % s.width, kernel = s.kernel_height * s.kernel_width;
    int64_t group = target / plan.group_targets;
    ChannelRange centre = a.transposed ? centre_outputs(a.mask, s, group) : centre_inputs(a.mask, s, group);
    const T* image = static_cast<const T*>(a.x) + i / area / plan.targets * plan.sources * area;
    int64_t along_out = s.in_channels * kernel;
    int64_t source_step = a.transposed ? along_out : kernel;
    const T* weight = static_cast<const T*>(a.weight) + target * (a.transposed ? kernel : along_out);
    T sum = a.bias == nullptr ? T(0) : load(static_cast<const T*>(a.bias) + target);
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

// An element of the weight's gradient, in float64.
struct WeightGradient {
  MaskedConvWeightArgs a;

  __device__ void operator()(int64_t i) const {
    const ConvShape& s = a.shape;
    int64_t kernel = s.kernel_height * s.kernel_width, area = s.height * s.width;
    int64_t tap = i % kernel, in = i / kernel % s.in_channels, out = i / kernel / s.in_channels;
    int64_t down = tap_row(s, tap), right = tap_column(s, tap);
    bool live = tap_is_live(a.mask, s, out, in, tap) && tap_is_within(s, tap);
    double total = 0;
    for (int64_t n = 0; live && n < s.batch; ++n) {
      const double* grad = static_cast<const double*>(a.grad) + (n * s.out_channels + out) * area;
      const double* image = static_cast<const double*>(a.x) + (n * s.in_channels + in) * area;
      double sum = 0;
      for (int64_t pixel = 0; pixel < area; ++pixel) {
        int64_t row = pixel / s.width + down, column = pixel % s.width + right;
        if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
        sum = fma(grad[pixel], image[row * s.width + column], sum);
      }
      total += sum;
    }
    static_cast<double*>(a.grad_weight)[i] = total;
  }
};

// The same from the parts' sums, in their order.
template <class T>
struct SumParts {
  MaskedConvWeightArgs a;
  ConvWeightTiles tiles;

  __device__ void operator()(int64_t i) const {
    const ConvShape& s = a.shape;
    int64_t kernel = s.kernel_height * s.kernel_width;
    int64_t tap = i % kernel, in = i / kernel % s.in_channels, out = i / kernel / s.in_channels;
    bool live = tap_is_live(a.mask, s, out, in, tap);
    const float* partial = static_cast<const float*>(a.partials) + out * tiles.inputs + in * a.mask.taps + tap;
    float total = 0;
    for (int64_t part = 0; live && part < a.parts; ++part) total += partial[part * s.out_channels * tiles.inputs];
    store(static_cast<T*>(a.grad_weight) + i, total);
  }
};

// The gradient towards the bias: a block to a channel, each thread every kThreads-th pixel, then a tree.
template <class T>
__global__ void __launch_bounds__(kThreads) sum_channels(MaskedConvWeightArgs a) {
  __shared__ double sums[kThreads];
  int64_t area = a.shape.height * a.shape.width, channels = a.shape.out_channels;
  for (int64_t channel = blockIdx.x; channel < channels; channel += gridDim.x) {
    double sum = 0;
    for (int64_t n = 0; n < a.shape.batch; ++n) {
      const T* grad = static_cast<const T*>(a.grad) + (n * channels + channel) * area;
      for (int64_t pixel = threadIdx.x; pixel < area; pixel += kThreads) sum += double(load(grad + pixel));
    }
    sums[threadIdx.x] = sum;
    for (unsigned width = kThreads / 2; width > 0; width /= 2) {
      __syncthreads();
      if (threadIdx.x < width) sums[threadIdx.x] += sums[threadIdx.x + width];
    }
    if (threadIdx.x == 0) store(static_cast<T*>(a.grad_bias) + channel, compute_t<T>(sums[0]));
    __syncthreads();
  }
}

int convolve(const MaskedConvArgs& a, double, void* stream) {
  ConvPlan plan = conv_plan(a);
  int64_t numbers = a.shape.batch * plan.targets * a.shape.height * a.shape.width;
  return launch_for_each(Convolve{a, plan}, numbers, stream);
}

int convolve(const MaskedConvArgs& a, float, void* stream) {
  ConvPlan plan = conv_plan(a);
  ConvTiles tiles = conv_tiles(a, plan);
  int64_t weights = tiles.padded_targets * a.mask.taps * plan.sources;
  int error = weights == 0 ? 0 : launch_for_each(PackF32{a, plan, tiles}, weights, stream);
  if (error != 0) return error;
  GENPIPE_CUDA_LAUNCH((convolve_f32), blocks_for(tiles.row_tiles * tiles.column_tiles, 1), kF32Threads,
                      kF32SharedBytes, stream, a, plan, tiles);
  return int(cudaGetLastError());
}

int convolve(const MaskedConvArgs& a, bfloat16, void* stream) {
  ConvPlan plan = conv_plan(a);
  ConvTiles tiles = conv_tiles(a, plan);
  int64_t weights = conv_panel_weights(a);
  int error = weights == 0 ? 0 : launch_for_each(PackBf16{a, plan, tiles}, weights, stream);
  if (error != 0) return error;
  GENPIPE_CUDA_LAUNCH((convolve_bf16), blocks_for(tiles.row_tiles * tiles.column_tiles, 1), kMmaThreads, 0, stream, a,
                      plan, tiles);
  return int(cudaGetLastError());
}

int weight_gradient(const MaskedConvWeightArgs& a, int64_t weights, double, void* stream) {
  return launch_for_each(WeightGradient{a}, weights, stream);
}

template <class T>
int weight_gradient(const MaskedConvWeightArgs& a, int64_t weights, T, void* stream) {
  ConvWeightTiles tiles = conv_weight_tiles(a);
  unsigned blocks = blocks_for(a.parts * tiles.row_tiles * tiles.column_tiles, 1);
  if (tiles.inputs > 0) {
    if (sizeof(T) == sizeof(float)) {
      GENPIPE_CUDA_LAUNCH((weight_f32), blocks, kF32Threads, kF32SharedBytes, stream, a, tiles);
    } else {
      GENPIPE_CUDA_LAUNCH((weight_bf16), blocks, kMmaThreads, 0, stream, a, tiles);
    }
    int error = int(cudaGetLastError());
    if (error != 0) return error;
  }
  return launch_for_each(SumParts<T>{a, tiles}, weights, stream);
}

}  // namespace

int masked_conv(const MaskedConvArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) { return convolve(a, t, stream); });
}

int masked_conv_weight(const MaskedConvWeightArgs& a, void* stream) {
  const ConvShape& s = a.shape;
  int64_t weights = s.out_channels * s.in_channels * s.kernel_height * s.kernel_width;
  return dispatch_dtype(a.dtype, [&](auto t) {
    int error = weight_gradient(a, weights, t, stream);
    if (error != 0) return error;
    GENPIPE_CUDA_LAUNCH((sum_channels<decltype(t)>), blocks_for(s.out_channels, 1), kThreads, 0, stream, a);
    return int(cudaGetLastError());
  });
}

}  // namespace cuda
}  // namespace genpipe
