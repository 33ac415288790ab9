// The work unit is a column; neighbours go side by side.
#include "genpipe/log_mean_exp.h"

namespace genpipe {
namespace {

constexpr int kTile = 64;

template <class T>
GENPIPE_FN void columns_log_mean_exp(const LogMeanExpArgs& a, int64_t column, int64_t count) {
  const T* x = static_cast<const T*>(a.x) + column;
  T top[kTile], sum[kTile];
  for (int64_t j = 0; j < count; ++j) top[j] = x[j];
  for (int64_t k = 1; k < a.samples; ++k) {
    for (int64_t j = 0; j < count; ++j) top[j] = larger(x[k * a.columns + j], top[j]);
  }
  for (int64_t j = 0; j < count; ++j) sum[j] = T(0);
  for (int64_t k = 0; k < a.samples; ++k) {
    for (int64_t j = 0; j < count; ++j) sum[j] += weight_beside(x[k * a.columns + j], top[j]);
  }
  if (a.grad == nullptr) {
    T* out = static_cast<T*>(a.out) + column;
    for (int64_t j = 0; j < count; ++j) out[j] = top[j] + log_positive(sum[j] / T(a.samples));
    return;
  }
  for (int64_t j = 0; j < count; ++j) sum[j] = static_cast<const T*>(a.grad)[(column + j) * a.grad_stride] / sum[j];
  for (int64_t k = 0; k < a.samples; ++k) {
    T* to = static_cast<T*>(a.grad_x) + k * a.columns + column;
    for (int64_t j = 0; j < count; ++j) to[j] = sum[j] * weight_beside(x[k * a.columns + j], top[j]);
  }
}

}  // namespace

namespace GENPIPE_VARIANT {

void log_mean_exp(const LogMeanExpArgs& a, int64_t begin, int64_t end) {
  for (int64_t column = begin; column < end; column += kTile) {
    int64_t count = min(kTile, end - column);
    a.dtype == DType::f64 ? columns_log_mean_exp<double>(a, column, count)
                          : columns_log_mean_exp<float>(a, column, count);
  }
}

}  // namespace GENPIPE_VARIANT
}  // namespace genpipe
