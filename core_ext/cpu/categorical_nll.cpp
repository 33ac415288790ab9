// The work unit is a row. A block of pixels goes over its levels three times, while the second-level cache holds them:
// the largest logit, the sum of exponentials, the slopes.
#include "genpipe/categorical_nll.h"

#include "row_sum.h"

namespace genpipe {
namespace {

template <class T>
GENPIPE_FN compute_t<T> sum_of_weights(const T* logits, int64_t levels, compute_t<T> top) {
  typedef compute_t<T> C;
  C lanes[kSumLanes] = {};
  int64_t k = 0;
  for (; k + kSumLanes <= levels; k += kSumLanes) {
    for (int i = 0; i < kSumLanes; ++i) lanes[i] += relative_weight(load(logits + k + i) - top);
  }
  for (int i = 0; k + i < levels; ++i) lanes[i] += relative_weight(load(logits + k + i) - top);
  for (int width = kSumLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

// One number's logits, side by side.
template <class T, class Out>
GENPIPE_FN void number_nll(const CategoricalNllArgs& a, int64_t at, compute_t<T> factor, Out* out, compute_t<T>* nll) {
  typedef compute_t<T> C;
  const T* logits = static_cast<const T*>(a.logits) + at * a.levels;
  int64_t level = level_at(a, at);
  C top = load(logits);
  for (int64_t k = 1; k < a.levels; ++k) top = larger(load(logits + k), top);
  C sum = sum_of_weights(logits, a.levels, top), own = load(logits + level) - top;
  *nll = log_positive(sum) - own;
  if (out == nullptr) return;
  Out* to = out + at * a.levels;
  C inverse = C(1) / sum;
  for (int64_t k = 0; k < a.levels; ++k) store(to + k, factor * (relative_weight(load(logits + k) - top) * inverse));
  store(to + level, factor * fma(relative_weight(own), inverse, C(-1)));
}

// `count` pixels of a plane (a row's channel) from `pixel` on.
template <class T, class Out>
GENPIPE_FN void pixels_nll(const CategoricalNllArgs& a, int64_t plane, int64_t pixel, int64_t count,
                           compute_t<T> factor, Out* out, compute_t<T>* nll) {
  typedef compute_t<T> C;
  int64_t first = plane * a.levels * a.pixels + pixel;
  const T* logits = static_cast<const T*>(a.logits) + first;
  C top[kSumBlock], sum[kSumBlock], own[kSumBlock];
  for (int64_t j = 0; j < count; ++j) top[j] = load(logits + j);
  for (int64_t k = 1; k < a.levels; ++k) {
    for (int64_t j = 0; j < count; ++j) top[j] = larger(load(logits + k * a.pixels + j), top[j]);
  }
  for (int64_t j = 0; j < count; ++j) sum[j] = C(0);
  for (int64_t k = 0; k < a.levels; ++k) {
    for (int64_t j = 0; j < count; ++j) sum[j] += relative_weight(load(logits + k * a.pixels + j) - top[j]);
  }
  for (int64_t j = 0; j < count; ++j) {
    own[j] = load(logits + level_at(a, plane * a.pixels + pixel + j) * a.pixels + j) - top[j];
  }
  for (int64_t j = 0; j < count; ++j) {
    nll[j] = log_positive(sum[j]) - own[j];
    sum[j] = C(1) / sum[j];
  }
  if (out == nullptr) return;
  for (int64_t k = 0; k < a.levels; ++k) {
    Out* to = out + first + k * a.pixels;
#pragma GCC ivdep
    for (int64_t j = 0; j < count; ++j) {
      store(to + j, factor * (relative_weight(load(logits + k * a.pixels + j) - top[j]) * sum[j]));
    }
  }
  for (int64_t j = 0; j < count; ++j) {
    int64_t level = level_at(a, plane * a.pixels + pixel + j);
    store(out + first + level * a.pixels + j, factor * fma(relative_weight(own[j]), sum[j], C(-1)));
  }
}

template <class T, class Out>
GENPIPE_FN void run(const CategoricalNllArgs& a, Out* out, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  int64_t columns = a.channels * a.pixels;
  for (int64_t row = begin; row < end; ++row) {
    C factor = a.grad != nullptr ? static_cast<const C*>(a.grad)[row * a.grad_stride] : C(a.scale);
    double total = sum_row<C>(columns, [&](int64_t column, int64_t count, C* terms) {
      if (a.pixels == 1) {
        for (int64_t j = 0; j < count; ++j) number_nll<T>(a, row * columns + column + j, factor, out, terms + j);
        return;
      }
      for (int64_t j = 0; j < count;) {
        int64_t channel = (column + j) / a.pixels, pixel = (column + j) % a.pixels;
        int64_t n = min(count - j, a.pixels - pixel);
        pixels_nll<T>(a, row * a.channels + channel, pixel, n, factor, out, terms + j);
        j += n;
      }
    });
    if (a.nll != nullptr) static_cast<C*>(a.nll)[row] = C(total);
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void categorical_nll(const CategoricalNllArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    if (a.grad_logits != nullptr) {
      run<T>(a, static_cast<T*>(a.grad_logits), begin, end);
    } else {
      run<T>(a, static_cast<compute_t<T>*>(a.slope), begin, end);
    }
  });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
