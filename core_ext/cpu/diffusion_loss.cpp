// The work unit is a row.
#include "genpipe/diffusion_loss.h"

#include "noise.h"
#include "row_sum.h"

namespace genpipe {
namespace {

// Calls part(row, column, count, noise) for the parts of the rows [begin, end), at least one each: with the noise that
// is given, or a tile.
template <class T, class Part>
GENPIPE_FN void for_each_noisy_part(const DiffusionLossArgs& a, int64_t begin, int64_t end, Part part) {
  if (a.noise == nullptr) {
    return for_each_part<compute_t<T>>(a.key, a.first_index, a.columns, begin, end, part, [&](int64_t at) GENPIPE_FETCHES {
      fetch_chunk(static_cast<const T*>(a.prediction) + at);
      fetch_chunk(static_cast<const T*>(a.x0) + at);
    });
  }
  for (int64_t row = begin; row < end; ++row) {
    const T* noise = static_cast<const T*>(a.noise) + row * a.columns;
    int64_t column = 0;
    do part(row, column, min(kTile, a.columns - column), noise + column);
    while ((column += kTile) < a.columns);
  }
}

template <class T>
GENPIPE_FN Target<compute_t<T>> target_of(const DiffusionLossArgs& a, int64_t row) {
  return target_at<compute_t<T>>(a.target, noise_level(a.levels, level_of(a.levels, row)));
}

template <class T, bool with_slope>
GENPIPE_FN void forward(const DiffusionLossArgs& a, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  double total = 0;
  for_each_noisy_part<T>(a, begin, end, [&](int64_t row, int64_t column, int64_t count, const auto* noise) {
    int64_t at = row * a.columns + column;
    const T* prediction = static_cast<const T*>(a.prediction) + at;
    const T* x0 = static_cast<const T*>(a.x0) + at;
    C* slope = with_slope ? static_cast<C*>(a.slope) + at : nullptr;
    Target<C> target = target_of<T>(a, row);
    C weight = C(loss_weight(a, row));
    if (column == 0) total = 0;
    // Parts are whole sum blocks, so a row's tree does not depend on where they end.
    for (int64_t j = 0; j < count; j += kSumBlock) {
      C block[kSumBlock];
      int64_t n = min(kSumBlock, count - j);
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) {
        C error = loss_error(target, load(prediction + j + i), load(x0 + j + i), load(noise + j + i));
        C weighted = weight * error;
        block[i] = weighted * error;
        if (with_slope) slope[j + i] = C(2) * weighted;
      }
      total += sum_block(block, n);
    }
    if (column + count == a.columns) static_cast<C*>(a.loss)[row] = C(total);
  });
}

template <class T>
GENPIPE_FN void forward(const DiffusionLossArgs& a, int64_t begin, int64_t end) {
  a.slope == nullptr ? forward<T, false>(a, begin, end) : forward<T, true>(a, begin, end);
}

template <class T>
GENPIPE_FN void backward(const DiffusionLossBackwardArgs& b, int64_t begin, int64_t end) {
  typedef compute_t<T> C;
  const DiffusionLossArgs& a = b.forward;
  for_each_noisy_part<T>(a, begin, end, [&](int64_t row, int64_t column, int64_t count, const auto* noise) {
    int64_t at = row * a.columns + column;
    const T* prediction = static_cast<const T*>(a.prediction) + at;
    const T* x0 = static_cast<const T*>(a.x0) + at;
    T* out = static_cast<T*>(b.grad_prediction) + at;
    Target<C> target = target_of<T>(a, row);
    C weight = C(loss_weight(a, row)), grad = static_cast<const C*>(b.grad)[row * b.grad_stride];
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) {
      C error = loss_error(target, load(prediction + i), load(x0 + i), load(noise + i));
      store(out + i, grad * (C(2) * (weight * error)));
    }
  });
}

}  // namespace

namespace GENPIPE_VARIANT {

void diffusion_loss(const DiffusionLossArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.dtype, [&](auto t) { forward<decltype(t)>(a, begin, end); });
}

void diffusion_loss_backward(const DiffusionLossBackwardArgs& a, int64_t begin, int64_t end) {
  dispatch_dtype(a.forward.dtype, [&](auto t) { backward<decltype(t)>(a, begin, end); });
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
