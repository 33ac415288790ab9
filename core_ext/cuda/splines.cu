// A thread computes an element. Its parameters come and its gradients go through shared memory, where a block's lie as
// in global memory but an odd number apart, so that neither side waits: the reads are coalesced, the rows in different
// banks.
#include "genpipe/splines.h"

#include "row_tiles.cuh"

namespace genpipe {
namespace cuda {
namespace {

struct Records {
  int size, stride;  // numbers of an element, and from one to the next in shared memory

  explicit Records(const SplineScale& scale) : size(spline_params(scale.bins)), stride(size | 1) {}

  // Calls f(i, at) for the numbers i of `count` elements that this thread moves, `at` their place in shared memory.
  template <class F>
  __device__ void for_mine(int count, F f) const {
    int threads = blockDim.x, element = threadIdx.x / size, j = threadIdx.x % size;
    for (int i = threadIdx.x; i < count * size; i += threads) {
      f(i, element * stride + j);
      element += threads / size;
      j += threads % size;
      if (j >= size) {
        j -= size;
        ++element;
      }
    }
  }
};

// One of the two partitions of the interval. The arithmetic is that of cpu/splines.cpp, step by step.
template <class C>
struct Partition {
  C* shares;  // the exponentials of the logits, in their place
  C factor, before, share, smallest;

  __device__ Partition(C* logits, int bins, double span, double smallest) : shares(logits), smallest(C(smallest)) {
    C top = logits[0], total = C(0);
    for (int k = 1; k < bins; ++k) top = larger(logits[k], top);
    for (int k = 0; k < bins; ++k) {
      logits[k] = exp_decay(top - logits[k]);
      total += logits[k];
    }
    factor = C(span) / total;
    before = C(0);
    share = logits[0];
  }

  __device__ int search(C target, C bound, int bins) {
    C sum = shares[0];
    int bin = 0;
    for (int k = 1; k < bins; ++k) {
      C next = shares[k];
      if (target >= spline_knot(sum, C(k), factor, smallest, bound)) {
        bin = k;
        before = sum;
        share = next;
      }
      sum += next;
    }
    return bin;
  }

  __device__ void look_up(int bin) {
    for (int k = 0; k < bin; ++k) before += shares[k];
    share = shares[bin];
  }

  __device__ void differentiate(int bin, int bins, double span, C to_x, C to_width) {
    C per_total = factor / C(span), place = to_x * C(span), size = to_width * C(span);
    C mean = per_total * share_gradient_mean(place, size, before, share);
    for (int k = 0; k < bins; ++k) {
      shares[k] = logit_gradient(C(k), C(bin), shares[k] * per_total, place, size, mean);
    }
  }
};

template <class C>
struct Located {
  SplineBin<C> corner;
  int bin;
  C raw0, raw1;  // the unnormalised slopes at the bin's ends, 0 where they are fixed
};

template <class C>
__device__ Located<C> locate(const SplineScale& scale, Partition<C>& widths, Partition<C>& heights, const C* slopes,
                             C target, bool by_height) {
  C bound = C(scale.bound);
  Located<C> at;
  if (by_height) {
    at.bin = heights.search(target, bound, scale.bins);
    widths.look_up(at.bin);
  } else {
    at.bin = widths.search(target, bound, scale.bins);
    heights.look_up(at.bin);
  }
  bool first = at.bin == 0, last = at.bin == scale.bins - 1;
  at.raw0 = first ? C(0) : slopes[at.bin - 1];
  at.raw1 = last ? C(0) : slopes[at.bin];
  C k = C(at.bin);
  at.corner = {spline_knot(widths.before, k, widths.factor, widths.smallest, bound),
               spline_knot(heights.before, k, heights.factor, heights.smallest, bound),
               fma(widths.share, widths.factor, widths.smallest),
               fma(heights.share, heights.factor, heights.smallest),
               first ? C(1) : spline_slope(at.raw0, C(scale.min_slope)),
               last ? C(1) : spline_slope(at.raw1, C(scale.min_slope))};
  return at;
}

template <class T>
struct Forward {
  typedef compute_t<T> C;
  RationalQuadraticSplineArgs a;
  Records records;
  size_t scratch_bytes;

  __device__ void operator()(int64_t first, int64_t count, C* shared, C* out) const {
    for (int64_t start = 0; start < count; start += blockDim.x) {
      int here = int(min(count - start, blockDim.x)), i = threadIdx.x;
      const T* params = static_cast<const T*>(a.params) + (first + start) * records.size;
      records.for_mine(here, [&](int j, int at) { shared[at] = load(params + j); });
      __syncthreads();
      if (i < here) {
        C* own = shared + i * records.stride;
        out[start + i] = evaluate(first + start + i, own, own + a.scale.bins, own + 2 * a.scale.bins);
      }
      __syncthreads();
    }
  }

