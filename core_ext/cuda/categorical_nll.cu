// A thread is a number of the event: neighbours read neighbours of each level.
#include "genpipe/categorical_nll.h"

#include <stdio.h>

#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
__device__ compute_t<T> sum_of_weights(const T* logits, int64_t stride, int64_t levels, compute_t<T> top) {
  typedef compute_t<T> C;
  if (stride > 1) {
    C sum = 0;
    for (int64_t k = 0; k < levels; ++k) sum += relative_weight(load(logits + k * stride) - top);
    return sum;
  }
  C lanes[kSumLanes] = {};
  for (int64_t k = 0; k < levels; k += kSumLanes) {
#pragma unroll
    for (int i = 0; i < kSumLanes; ++i) {
      if (k + i < levels) lanes[i] += relative_weight(load(logits + k + i) - top);
    }
  }
#pragma unroll
  for (int width = kSumLanes / 2; width > 0; width /= 2) {
#pragma unroll
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

template <class T, class Out>
struct NumberNll {
  CategoricalNllArgs a;
  Out* out;

  __device__ void operator()(int64_t i) const {
    typedef compute_t<T> C;
    int64_t plane = i / a.pixels, first = plane * a.levels * a.pixels + i % a.pixels, level = level_at(a, i);
    if (level < 0 || level >= a.levels) {
      printf("genpipe.categorical_nll: x has the level %lld, outside of 0 to %lld\n", (long long)level,
             (long long)(a.levels - 1));
      __trap();
    }
    const T* logits = static_cast<const T*>(a.logits) + first;
    C top = load(logits);
    for (int64_t k = 1; k < a.levels; ++k) top = larger(load(logits + k * a.pixels), top);
    C sum = sum_of_weights(logits, a.pixels, a.levels, top), own = load(logits + level * a.pixels) - top;
    if (a.nll != nullptr) static_cast<C*>(a.pixel_nll)[i] = log_positive(sum) - own;
    if (out == nullptr) return;
    int64_t row = plane / a.channels;
    C factor = a.grad != nullptr ? static_cast<const C*>(a.grad)[row * a.grad_stride] : C(a.scale);
    C inverse = C(1) / sum;
    for (int64_t k = 0; k < a.levels; ++k) {
      C weight = relative_weight(load(logits + k * a.pixels) - top);
      C slope = k == level ? fma(weight, inverse, C(-1)) : weight * inverse;
      store(out + first + k * a.pixels, factor * slope);
    }
  }
};

template <class T, class Out>
int launch(const CategoricalNllArgs& a, Out* out, void* stream) {
  typedef compute_t<T> C;
  int64_t columns = a.channels * a.pixels;
  int code = columns == 0 ? 0 : launch_for_each(NumberNll<T, Out>{a, out}, a.rows * columns, stream);
  if (code != 0 || a.nll == nullptr) return code;
  return launch_sum_rows<C>(StoredTerms<C>{static_cast<const C*>(a.pixel_nll), columns}, a.rows, columns, a.nll, stream);
}

}  // namespace

int categorical_nll(const CategoricalNllArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    if (a.grad_logits != nullptr) return launch<T>(a, static_cast<T*>(a.grad_logits), stream);
    return launch<T>(a, static_cast<compute_t<T>*>(a.slope), stream);
  });
}

}  // namespace cuda
}  // namespace genpipe
