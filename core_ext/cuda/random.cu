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

template <class T, bool Wide, class Convert>
struct FillWords {
  RandomArgs a;
  int64_t per_row;
  Convert convert;

  __device__ void operator()(int64_t block) const {
    int64_t row = block / per_row, column = 4 * (block % per_row);
    PhiloxKey key = read_key(a.key, a.device_key);
    uint64_t counter = uint64_t(a.first_index) * uint64_t(per_row) + block;
    Words high = philox_block(key, counter), low = {};
    if (Wide) low = philox_block(key, counter | kSecondPlane);
    T* out = static_cast<T*>(a.out) + row * a.columns + column;
    for (int k = 0; k < 4 && column + k < a.columns; ++k) out[k] = convert(high.w[k], low.w[k]);
  }
};

struct ToFloat {
  __device__ float operator()(uint32_t high, uint32_t) const { return uniform_float(high); }
};
struct ToDouble {
  __device__ double operator()(uint32_t high, uint32_t low) const { return uniform_double(join_words(high, low)); }
};
struct ToBfloat16 {
  __device__ bfloat16 operator()(uint32_t high, uint32_t) const {
    bfloat16 x;
    store(&x, uniform_bfloat16(high));
    return x;
  }
};
struct ToInteger {
  uint64_t high_bound;
  __device__ int64_t operator()(uint32_t high, uint32_t low) const {
    return integer_below(join_words(high, low), high_bound);
  }
};

template <class T, bool Wide, class Convert>
int fill_words(const RandomArgs& a, Convert convert, void* stream) {
  int64_t per_row = blocks_per_row(a.columns);
  return launch_for_each(FillWords<T, Wide, Convert>{a, per_row, convert}, a.rows * per_row, stream);
}

template <class T>
int fill_normal(const RandomArgs& a, void* stream) {
  int64_t per_row = blocks_per_row(a.columns);
  return launch_for_each(FillNormal<T>{a, per_row}, a.rows * per_row, stream);
}

}  // namespace

int random(const RandomArgs& a, void* stream) {
  if (a.distribution == Distribution::integer) return fill_words<int64_t, true>(a, ToInteger{a.high}, stream);
  bool normal = a.distribution == Distribution::normal;
  switch (a.dtype) {
    case DType::f32: return normal ? fill_normal<float>(a, stream) : fill_words<float, false>(a, ToFloat{}, stream);
    case DType::f64: return normal ? fill_normal<double>(a, stream) : fill_words<double, true>(a, ToDouble{}, stream);
    case DType::bf16:
      return normal ? fill_normal<bfloat16>(a, stream) : fill_words<bfloat16, false>(a, ToBfloat16{}, stream);
  }
  return int(cudaErrorInvalidValue);
}

}  // namespace cuda
}  // namespace genpipe