  __device__ C evaluate(int64_t i, C* width_logits, C* height_logits, const C* slopes) const {
    const SplineScale& scale = a.scale;
    C bound = C(scale.bound), given = load(static_cast<const T*>(a.x) + i);
    C target = within(given, bound) ? given : C(0);
    Partition<C> widths(width_logits, scale.bins, scale.width_span, scale.min_width);
    Partition<C> heights(height_logits, scale.bins, scale.height_span, scale.min_height);
    SplineBin<C> bin = locate(scale, widths, heights, slopes, target, a.inverse).corner;
    SplinePoint<C> point = a.inverse ? spline_inverse(bin, target, bound) : spline_forward(bin, target, bound);
    point = inside_or_itself(point, given, bound);
    store(static_cast<T*>(a.y) + i, point.value);
    return point.log_slope;
  }
};

template <class T>
struct Backward {
  typedef compute_t<T> C;
  RationalQuadraticSplineBackwardArgs a;
  Records records;

  __device__ void tile(int64_t first, int here, C* shared) const {
    const T* params = static_cast<const T*>(a.params) + first * records.size;
    T* grad_params = static_cast<T*>(a.grad_params) + first * records.size;
    records.for_mine(here, [&](int j, int at) { shared[at] = load(params + j); });
    __syncthreads();
    if (int(threadIdx.x) < here) {
      C* own = shared + threadIdx.x * records.stride;
      differentiate(first + threadIdx.x, own, own + a.scale.bins, own + 2 * a.scale.bins);
    }
    __syncthreads();
    records.for_mine(here, [&](int j, int at) { store(grad_params + j, shared[at]); });
    __syncthreads();
  }

  // The parameters become the gradient towards them.
  __device__ void differentiate(int64_t i, C* width_logits, C* height_logits, C* slopes) const {
    const SplineScale& scale = a.scale;
    C bound = C(scale.bound), given = load(static_cast<const T*>(a.x) + i);
    C grad_y = load(static_cast<const T*>(a.grad_y) + i);
    C grad_log_det = static_cast<const C*>(a.grad_log_det)[i / a.columns * a.grad_stride];
    bool inside = within(given, bound);
    C target = inside ? given : C(0);
    Partition<C> widths(width_logits, scale.bins, scale.width_span, scale.min_width);
    Partition<C> heights(height_logits, scale.bins, scale.height_span, scale.min_height);
    Located<C> at = locate(scale, widths, heights, slopes, target, false);
    SplineGradient<C> to = spline_gradient(at.corner, target, inside ? grad_y : C(0), inside ? grad_log_det : C(0),
                                           a.inverse);
    store(static_cast<T*>(a.grad_x) + i, inside ? to.argument : grad_y);
    widths.differentiate(at.bin, scale.bins, scale.width_span, to.x, to.width);
    heights.differentiate(at.bin, scale.bins, scale.height_span, to.y, to.height);
    C to_raw0 = raw_slope_gradient(at.bin == 0, to.slope0, at.raw0);
    C to_raw1 = raw_slope_gradient(at.bin == scale.bins - 1, to.slope1, at.raw1);
    for (int k = 0; k < scale.bins - 1; ++k) slopes[k] = k == at.bin ? to_raw1 : k == at.bin - 1 ? to_raw0 : C(0);
  }
};

template <class T>
__global__ void backward(Backward<T> piece, int64_t elements) {
  GENPIPE_DYNAMIC_SHARED(compute_t<T>, shared);
  int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t first = int64_t(blockIdx.x) * blockDim.x; first < elements; first += step) {
    piece.tile(first, int(min(elements - first, blockDim.x)), shared);
  }
}

// As many as leave room for several blocks beside each other.
template <class C>
int threads_for(const Records& records) {
  int threads = 128;
  while (threads > 32 && threads * records.stride * sizeof(C) > 24 * 1024) threads /= 2;
  return threads;
}

}  // namespace

int rational_quadratic_spline(const RationalQuadraticSplineArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    typedef compute_t<T> C;
    Records records(a.scale);
    int threads = threads_for<C>(records);
    Forward<T> terms{a, records, threads * records.stride * sizeof(C)};
    return launch_sum_row_tiles<C>(terms, a.rows, a.columns, a.log_det, threads, stream);
  });
}

int rational_quadratic_spline_backward(const RationalQuadraticSplineBackwardArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    Records records(a.scale);
    int threads = threads_for<compute_t<T>>(records);
    int64_t elements = a.rows * a.columns;
    GENPIPE_CUDA_LAUNCH((backward<T>), blocks_for(elements, threads), threads,
                        threads * records.stride * sizeof(compute_t<T>), stream, Backward<T>{a, records}, elements);
    return int(cudaGetLastError());
  });
}

}  // namespace cuda
}  // namespace genpipe
