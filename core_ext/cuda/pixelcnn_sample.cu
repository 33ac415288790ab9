// A block samples its images from the first pixel to the last: its threads meet at barriers, blocks never wait for each
// other. Weights pass through the second-level cache, which holds them all; activations are the block's own.
#include "genpipe/pixelcnn_sample.h"

#include "launch.cuh"

namespace genpipe {
namespace cuda {
namespace {

constexpr int kMaxImages = 4;                  // a block's; the glue gives it no more
constexpr int64_t kPartialsBytes = 32 * 1024;  // chains of one convolution, waiting to be added up
constexpr int64_t kMaxDrawBlocks = 256;        // sums of a draw that are held: 4096 levels

template <class T>
struct __align__(16) Four {
  T at[4];
};

// Positions within a row, channels and items fit 32 bits (the glue sees to it), whose divisions are far cheaper.
template <class T>
struct BlockSampler {
  static constexpr int kSampleThreads = 2048 / int(sizeof(T));  // float64 wants twice the registers

  const PixelcnnSampleArgs& a;
  PhiloxKey key;
  T* activations;  // map by map: (depth, width, a.tile, channels)
  T* partials;     // shared
  const T* zeros;  // shared, kDotChunk of them
  double* sums;    // shared, (kMaxImages, kMaxDrawBlocks)
  int images;
  int64_t first;

  __device__ T* at(int64_t map, int i, int j) const {
    const PixelMap& m = a.maps[map];
    int slot = unsigned(i) % unsigned(m.depth) * ((int(a.width) + (1 << m.level) - 1) >> m.level) + j;
    return activations + a.tile * (m.offset + slot * m.channels);
  }

  __device__ void run(const PixelStep& step, int i, int first_column, int last_column, int stride) {
    int columns = (last_column - first_column + stride - 1) / stride;
    if (step.op != kConv) {
      each(step, i, first_column, stride, columns);
    } else if (columns * images == 1) {
      conv<1>(step, i, first_column, stride, columns);
    } else if (columns * images == 2) {
      conv<2>(step, i, first_column, stride, columns);
    } else {
      conv<4>(step, i, first_column, stride, columns);
    }
    __syncthreads();
  }

  __device__ void each(const PixelStep& step, int i, int first_column, int stride, int columns) {
    unsigned count = step.count;
    for (unsigned item = threadIdx.x; item < columns * images * count; item += kSampleThreads) {
      unsigned c = item % count, place = item / count, b = place % images;
      int j = first_column + place / images * stride;
      const T* x = at(step.src, i, j) + b * a.maps[step.src].channels + step.src_channel + c;
      T* y = at(step.dst, i, j) + b * a.maps[step.dst].channels + step.dst_channel + c;
      switch (step.op) {
        case kGate: *y = gate_unit(x[0], x[count]); break;
        case kGatedResidual: {
          const T* addend = at(step.addend, i, j) + b * a.maps[step.addend].channels + step.addend_channel + c;
          *y = gated_residual_unit(*addend, x[0], x[count]);
          break;
        }
        case kConcatElu: {
          T value = x[0];
          y[0] = elu(value);
          y[count] = elu(-value);
          break;
        }
        default: *y = larger(x[0], T(0));
      }
    }
  }

  // One output's chains at `places` places, x[p] their numbers; weights are read once for all of them.
  template <int places>
  __device__ void chain(const T* const (&x)[places], const T* weights, int count, T (&sum)[places]) const {
    bool aligned = true;
#pragma unroll
    for (int p = 0; p < places; ++p) {
      sum[p] = T(0);
      aligned = aligned && reinterpret_cast<uintptr_t>(x[p]) % alignof(Four<T>) == 0;
    }
    int k = 0;
#pragma unroll 2
    for (; aligned && k + 4 <= count; k += 4) {
      Four<T> four[places];
#pragma unroll
      for (int p = 0; p < places; ++p) four[p] = *reinterpret_cast<const Four<T>*>(x[p] + k);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        T w = weights[(k + i) * kPanel];
#pragma unroll
        for (int p = 0; p < places; ++p) sum[p] = fma(four[p].at[i], w, sum[p]);
      }
    }
    for (; k < count; ++k) {
#pragma unroll
      for (int p = 0; p < places; ++p) sum[p] = fma(x[p][k], weights[k * kPanel], sum[p]);
    }
  }

