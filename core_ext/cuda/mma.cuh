// The tensor cores' product of 16 by 16 with 16 by 8 in bfloat16, sums in float32 (PTX mma.m16n8k16, sm_80 and newer).
//
// Lane l of the warp holds, with g = l / 4 and t = l % 4 and two neighbours of the inner dimension k in each word:
//   a[0..3]: rows g, g + 8, g, g + 8 at k = 2 t, 2 t, 2 t + 8, 2 t + 8
//   b[0..1]: column g at k = 2 t, 2 t + 8
//   c[0..3]: row g at columns 2 t and 2 t + 1, then row g + 8
#pragma once

#include "genpipe/platform.h"

namespace genpipe {
namespace cuda {

// Fragments from shared memory, (rows, k) and (columns, k) with k innermost, `pitch` numbers apart and 16 bytes aligned.
static __device__ __forceinline__ void load_rows(const bfloat16* tile, int pitch, int lane, uint32_t a[4]) {
#if defined(GENPIPE_CUDA_EMULATION)
  for (int i = 0; i < 4; ++i) {
    __builtin_memcpy(a + i, tile + (lane / 4 + i % 2 * 8) * pitch + lane % 4 * 2 + i / 2 * 8, 4);
  }
#else
  // Lanes 8 i to 8 i + 7 give the addresses of the rows of a's i-th 8 by 8 block.
  uint32_t from = uint32_t(__cvta_generic_to_shared(tile + lane % 16 * pitch + lane / 16 * 8));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
               : "r"(from)
               : "memory");
#endif
}
// Two fragments of 8 columns: b[0..1] and b[2..3].
static __device__ __forceinline__ void load_columns(const bfloat16* tile, int pitch, int lane, uint32_t b[4]) {
#if defined(GENPIPE_CUDA_EMULATION)
  for (int i = 0; i < 4; ++i) {
    __builtin_memcpy(b + i, tile + (lane / 4 + i / 2 * 8) * pitch + lane % 4 * 2 + i % 2 * 8, 4);
  }
#else
  uint32_t from = uint32_t(__cvta_generic_to_shared(tile + (lane % 8 + lane / 16 * 8) * pitch + lane / 8 % 2 * 8));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
               : "r"(from)
               : "memory");
#endif
}

// c += a b.
static __device__ __forceinline__ void multiply_add(float c[4], const uint32_t a[4], const uint32_t b[2], int lane) {
#if defined(GENPIPE_CUDA_EMULATION)
  // The order of the sum is the hardware's own; this one adds along k.
  auto number = [](uint32_t word, int which) { return bit_cast<float>(which ? word & 0xffff0000u : word << 16); };
  for (int pair = 0; pair < 8; ++pair) {
    uint32_t rows[2], columns[2];
    for (int i = 0; i < 2; ++i) {
      rows[i] = __shfl_sync(0xffffffffu, a[i + pair / 4 * 2], lane / 4 * 4 + pair % 4);
      columns[i] = __shfl_sync(0xffffffffu, b[pair / 4], (lane % 4 * 2 + i) * 4 + pair % 4);
    }
    for (int i = 0; i < 4; ++i) {
      for (int which = 0; which < 2; ++which) {
        c[i] += number(rows[i / 2], which) * number(columns[i % 2], which);
      }
    }
  }
#else
  (void)lane;
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

}  // namespace cuda
}  // namespace genpipe
