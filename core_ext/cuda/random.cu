// A thread makes one Philox block: four elements of a row.
#include "genpipe/random.h"

#include "row_sum.cuh"

namespace genpipe {
namespace cuda {
namespace {

template <class T>
struct FillNormal {
  RandomArgs a;
  int64_t per_row;

  __device__ void operator()(int64_t block) const {
    typedef compute_t<T> C;
    int64_t row = block / per_row, column = 4 * (block % per_row);
    C z[4];
    normal_block(read_key(a.key, a.device_key), uint64_t(a.first_index) * uint64_t(per_row) + block, z);
    T* out = static_cast<T*>(a.out) + row * a.columns + column;
    for (int k = 0; k < 4 && column + k < a.columns; ++k) store(out + k, z[k]);
  }
};

template <class T, class Of>
struct FillWords {
  RandomArgs a;
  int64_t per_row;

  __device__ void operator()(int64_t block) const {
    int64_t row = block / per_row, column = 4 * (block % per_row), at = row * a.columns + column;
    PhiloxKey key = read_key(a.key, a.device_key);
    uint64_t counter = uint64_t(a.first_index) * uint64_t(per_row) + block;
    Words high = philox_block(key, counter), low = {};
    if (sizeof(T) == 8) low = philox_block(key, counter | kSecondPlane);
    for (int k = 0; k < 4 && column + k < a.columns; ++k) {
      Of::make(a, high.w[k], low.w[k], at + k, static_cast<T*>(a.out) + at + k);
    }
  }
};

template <class Piece>
int fill(const RandomArgs& a, void* stream) {
  int64_t per_row = blocks_per_row(a.columns);
  return launch_for_each(Piece{a, per_row}, a.rows * per_row, stream);
}

}  // namespace

int random(const RandomArgs& a, void* stream) {
  if (a.distribution == Distribution::integer) return fill<FillWords<int64_t, IntegerOf>>(a, stream);
  return dispatch_dtype(a.dtype, [&](auto type) {
    typedef decltype(type) T;
    switch (a.distribution) {
      case Distribution::normal: return fill<FillNormal<T>>(a, stream);
      case Distribution::gumbel: return fill<FillWords<T, GumbelOf>>(a, stream);
      case Distribution::sign: return fill<FillWords<T, SignOf>>(a, stream);
      case Distribution::bernoulli: return fill<FillWords<T, BernoulliOf>>(a, stream);
      default: return fill<FillWords<T, UniformOf>>(a, stream);
    }
  });
}

}  // namespace cuda
}  // namespace genpipe
