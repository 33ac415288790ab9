// Forward: the rows' sums, whose blocks first share out their Philox blocks. Backward: a thread makes one Philox block.
#include "genpipe/gaussian_reparam.h"

#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
struct Forward {
  typedef compute_t<T> C;
  static constexpr bool kScratch = true;
  GaussianReparamArgs a;
  int64_t per_row;

  __device__ void prepare(int64_t row, int64_t column, int64_t count, C* scratch, int lane) const {
    PhiloxKey key = read_key(a.key, a.device_key);
    uint64_t first = (uint64_t(a.first_index) + row) * uint64_t(per_row) + column / 4;
    for (int b = lane; 4 * b < count; b += kSumLanes) normal_block(key, first + b, scratch + 4 * b);
  }

  __device__ C at(int64_t row, int64_t column, int64_t offset, const C* scratch) const {
    int64_t i = row * a.columns + column + offset;
    C kl;
    store(static_cast<T*>(a.z) + i, reparameterise(load(static_cast<const T*>(a.mean) + i),
                                                   load(static_cast<const T*>(a.log_var) + i), scratch[offset], &kl));
    return kl;
  }
};

template <class T>
struct Backward {
  GaussianReparamBackwardArgs a;
  int64_t per_row;

  __device__ void operator()(int64_t block) const {
    typedef compute_t<T> C;
    int64_t row = block / per_row, column = 4 * (block % per_row);
    C z[4];
    normal_block(read_key(a.key, a.device_key), uint64_t(a.first_index) * uint64_t(per_row) + block, z);
    C grad_kl = static_cast<const C*>(a.grad_kl)[row * a.grad_stride];
    for (int k = 0; k < 4 && column + k < a.columns; ++k) {
      int64_t i = row * a.columns + column + k;
      C m, v;
      reparameterise_backward(load(static_cast<const T*>(a.grad_z) + i), grad_kl,
                              load(static_cast<const T*>(a.mean) + i), load(static_cast<const T*>(a.log_var) + i),
                              z[k], &m, &v);
      store(static_cast<T*>(a.grad_mean) + i, m);
      store(static_cast<T*>(a.grad_log_var) + i, v);
    }
  }
};

}  // namespace

int gaussian_reparam(const GaussianReparamArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    Forward<T> terms{a, blocks_per_row(a.columns)};
    return launch_sum_rows<compute_t<T>>(terms, a.rows, a.columns, a.kl, stream);
  });
}

int gaussian_reparam_backward(const GaussianReparamBackwardArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) {
    typedef decltype(t) T;
    int64_t per_row = blocks_per_row(a.columns);
    return launch_for_each(Backward<T>{a, per_row}, a.rows * per_row, stream);
  });
}

}  // namespace cuda
}  // namespace genpipe
