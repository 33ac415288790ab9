// A thread is a column.
#include "genpipe/log_mean_exp.h"

#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
struct Column {
  LogMeanExpArgs a;

  __device__ void operator()(int64_t column) const {
    const T* x = static_cast<const T*>(a.x) + column;
    T top = x[0], sum = T(0);
    for (int64_t k = 1; k < a.samples; ++k) top = larger(x[k * a.columns], top);
    for (int64_t k = 0; k < a.samples; ++k) sum += weight_beside(x[k * a.columns], top);
    if (a.grad == nullptr) {
      static_cast<T*>(a.out)[column] = top + log_positive(sum / T(a.samples));
      return;
    }
    T factor = static_cast<const T*>(a.grad)[column * a.grad_stride] / sum;
    T* to = static_cast<T*>(a.grad_x) + column;
    for (int64_t k = 0; k < a.samples; ++k) to[k * a.columns] = factor * weight_beside(x[k * a.columns], top);
  }
};

}  // namespace

int log_mean_exp(const LogMeanExpArgs& a, void* stream) {
  return a.dtype == DType::f64 ? launch_for_each(Column<double>{a}, a.columns, stream)
                               : launch_for_each(Column<float>{a}, a.columns, stream);
}

}  // namespace cuda
}  // namespace genpipe
