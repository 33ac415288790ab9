// What host and device code agree on: function attributes, number types, and the few operations whose rounding must
// be the same everywhere. Everything here is internal to the file that includes it: an inline function that the
// linker could share would let one variant's instructions reach a processor without them.
#pragma once

#include <stdint.h>

#if defined(__CUDACC__)
#define GENPIPE_FN static __forceinline__ __host__ __device__
#else
#define GENPIPE_FN static inline __attribute__((always_inline))
#endif

namespace genpipe {

enum class DType : int32_t { f32, f64, bf16 };

struct bfloat16 {
  uint16_t bits;
};

// Sums and intermediate values of T are kept in compute_t<T>.
template <class T>
struct ComputeType {
  typedef T type;
};
template <>
struct ComputeType<bfloat16> {
  typedef float type;
};
template <class T>
using compute_t = typename ComputeType<T>::type;

// f(T()) with the T that dtype names: where a kernel's one template becomes its three instances. Of the host alone.
template <class F>
static inline __attribute__((always_inline)) auto dispatch_dtype(DType dtype, F f) {
  switch (dtype) {
    case DType::f64: return f(double());
    case DType::bf16: return f(bfloat16());
    default: return f(float());
  }
}

template <class To, class From>
GENPIPE_FN To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast keeps the size");
  To to;
  __builtin_memcpy(&to, &from, sizeof(to));
  return to;
}

// One rounding, on every backend; the compilers are told to fuse nothing by themselves.
GENPIPE_FN float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
GENPIPE_FN double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
GENPIPE_FN float sqrt(float x) { return __builtin_sqrtf(x); }
GENPIPE_FN double sqrt(double x) { return __builtin_sqrt(x); }
GENPIPE_FN float abs(float x) { return __builtin_fabsf(x); }
GENPIPE_FN double abs(double x) { return __builtin_fabs(x); }

// condition ? a : b without a branch. Compilers take a conditional expression as leave to compute both alternatives of
// everything that follows it, twice the work in a vectorised loop; they cannot see through the bits.
GENPIPE_FN float select(bool condition, float a, float b) {
  uint32_t mask = 0u - uint32_t(condition);
  return bit_cast<float>((bit_cast<uint32_t>(a) & mask) | (bit_cast<uint32_t>(b) & ~mask));
}
GENPIPE_FN double select(bool condition, double a, double b) {
  uint64_t mask = 0ull - uint64_t(condition);
  return bit_cast<double>((bit_cast<uint64_t>(a) & mask) | (bit_cast<uint64_t>(b) & ~mask));
}

// x held to one side of the bound, and x where it is NaN: one instruction, which compilers see in this form alone.
GENPIPE_FN float smaller(float x, float bound) { return x > bound ? bound : x; }
GENPIPE_FN double smaller(double x, double bound) { return x > bound ? bound : x; }
GENPIPE_FN float larger(float x, float bound) { return x < bound ? bound : x; }
GENPIPE_FN double larger(double x, double bound) { return x < bound ? bound : x; }

GENPIPE_FN float load(const float* p) { return *p; }
GENPIPE_FN double load(const double* p) { return *p; }
GENPIPE_FN float load(const bfloat16* p) { return bit_cast<float>(uint32_t(p->bits) << 16); }

GENPIPE_FN void store(float* p, float x) { *p = x; }
GENPIPE_FN void store(double* p, double x) { *p = x; }
GENPIPE_FN void store(bfloat16* p, float x) {
  uint32_t bits = bit_cast<uint32_t>(x);
  uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // to nearest, ties to even
  p->bits = uint16_t(x != x ? 0x7fc0u : rounded);
}

GENPIPE_FN int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }

}  // namespace genpipe
