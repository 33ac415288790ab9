// A thread makes one Philox block: four elements of a row.
#include "genpipe/q_sample.h"

#include <stdio.h>

#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
struct QSample {
  QSampleArgs a;
  int64_t per_row;

  __device__ void operator()(int64_t block) const {
    typedef compute_t<T> C;
    int64_t row = block / per_row, column = 4 * (block % per_row);
    int64_t t = a.t[row];
    if (t < 0 || t >= a.num_steps) {
      printf("genpipe.q_sample: t[%lld] = %lld is outside of alpha_bar's steps, 0 to %lld\n", (long long)row,
             (long long)t, (long long)(a.num_steps - 1));
      __trap();
    }
    NoiseLevel<C> level = noise_level<C>(a, t);
    C z[4];
    if (a.noise == nullptr) {
      normal_block(read_key(a.key, a.device_key), uint64_t(a.first_index) * uint64_t(per_row) + block, z);
    }
    int64_t at = row * a.columns + column;
    const T* x0 = static_cast<const T*>(a.x0) + at;
    T* out = static_cast<T*>(a.out) + at;
    for (int k = 0; k < 4 && column + k < a.columns; ++k) {
      C noise = a.noise != nullptr ? load(static_cast<const T*>(a.noise) + at + k) : z[k];
      if (a.noise_out != nullptr) {  // x_t is made of the noise that is handed out, rounded where T rounds
        T* noise_out = static_cast<T*>(a.noise_out) + at + k;
        store(noise_out, noise);
        noise = load(noise_out);
      }
      store(out + k, noised(level, load(x0 + k), noise));
    }
  }
};

template <class T>
int launch(const QSampleArgs& a, void* stream) {
  int64_t per_row = blocks_per_row(a.columns);
  return launch_for_each(QSample<T>{a, per_row}, a.rows * per_row, stream);
}

}  // namespace

int q_sample(const QSampleArgs& a, void* stream) {
  return dispatch_dtype(a.dtype, [&](auto t) { return launch<decltype(t)>(a, stream); });
}

}  // namespace cuda
}  // namespace genpipe