  // Where a tap of a step reads for `places` places from `place` on: null outside of the image. Gives whether any lies
  // inside.
  template <int places>
  __device__ bool find(const PixelStep& step, const PixelTap& tap, int i, int first_column, int stride, unsigned place,
                       unsigned num_places, const T* (&x)[places]) const {
    const PixelMap& from = a.maps[step.src];
    int width = (int(a.width) + (1 << from.level) - 1) >> from.level;
    int row = (step.scale > 0 ? 2 * i : step.scale < 0 ? i / 2 : i) + int(tap.dy);
    bool any = false;
#pragma unroll
    for (int p = 0; p < places; ++p) {
      int j = first_column + int((place + p) / images) * stride;
      int column = (step.scale > 0 ? 2 * j : step.scale < 0 ? j / 2 : j) + int(tap.dx);
      bool inside = place + p < num_places && row >= 0 && column >= 0 && column < width;
      x[p] = inside ? at(step.src, row, column) + (place + p) % images * from.channels + step.src_channel : nullptr;
      any = any || inside;
    }
    return any;
  }

  template <int places>
  __device__ void from_channel(const T* const (&x)[places], int k, const T* (&to)[places]) const {
#pragma unroll
    for (int p = 0; p < places; ++p) to[p] = x[p] == nullptr ? zeros : x[p] + k;
  }

  __device__ void write(const PixelStep& step, int i, int j, unsigned b, unsigned n, T sum) const {
    if (step.addend >= 0) {
      sum += at(step.addend, i, j)[b * a.maps[step.addend].channels + step.addend_channel + n];
    }
    at(step.dst, i, j)[b * a.maps[step.dst].channels + step.dst_channel + n] = sum;
  }

  // Where outputs alone keep all threads busy, each adds its own chains up; else chains are shared out.
  template <int places>
  __device__ void conv(const PixelStep& step, int i, int first_column, int stride, int columns) {
    unsigned count = step.count, num_places = columns * images, num_sets = (num_places + places - 1) / places;
    unsigned num_taps = step.num_taps, most = 0;
    for (unsigned t = 0; t < num_taps; ++t) {
      unsigned channels = a.taps[step.first_tap + t].channels;
      most = channels > most ? channels : most;
    }
    unsigned chunks = (most + kDotChunk - 1) / kDotChunk, num_chains = num_taps * chunks;
    unsigned outputs = num_sets * count;
    if (outputs < 2 * kSampleThreads && outputs * places * num_chains * sizeof(T) <= kPartialsBytes) {
      share_out<places>(step, i, first_column, stride, num_places, num_sets, chunks);
      return;
    }
    const T *weights = static_cast<const T*>(a.weights) + step.weights, *x[places], *from[places];
    T total[places], sum[places];
    for (unsigned item = threadIdx.x; item < outputs; item += kSampleThreads) {
      unsigned n = item % count, place = item / count * places;
      T bias = step.bias < 0 ? T(0) : static_cast<const T*>(a.weights)[step.bias + n];
#pragma unroll
      for (int p = 0; p < places; ++p) total[p] = bias;
      const T* own = weights + n / kPanel * step.rows * kPanel + n % kPanel;
      for (unsigned t = 0; t < num_taps; ++t) {
        const PixelTap& tap = a.taps[step.first_tap + t];
        if (!find(step, tap, i, first_column, stride, place, num_places, x)) continue;
        for (int k = 0; k < int(tap.channels); k += kDotChunk) {
          from_channel(x, k, from);
          chain(from, own + (tap.row + k) * kPanel, int(min(tap.channels - k, kDotChunk)), sum);
#pragma unroll
          for (int p = 0; p < places; ++p) total[p] += sum[p];
        }
      }
#pragma unroll
      for (int p = 0; p < places; ++p) {
        if (place + p >= num_places) continue;
        write(step, i, first_column + int((place + p) / images) * stride, (place + p) % images, n, total[p]);
      }
    }
  }

  template <int places>
  __device__ void share_out(const PixelStep& step, int i, int first_column, int stride, unsigned num_places,
                            unsigned num_sets, unsigned chunks) {
    unsigned count = step.count, outputs = num_sets * count, num_chains = unsigned(step.num_taps) * chunks;
    const T *x[places], *from[places];
    T sum[places];
    for (unsigned item = threadIdx.x; item < outputs * num_chains; item += kSampleThreads) {
      unsigned n = item % count, set = item / count % num_sets, c = item / outputs;
      const PixelTap& tap = a.taps[step.first_tap + c / chunks];
      int k = int(c % chunks * kDotChunk);
      const T* own = static_cast<const T*>(a.weights) + step.weights + n % kPanel +
                     (n / kPanel * step.rows + tap.row + k) * kPanel;
      find(step, tap, i, first_column, stride, set * places, num_places, x);
      from_channel(x, k, from);
      chain(from, own, int(min(tap.channels - k, kDotChunk)), sum);
#pragma unroll
      for (int p = 0; p < places; ++p) partials[item * places + p] = sum[p];
    }
    __syncthreads();
    for (unsigned item = threadIdx.x; item < outputs * places; item += kSampleThreads) {
      unsigned place = item / places / count * places + item % places, n = item / places % count;
      if (place >= num_places) continue;
      T total = step.bias < 0 ? T(0) : static_cast<const T*>(a.weights)[step.bias + n];
      for (unsigned c = 0; c < num_chains; ++c) total += partials[c * outputs * places + item];
      write(step, i, first_column + int(place / images) * stride, place % images, n, total);
    }
  }

  // A warp draws for an image.
  __device__ void draw(int group, int i, int j) {
    int b = threadIdx.x / 32;
    if (b < images) {
      const PixelMap &head = a.maps[a.num_maps - 1], &image = a.maps[0];
      T* parameters = at(a.num_maps - 1, i, j) + b * head.channels;
      T* values = at(0, i, j) + b * image.channels;
      int64_t index = first + b;
      int64_t* out = a.out + (index * a.channels * a.height + i) * a.width + j;
      if (a.num_mixtures == 0) {
        T u = pixel_uniform<T>(a, key, index, i, j, group);
        int64_t level = draw_category(parameters + group * a.levels, a.levels, u, sums + b * kMaxDrawBlocks);
        if (threadIdx.x % 32 == 0) {
          values[group] = level_value<T>(level, a.levels);
          out[group * a.height * a.width] = level;
        }
      } else {
        T u = pixel_uniform<T>(a, key, index, i, j, 0);
        int64_t component = draw_category(parameters, a.num_mixtures, u, sums + b * kMaxDrawBlocks);
        for (int64_t c = 0; c < a.channels && threadIdx.x % 32 == 0; ++c) {
          u = pixel_uniform<T>(a, key, index, i, j, 1 + c);
          int64_t level =
              draw_mixture_channel(parameters, component, c, a.channels, a.num_mixtures, values, u, a.levels);
          values[c] = level_value<T>(level, a.levels);
          out[c * a.height * a.width] = level;
        }
      }
      if (threadIdx.x % 32 == 0 && image.channels > a.channels) values[a.channels] = T(1);
    }
    __syncthreads();
  }

  // draw_categorical by a warp; lane 0 has the answer.
  __device__ int64_t draw_category(T* logits, int64_t count, T u, double* block_sums) const {
    int lane = threadIdx.x % 32;
    T most = logits[0];
    for (int64_t k = lane; k < count; k += 32) most = larger(logits[k], most);
    for (int width = 16; width > 0; width /= 2) most = larger(__shfl_xor_sync(0xffffffffu, most, width), most);
    for (int64_t k = lane; k < count; k += 32) logits[k] = exp_decay(most - logits[k]);
    __syncwarp();
    int64_t blocks = (count + kDrawBlock - 1) / kDrawBlock;
    for (int64_t block = lane; block < min(blocks, kMaxDrawBlocks); block += 32) {
      block_sums[block] = sum_draw_block(logits, count, block);
    }
    __syncwarp();
    if (lane != 0) return 0;
    return find_category(logits, count, u, [&](int64_t block) {
      return block < kMaxDrawBlocks ? block_sums[block] : sum_draw_block(logits, count, block);
    });
  }
};

template <class T>
__global__ void __launch_bounds__(BlockSampler<T>::kSampleThreads) sample(PixelcnnSampleArgs args) {
  GENPIPE_DYNAMIC_SHARED(T, partials);
  __shared__ PixelcnnSampleArgs a;  // arguments that are pointed at would be copied for each thread
  if (threadIdx.x == 0) a = args;
  __shared__ double sums[kMaxImages * kMaxDrawBlocks];
  __shared__ Four<T> zeros[kDotChunk / 4];
  for (int k = threadIdx.x; k < kDotChunk; k += blockDim.x) zeros[k / 4].at[k % 4] = T(0);
  __syncthreads();
  PhiloxKey key = read_key(args.key, args.device_key);
  T* activations = static_cast<T*>(a.scratch) + int64_t(blockIdx.x) * a.tile * a.activations;
  for (int64_t first = int64_t(blockIdx.x) * a.tile; first < a.num; first += int64_t(gridDim.x) * a.tile) {
    BlockSampler<T> sampler{a, key, activations, partials, zeros[0].at, sums, int(min(a.tile, a.num - first)), first};
    run_program(a, sampler);
    __syncthreads();
  }
}

template <class T>
int launch(const PixelcnnSampleArgs& a, void* stream) {
  GENPIPE_CUDA_LAUNCH((sample<T>), unsigned(a.workers), BlockSampler<T>::kSampleThreads, kPartialsBytes, stream, a);
  return int(cudaGetLastError());
}

}  // namespace

int pixelcnn_sample(const PixelcnnSampleArgs& a, void* stream) {
  return a.dtype == DType::f64 ? launch<double>(a, stream) : launch<float>(a, stream);
}

}  // namespace cuda
}  // namespace genpipe
